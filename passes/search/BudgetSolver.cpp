//===- BudgetSolver.cpp - exact multiple-choice knapsack ------------------===//
//
// Makes the problem integral (2^52 units for the total range of the scores, so that sums do
// not depend on their order), finds good multipliers and a first choice, and hands over
// to the exact part in BudgetCore.cpp. Budgets enter one at a time: a choice that is the best
// under some of them and keeps the others is the best under all.
//
//===----------------------------------------------------------------------===//
#include "passes/search/BudgetSolver.h"

#include "ir/Failure.h"
#include "passes/search/BudgetCore.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

namespace qplan {
using namespace budget;
namespace {

using Wide = __int128;
constexpr int scoreBits = 52;
using Active = std::array<bool, dimensions>;
constexpr int64_t costLimit = int64_t(1) << 52;

llvm::Error checkGroups(llvm::ArrayRef<BudgetGroup> groups) {
  std::array<Wide, dimensions> total{};
  for (size_t g = 0; g < groups.size(); ++g) {
    if (groups[g].empty())
      return defectError("budget solver: group {} has no candidate", g);
    Cost most{};
    for (const BudgetCandidate &each : groups[g]) {
      int64_t least = *std::min_element(each.cost.begin(), each.cost.end());
      if (least < 0 || !std::isfinite(each.score) || std::abs(each.score) > 1e300)
        return defectError("budget solver: group {} has a candidate of cost {} and score {}; "
                           "expected costs >= 0 and a finite score",
                           g, least, each.score);
      for (int k = 0; k < dimensions; ++k)
        most[k] = std::max(most[k], each.cost[k]);
    }
    for (int k = 0; k < dimensions; ++k)
      total[k] += most[k];
  }
  for (Wide sum : total)
    if (sum > costLimit)
      return defectError("budget solver: costs sum to more than 2^52; use a larger unit");
  return llvm::Error::success();
}

/// The power of two that maps the total range of scores to 2^scoreBits.
int scoreScale(llvm::ArrayRef<BudgetGroup> groups) {
  long double range = 0;
  for (const BudgetGroup &group : groups) {
    auto [least, most] = std::minmax_element(group.begin(), group.end(),
                                             [](auto &a, auto &b) { return a.score < b.score; });
    range += static_cast<long double>(most->score) - least->score;
  }
  if (range <= 0)
    return 0;
  int exponent;
  std::frexp(range, &exponent);
  return scoreBits - exponent;
}

/// Removes candidates that another one beats in every respect.
Items undominated(Items items) {
  std::sort(items.begin(), items.end(), [](const Item &a, const Item &b) {
    return std::tie(a.cost, a.score, a.index) < std::tie(b.cost, b.score, b.index);
  });
  Items kept;
  for (const Item &item : items)
    if (std::none_of(kept.begin(), kept.end(), [&](const Item &other) {
          return fits(other.cost, item.cost) && other.score <= item.score;
        }))
      kept.push_back(item);
  return kept;
}

/// `problem` with only the budgets that are `active`.
IntegerProblem toIntegers(const BudgetProblem &problem, const Active &active) {
  IntegerProblem result;
  result.active = active;
  // A budget beyond every cost would only make numbers larger.
  for (int k = 0; k < dimensions; ++k)
    result.budget[k] = active[k] ? std::min(*problem.budget[k], costLimit) : 0;
  int scale = scoreScale(problem.groups);
  for (const BudgetGroup &group : problem.groups) {
    double least = std::numeric_limits<double>::infinity();
    for (const BudgetCandidate &each : group)
      least = std::min(least, each.score);
    Items items;
    for (uint32_t i = 0; i < group.size(); ++i) {
      long double score = static_cast<long double>(group[i].score) - least;
      Cost cost{};
      for (int k = 0; k < dimensions; ++k)
        cost[k] = active[k] ? group[i].cost[k] : 0;
      items.push_back({cost, static_cast<int64_t>(std::llround(std::ldexp(score, scale))), i});
    }
    result.groups.push_back(undominated(std::move(items)));
  }
  return result;
}

/// Spends what is left of the budgets on the exchange that gains most, group by group.
void improve(const IntegerProblem &problem, std::vector<uint32_t> &position, Cost &cost) {
  bool changed = true;
  for (int round = 0; changed && round < 20; ++round) {
    changed = false;
    for (size_t g = 0; g < position.size(); ++g) {
      const Items &items = problem.groups[g];
      for (uint32_t i = 0; i < items.size(); ++i) {
        const Item &now = items[position[g]];
        Cost next = cost;
        for (int k = 0; k < dimensions; ++k)
          next[k] += items[i].cost[k] - now.cost[k];
        if (items[i].score >= now.score || !fits(next, problem.budget))
          continue;
        position[g] = i;
        cost = next;
        changed = true;
      }
    }
  }
}

/// Takes `position` as incumbent when it fits and is better.
void offer(const IntegerProblem &problem, std::vector<uint32_t> position, Incumbent &incumbent) {
  Cost cost{};
  for (size_t g = 0; g < position.size(); ++g)
    for (int k = 0; k < dimensions; ++k)
      cost[k] += problem.groups[g][position[g]].cost[k];
  if (!fits(cost, problem.budget))
    return;
  improve(problem, position, cost);
  int64_t score = 0;
  for (size_t g = 0; g < position.size(); ++g)
    score += problem.groups[g][position[g]].score;
  if (!incumbent.found || score < incumbent.score)
    incumbent = {true, score, std::move(position)};
}

/// Least total cost of a dimension.
int64_t leastCost(const IntegerProblem &problem, int k) {
  int64_t sum = 0;
  for (const Items &items : problem.groups)
    sum += std::min_element(items.begin(), items.end(), [k](auto &a, auto &b) {
             return a.cost[k] < b.cost[k];
           })->cost[k];
  return sum;
}

/// Divides costs by their greatest common divisor: equal sums then meet sooner.
void divideByCommonFactor(IntegerProblem &problem, int k) {
  int64_t factor = 0;
  for (const Items &items : problem.groups)
    for (const Item &item : items)
      factor = std::gcd(factor, item.cost[k]);
  if (factor <= 1)
    return;
  for (Items &items : problem.groups)
    for (Item &item : items)
      item.cost[k] /= factor;
  problem.budget[k] /= factor;
}

/// Divides scores by theirs: a bound above `best - 1` of a coarse unit proves more.
/// Returns the factor.
int64_t divideScores(IntegerProblem &problem) {
  int64_t factor = 0;
  for (const Items &items : problem.groups)
    for (const Item &item : items)
      factor = std::gcd(factor, item.score);
  for (Items &items : problem.groups)
    for (Item &item : items)
      item.score /= std::max<int64_t>(factor, 1);
  return std::max<int64_t>(factor, 1);
}

/// First choices: the relaxed one, raised multipliers until something fits.
void offerRelaxed(const IntegerProblem &problem, Multipliers multiplier, Incumbent &incumbent) {
  for (int step = 0; step < 40; ++step) {
    offer(problem, relax(problem, multiplier).position, incumbent);
    if (incumbent.found && step > 4)
      return;
    for (double &value : multiplier)
      value = value * (step < 5 ? 1 + 1e-3 * (step + 1) : 1.5) + 1e-12;
  }
}

BudgetSolution toSolution(const BudgetProblem &problem, const IntegerProblem &integers,
                          const Incumbent &best) {
  BudgetSolution solution;
  for (size_t g = 0; g < problem.groups.size(); ++g) {
    uint32_t index = integers.groups[g][best.position[g]].index;
    const BudgetCandidate &candidate = problem.groups[g][index];
    solution.choice.push_back(index);
    for (int k = 0; k < dimensions; ++k)
      solution.cost[k] += candidate.cost[k];
    solution.score += candidate.score;
  }
  return solution;
}

/// Solves from a good first choice; `found` is false where none was found and none is given.
CoreResult solveIntegers(const IntegerProblem &problem, Incumbent incumbent) {
  Multipliers multiplier = bestMultipliers(problem);
  offerRelaxed(problem, multiplier, incumbent);
  if (!incumbent.found)
    return {incumbent, 0};
  // Any multipliers give valid bounds; the cap keeps products within 128 bits.
  Cost fixed;
  for (int k = 0; k < dimensions; ++k)
    fixed[k] = std::llround(std::ldexp(std::min(multiplier[k], 0x1p44), fractionBits));
  return solveCore(problem, fixed, std::move(incumbent));
}

/// With several budgets even a first choice may be hard to find: the least cost of each
/// within the budgets before it either is within its own or proves that there is none.
llvm::Expected<Incumbent> firstChoice(const IntegerProblem &integers,
                                      const BudgetProblem &problem) {
  Incumbent incumbent;
  IntegerProblem saving = integers;
  saving.active = {};
  saving.budget = {};
  for (Items &items : saving.groups)
    for (Item &item : items)
      item.cost = {};
  for (int k = 0; k < dimensions; ++k) {
    if (!integers.active[k])
      continue;
    for (size_t g = 0; g < saving.groups.size(); ++g)
      for (size_t i = 0; i < saving.groups[g].size(); ++i)
        saving.groups[g][i].score = integers.groups[g][i].cost[k];
    incumbent.score = 0;
    for (size_t g = 0; g < incumbent.position.size(); ++g)
      incumbent.score += saving.groups[g][incumbent.position[g]].score;
    incumbent = solveIntegers(saving, std::move(incumbent)).best;
    int64_t least = 0;
    for (size_t g = 0; g < problem.groups.size(); ++g)
      least += problem.groups[g][integers.groups[g][incumbent.position[g]].index].cost[k];
    if (least > *problem.budget[k])
      return usageError("no choice fits all budgets: within those before it, budget {} of {} needs "
                        "at least {}",
                        k + 1, *problem.budget[k], least);
    saving.active[k] = true;
    saving.budget[k] = integers.budget[k];
    for (size_t g = 0; g < saving.groups.size(); ++g)
      for (size_t i = 0; i < saving.groups[g].size(); ++i)
        saving.groups[g][i].cost[k] = integers.groups[g][i].cost[k];
  }
  incumbent.score = 0;
  for (size_t g = 0; g < incumbent.position.size(); ++g)
    incumbent.score += integers.groups[g][incumbent.position[g]].score;
  return incumbent;
}

/// The best choice under the budgets that are `active`.
llvm::Expected<BudgetSolution> solveUnder(const BudgetProblem &problem, const Active &active) {
  IntegerProblem integers = toIntegers(problem, active);
  for (int k = 0; k < dimensions; ++k)
    divideByCommonFactor(integers, k);
  int64_t scoreUnit = divideScores(integers);
  CoreResult result = solveIntegers(integers, {});
  if (!result.best.found) {
    auto first = firstChoice(integers, problem);
    if (!first)
      return first.takeError();
    result = solveIntegers(integers, std::move(*first));
  }
  BudgetSolution solution = toSolution(problem, integers, result.best);
  solution.gap = std::ldexp(static_cast<double>(result.gap) * static_cast<double>(scoreUnit),
                            -scoreScale(problem.groups));
  return solution;
}

/// The budget that `cost` exceeds by the largest share; -1 when it keeps all.
int mostExceeded(const BudgetProblem &problem, const BudgetCosts &cost) {
  int worst = -1;
  double most = 0;
  for (int k = 0; k < dimensions; ++k) {
    if (!problem.budget[k] || cost[k] <= *problem.budget[k])
      continue;
    double share = static_cast<double>(cost[k]) / (static_cast<double>(*problem.budget[k]) + 1);
    if (worst < 0 || share > most) {
      worst = k;
      most = share;
    }
  }
  return worst;
}

} // namespace

llvm::Expected<BudgetSolution> solveBudget(const BudgetProblem &problem) {
  if (auto error = checkGroups(problem.groups))
    return std::move(error);
  if (problem.groups.empty())
    return BudgetSolution{};
  Active given;
  for (int k = 0; k < dimensions; ++k)
    given[k] = problem.budget[k].has_value();
  IntegerProblem integers = toIntegers(problem, given);
  for (int k = 0; k < dimensions; ++k)
    if (int64_t least = leastCost(integers, k); given[k] && least > *problem.budget[k])
      return usageError("no choice fits budget {} of {}: the cheapest one costs {}", k + 1,
                        *problem.budget[k], least);
  Active active{};
  while (true) {
    auto solution = solveUnder(problem, active);
    if (!solution)
      return solution.takeError();
    int exceeded = mostExceeded(problem, solution->cost);
    if (exceeded < 0)
      return solution;
    active[exceeded] = true;
  }
}

} // namespace qplan
