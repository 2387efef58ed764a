//===- BudgetCore.h - the exact part of the budget solver -------*- C++ -*-===//
//
// The integer form of the problem and the dynamic program that proves an optimum,
// shared by the files of the budget solver only. The theory is in BudgetCore.cpp.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_BUDGETCORE_H
#define QPLAN_PASSES_SEARCH_BUDGETCORE_H

#include "passes/search/BudgetSolver.h"

#include <array>
#include <cstdint>
#include <vector>

namespace qplan::budget {

constexpr int dimensions = budgetDimensions; ///< an absent budget has costs and budget 0
constexpr int fractionBits = 16;             ///< of multipliers and of reduced costs
using Cost = std::array<int64_t, dimensions>;

/// A candidate with an integer score, at least 0.
struct Item {
  Cost cost;
  int64_t score;
  uint32_t index; ///< in the caller's group
};
using Items = std::vector<Item>;

/// A problem in integers. Costs and scores each sum to at most 2^53.
struct IntegerProblem {
  std::vector<Items> groups; ///< undominated candidates, by cost
  Cost budget{};
  std::array<bool, dimensions> active{}; ///< the dimensions that have a budget
};

/// The best choice known while solving.
struct Incumbent {
  bool found = false;
  int64_t score = 0;
  std::vector<uint32_t> position; ///< into IntegerProblem::groups[g]
};

/// Whether `cost` is within `budget` in every dimension.
inline bool fits(const Cost &cost, const Cost &budget) {
  for (int k = 0; k < dimensions; ++k)
    if (cost[k] > budget[k])
      return false;
  return true;
}

using Multipliers = std::array<double, dimensions>;

/// The choice that minimises score + l.cost in every group, and its total cost.
/// Equal values go to the candidate that comes first.
struct Relaxed {
  std::vector<uint32_t> position; ///< into IntegerProblem::groups[g]
  std::array<double, dimensions> cost{};
  double value = 0; ///< sum of score + l.cost
};

Relaxed relax(const IntegerProblem &problem, const Multipliers &multiplier);

/// Multipliers that (nearly) maximise the dual; 0 where there is no budget.
Multipliers bestMultipliers(const IntegerProblem &problem);

/// The best choice, and how much lower (in score units) a better one could lie.
struct CoreResult {
  Incumbent best;
  int64_t gap = 0;
};

/// Improves `incumbent`, which must have been found, to the optimum. `multiplier` (>= 0,
/// at most 2^60, with fractionBits) may be any; good ones make it fast.
CoreResult solveCore(const IntegerProblem &problem, const Cost &multiplier, Incumbent incumbent);

} // namespace qplan::budget
#endif // QPLAN_PASSES_SEARCH_BUDGETCORE_H
