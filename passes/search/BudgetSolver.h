//===- BudgetSolver.h - best treatments under a budget ----------*- C++ -*-===//
//
// The multiple-choice knapsack: one candidate for each group, least total score,
// up to three total costs within budgets of their own. Lagrangian bounds fix nearly all
// groups, a dynamic program over Pareto-optimal states settles the rest (Pisinger 1995, core
// expansion): exact with one budget; with several, exact or with a proven gap, which is stated. A
// pure function of its arguments: no IR, no threads, no clock.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_BUDGETSOLVER_H
#define QPLAN_PASSES_SEARCH_BUDGETSOLVER_H

#include <array>
#include <cstdint>
#include <llvm/ADT/ArrayRef.h>
#include <llvm/Support/Error.h>
#include <optional>
#include <vector>

namespace qplan {

constexpr int budgetDimensions = 3; ///< how many costs can be bounded at once
using BudgetCosts = std::array<int64_t, budgetDimensions>;

/// One way to treat a group. Costs are integers in any units (bits, bytes, ns), >= 0; one that
/// has no budget is only summed.
struct BudgetCandidate {
  BudgetCosts cost{};
  double score = 0; ///< finite; lower is better
};

/// The candidates of one group, at least one. Of equal ones the first is preferred.
using BudgetGroup = std::vector<BudgetCandidate>;

/// What to solve. The largest costs of all groups may sum to at most 2^52.
struct BudgetProblem {
  std::vector<BudgetGroup> groups;
  std::array<std::optional<int64_t>, budgetDimensions> budget; ///< of each cost
};

/// A choice and what it sums to.
struct BudgetSolution {
  std::vector<uint32_t> choice; ///< candidate of each group
  BudgetCosts cost{};
  double score = 0; ///< sum in the order of the groups
  /// How far below `score` the optimum could lie: 0 when it is proven, which is always so
  /// unless the states of the dynamic program outgrow a fixed limit. That happens where several
  /// budgets bind at once; gaps are then below a ten-thousandth of the score.
  double gap = 0;
};

/// Minimises the score. Scores are compared after rounding to 2^-52 of their total
/// range. The same problem gives the same choice. Errors: infeasible (wrong usage; the message
/// states the reachable minimum; budgets are counted from 1), malformed problem (defect).
llvm::Expected<BudgetSolution> solveBudget(const BudgetProblem &problem);

/// One point of the convex trade-off of cost against score. Point 0 is the cheapest
/// choice (of those, the best score); each later point replaces the candidate of `group` by
/// `candidate`, costs more and scores less.
struct FrontierPoint {
  int64_t cost = 0;
  double score = 0;
  uint32_t group = 0;
  uint32_t candidate = 0;
};

/// The convex hull of all choices: optimal at its own points, near-optimal between them.
struct Frontier {
  std::vector<uint32_t> start;       ///< the choice at point 0
  std::vector<FrontierPoint> points; ///< by rising cost
  /// The choice at `points[index]`.
  std::vector<uint32_t> choiceAt(size_t index) const;
};

/// Computes the frontier over the first cost in O(c log c) of the candidates.
/// Groups as in BudgetProblem; a malformed one is a defect.
llvm::Expected<Frontier> budgetFrontier(llvm::ArrayRef<BudgetGroup> groups);

} // namespace qplan
#endif // QPLAN_PASSES_SEARCH_BUDGETSOLVER_H
