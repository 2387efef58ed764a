//===- BudgetFrontier.cpp - the convex trade-off --------------------------===//
//
// The hull of a sum is the merge of the hulls by slope: each group's lower convex hull
// is walked from its cheapest candidate, steepest fall in score for each unit of cost first.
//
//===----------------------------------------------------------------------===//
#include "passes/search/BudgetSolver.h"

#include "ir/Failure.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace qplan {
namespace {

/// One exchange: `group` goes to `candidate`.
struct Step {
  double slope; ///< score for each unit of cost, negative
  uint32_t group, candidate;
  int64_t cost;
  double score;
};

/// Indices of the lower convex hull, by rising cost and falling score.
std::vector<uint32_t> lowerHull(const BudgetGroup &group) {
  std::vector<uint32_t> order(group.size()), hull;
  for (uint32_t i = 0; i < order.size(); ++i)
    order[i] = i;
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::tie(group[a].cost[0], group[a].score, a) < std::tie(group[b].cost[0], group[b].score, b);
  });
  auto slope = [&](uint32_t a, uint32_t b) {
    return (group[b].score - group[a].score) / static_cast<double>(group[b].cost[0] - group[a].cost[0]);
  };
  for (uint32_t i : order) {
    if (!hull.empty() && group[i].score >= group[hull.back()].score)
      continue;
    // A fall in score at the same cost cannot occur: the order put the lower score first.
    while (hull.size() > 1 && slope(hull[hull.size() - 2], hull.back()) >= slope(hull.back(), i))
      hull.pop_back();
    hull.push_back(i);
  }
  return hull;
}

} // namespace

std::vector<uint32_t> Frontier::choiceAt(size_t index) const {
  std::vector<uint32_t> choice = start;
  for (size_t i = 1; i <= index && i < points.size(); ++i)
    choice[points[i].group] = points[i].candidate;
  return choice;
}

llvm::Expected<Frontier> budgetFrontier(llvm::ArrayRef<BudgetGroup> groups) {
  Frontier frontier;
  FrontierPoint now;
  std::vector<Step> steps;
  __int128 mostCost = 0;
  for (uint32_t g = 0; g < groups.size(); ++g) {
    if (groups[g].empty())
      return defectError("budget frontier: group {} has no candidate", g);
    int64_t most = 0;
    for (const BudgetCandidate &each : groups[g]) {
      if (each.cost[0] < 0 || !std::isfinite(each.score))
        return defectError("budget frontier: group {} has a candidate of cost {} and score {}", g,
                           each.cost[0], each.score);
      most = std::max(most, each.cost[0]);
    }
    mostCost += most;
    std::vector<uint32_t> hull = lowerHull(groups[g]);
    const BudgetCandidate &first = groups[g][hull[0]];
    frontier.start.push_back(hull[0]);
    now.cost += first.cost[0];
    now.score += first.score;
    for (size_t i = 1; i < hull.size(); ++i) {
      const BudgetCandidate &from = groups[g][hull[i - 1]], &to = groups[g][hull[i]];
      int64_t cost = to.cost[0] - from.cost[0];
      double score = to.score - from.score;
      steps.push_back({score / static_cast<double>(cost), g, hull[i], cost, score});
    }
    if (mostCost > int64_t(1) << 52)
      return defectError("budget frontier: costs sum to more than 2^52; use a larger unit");
  }
  // Slopes within a group rise strictly, so its steps keep their order.
  std::sort(steps.begin(), steps.end(), [](const Step &a, const Step &b) {
    return std::tie(a.slope, a.group, a.cost) < std::tie(b.slope, b.group, b.cost);
  });
  if (!groups.empty())
    frontier.points.push_back(now);
  for (const Step &step : steps) {
    now = {now.cost + step.cost, now.score + step.score, step.group, step.candidate};
    frontier.points.push_back(now);
  }
  return frontier;
}

} // namespace qplan
