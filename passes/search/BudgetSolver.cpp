//===- BudgetSolver.cpp - exact multiple-choice knapsack ------------------===//
//
// Makes the problem integral (2^52 units for the total range of the scores, so that sums do
// not depend on their order), finds good multipliers and a first choice, and hands over
// to the exact part in BudgetCore.cpp.
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
constexpr int64_t costLimit = int64_t(1) << 52;

llvm::Error checkGroups(llvm::ArrayRef<BudgetGroup> groups) {
  std::array<Wide, dimensions> total{};
  for (size_t g = 0; g < groups.size(); ++g) {
    if (groups[g].empty())
      return defectError("budget solver: group {} has no candidate", g);
    Cost most{};
    for (const BudgetCandidate &each : groups[g]) {
      if (each.cost < 0 || each.secondCost < 0 || !std::isfinite(each.score) ||
          std::abs(each.score) > 1e300)
        return defectError("budget solver: group {} has a candidate of cost {}, second cost {} and "
                           "score {}; expected costs >= 0 and a finite score",
                           g, each.cost, each.secondCost, each.score);
      most = {std::max(most[0], each.cost), std::max(most[1], each.secondCost)};
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
          return other.cost[0] <= item.cost[0] && other.cost[1] <= item.cost[1] &&
                 other.score <= item.score;
        }))
      kept.push_back(item);
  return kept;
}

IntegerProblem toIntegers(const BudgetProblem &problem) {
  IntegerProblem result;
  bool second = problem.secondBudget.has_value();
  // A budget beyond every cost would only make numbers larger.
  result.budget = {std::min(problem.budget, costLimit),
                   second ? std::min(*problem.secondBudget, costLimit) : 0};
  int scale = scoreScale(problem.groups);
  for (const BudgetGroup &group : problem.groups) {
    double least = std::numeric_limits<double>::infinity();
    for (const BudgetCandidate &each : group)
      least = std::min(least, each.score);
    Items items;
    for (uint32_t i = 0; i < group.size(); ++i) {
      long double score = static_cast<long double>(group[i].score) - least;
      items.push_back({{group[i].cost, second ? group[i].secondCost : 0},
                       static_cast<int64_t>(std::llround(std::ldexp(score, scale))),
                       i});
    }
    result.groups.push_back(undominated(std::move(items)));
  }
  return result;
}

/// The choice that minimises score + l.cost in every group, and its total cost.
/// Equal values go to the cheaper candidate.
struct Relaxed {
  std::vector<uint32_t> position; ///< into IntegerProblem::groups[g]
  std::array<double, dimensions> cost{};
  double value = 0; ///< sum of score + l.cost
};

Relaxed relax(const IntegerProblem &problem, std::array<double, dimensions> multiplier) {
  Relaxed result;
  result.position.reserve(problem.groups.size());
  for (const Items &items : problem.groups) {
    uint32_t best = 0;
    double bestValue = std::numeric_limits<double>::infinity();
    for (uint32_t i = 0; i < items.size(); ++i) {
      double value = static_cast<double>(items[i].score) +
                     multiplier[0] * static_cast<double>(items[i].cost[0]) +
                     multiplier[1] * static_cast<double>(items[i].cost[1]);
      if (value < bestValue) {
        best = i;
        bestValue = value;
      }
    }
    result.position.push_back(best);
    result.value += bestValue;
    for (int k = 0; k < dimensions; ++k)
      result.cost[k] += static_cast<double>(items[best].cost[k]);
  }
  return result;
}

double dualValue(const IntegerProblem &problem, const std::array<double, dimensions> &multiplier) {
  return relax(problem, multiplier).value - multiplier[0] * static_cast<double>(problem.budget[0]) -
         multiplier[1] * static_cast<double>(problem.budget[1]);
}

/// The best multiplier of dimension `k`, the other one given: where the cost of the relaxed
/// choice comes down to the budget. Returns the smallest found that fits.
double bestMultiplier(const IntegerProblem &problem, std::array<double, dimensions> multiplier,
                      int k) {
  auto fits = [&](double value) {
    multiplier[k] = value;
    return relax(problem, multiplier).cost[k] <= static_cast<double>(problem.budget[k]);
  };
  if (fits(0))
    return 0;
  double low = 0, high = 1e-9;
  while (!fits(high) && high < 0x1p60) {
    low = high;
    high *= 8;
  }
  for (int step = 0; step < 90 && high - low > high * 1e-15; ++step) {
    double middle = low + (high - low) / 2;
    (fits(middle) ? high : low) = middle;
  }
  return high;
}

/// Maximises the dual. It is concave, and so is its maximum over the first multiplier
/// as a function of the second: nested one-dimensional searches find it.
std::array<double, dimensions> bestMultipliers(const IntegerProblem &problem) {
  auto at = [&](double second) {
    std::array<double, dimensions> multiplier = {0, second};
    multiplier[0] = bestMultiplier(problem, multiplier, 0);
    return multiplier;
  };
  std::array<double, dimensions> first = at(0);
  if (relax(problem, first).cost[1] <= static_cast<double>(problem.budget[1]))
    return first;
  auto value = [&](double second) { return dualValue(problem, at(second)); };
  double low = 0, high = 1e-6;
  while (value(high * 4) > value(high) && high < 0x1p60)
    high *= 4;
  high *= 4;
  constexpr double golden = 0.6180339887498949;
  double left = high - golden * (high - low), right = low + golden * (high - low);
  double leftValue = value(left), rightValue = value(right);
  for (int step = 0; step < 60; ++step) {
    if (leftValue < rightValue) {
      low = left;
      left = right;
      leftValue = rightValue;
      rightValue = value(right = low + golden * (high - low));
    } else {
      high = right;
      right = left;
      rightValue = leftValue;
      leftValue = value(left = high - golden * (high - low));
    }
  }
  return at(low + (high - low) / 2);
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
        Cost next = {cost[0] - now.cost[0] + items[i].cost[0],
                     cost[1] - now.cost[1] + items[i].cost[1]};
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
void offerRelaxed(const IntegerProblem &problem, std::array<double, dimensions> multiplier,
                  Incumbent &incumbent) {
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
    solution.cost += candidate.cost;
    solution.secondCost += candidate.secondCost;
    solution.score += candidate.score;
  }
  return solution;
}

CoreResult solveIntegers(const IntegerProblem &problem, Incumbent incumbent) {
  std::array<double, dimensions> multiplier = bestMultipliers(problem);
  offerRelaxed(problem, multiplier, incumbent);
  // Any multipliers give valid bounds; the cap keeps products within 128 bits.
  Cost fixed;
  for (int k = 0; k < dimensions; ++k)
    fixed[k] = std::llround(std::ldexp(std::min(multiplier[k], 0x1p44), fractionBits));
  return solveCore(problem, fixed, std::move(incumbent));
}

/// With two budgets even a first choice may be hard to find: the least second cost within the
/// first budget either is one or proves that there is none.
llvm::Expected<Incumbent> firstChoice(const IntegerProblem &integers,
                                      const BudgetProblem &problem) {
  IntegerProblem saving = integers;
  saving.budget[1] = 0;
  for (Items &items : saving.groups)
    for (Item &item : items) {
      item.score = item.cost[1];
      item.cost[1] = 0;
    }
  for (Items &items : saving.groups)
    items = undominated(std::move(items));
  auto [best, gap] = solveIntegers(saving, {});
  std::vector<uint32_t> position;
  for (size_t g = 0; g < integers.groups.size(); ++g) {
    uint32_t index = saving.groups[g][best.position[g]].index;
    const Items &items = integers.groups[g];
    position.push_back(std::find_if(items.begin(), items.end(),
                                    [&](const Item &item) { return item.index == index; }) -
                       items.begin());
  }
  Incumbent incumbent;
  offer(integers, position, incumbent);
  if (incumbent.found)
    return incumbent;
  int64_t least = 0;
  for (size_t g = 0; g < position.size(); ++g)
    least += problem.groups[g][integers.groups[g][position[g]].index].secondCost;
  return usageError(
      "no choice fits both budgets: within the first budget of {}, the second cost is at "
      "least {}, but its budget is {}",
      problem.budget, least, *problem.secondBudget);
}

} // namespace

llvm::Expected<BudgetSolution> solveBudget(const BudgetProblem &problem) {
  if (auto error = checkGroups(problem.groups))
    return std::move(error);
  if (problem.groups.empty())
    return BudgetSolution{};
  IntegerProblem integers = toIntegers(problem);
  if (int64_t least = leastCost(integers, 0); least > problem.budget)
    return usageError("no choice fits the budget of {}: the cheapest one costs {}", problem.budget,
                      least);
  if (problem.secondBudget)
    if (int64_t least = leastCost(integers, 1); least > *problem.secondBudget)
      return usageError("no choice fits the second budget of {}: the cheapest one costs {}",
                        *problem.secondBudget, least);
  for (int k = 0; k < dimensions; ++k)
    divideByCommonFactor(integers, k);
  int64_t scoreUnit = divideScores(integers);
  Incumbent incumbent;
  if (problem.secondBudget) {
    auto first = firstChoice(integers, problem);
    if (!first)
      return first.takeError();
    incumbent = std::move(*first);
  }
  auto [best, gap] = solveIntegers(integers, std::move(incumbent));
  BudgetSolution solution = toSolution(problem, integers, best);
  solution.gap = std::ldexp(static_cast<double>(gap) * static_cast<double>(scoreUnit),
                            -scoreScale(problem.groups));
  return solution;
}

} // namespace qplan
