//===- BudgetSolverTest.cpp - the solver against brute force --------------===//
//
// Small problems are checked against every choice, larger ones against a plain table
// over all costs, which shares no idea with the solver.
//
//===----------------------------------------------------------------------===//
#include "passes/search/BudgetSolver.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace qplan;

namespace {

constexpr double none = std::numeric_limits<double>::infinity();

std::string messageOf(llvm::Error error) { return llvm::toString(std::move(error)); }

/// Least score over all choices; infinity when nothing fits.
double bruteForce(const BudgetProblem &problem, size_t group = 0, BudgetCosts spent = {}) {
  for (int k = 0; k < budgetDimensions; ++k)
    if (problem.budget[k] && spent[k] > *problem.budget[k])
      return none;
  if (group == problem.groups.size())
    return 0;
  double best = none;
  for (const BudgetCandidate &each : problem.groups[group]) {
    BudgetCosts next = spent;
    for (int k = 0; k < budgetDimensions; ++k)
      next[k] += each.cost[k];
    best = std::min(best, each.score + bruteForce(problem, group + 1, next));
  }
  return best;
}

/// Least score by a table over every cost up to the budget.
double byTable(const BudgetProblem &problem) {
  std::vector<double> best(*problem.budget[0] + 1, 0.0);
  for (const BudgetGroup &group : problem.groups) {
    std::vector<double> next(best.size(), none);
    for (const BudgetCandidate &each : group)
      for (size_t c = each.cost[0]; c < best.size(); ++c)
        next[c] = std::min(next[c], best[c - each.cost[0]] + each.score);
    best = std::move(next);
  }
  return best.back();
}

/// Random groups; `kind` varies how costs and scores go together.
std::vector<BudgetGroup> randomGroups(std::mt19937 &random, size_t groups, size_t candidates,
                                      int64_t mostCost, int kind) {
  auto uniform = [&] { return std::uniform_real_distribution<double>(0, 1)(random); };
  std::vector<BudgetGroup> result(groups);
  for (BudgetGroup &group : result) {
    double weight = 1 + std::floor(uniform() * 4);
    for (size_t i = 0; i < candidates; ++i) {
      BudgetCandidate each;
      each.cost[0] = std::llround(uniform() * static_cast<double>(mostCost));
      for (int k = 1; k < budgetDimensions; ++k)
        each.cost[k] = std::llround(uniform() * static_cast<double>(mostCost));
      each.score = uniform();
      if (kind == 1) // as formats are: error falls by four with each bit
        each.score = weight * std::pow(4.0, -static_cast<double>(each.cost[0]) * 8 / mostCost);
      if (kind == 2) // score is a function of cost: hard for bounds
        each.score = static_cast<double>(mostCost - each.cost[0]) + (i % 2 ? 10 : 0);
      if (kind == 3) // many ties
        each.score = std::floor(uniform() * 4);
      group.push_back(each);
    }
  }
  return result;
}

int64_t extremeCost(const std::vector<BudgetGroup> &groups, bool least) {
  int64_t sum = 0;
  for (const BudgetGroup &group : groups) {
    int64_t value = group[0].cost[0];
    for (const BudgetCandidate &each : group)
      value = least ? std::min(value, each.cost[0]) : std::max(value, each.cost[0]);
    sum += value;
  }
  return sum;
}

/// The sums of a solution are what its choice says, and within the budgets.
void expectConsistent(const BudgetProblem &problem, const BudgetSolution &solution) {
  ASSERT_EQ(solution.choice.size(), problem.groups.size());
  BudgetCosts cost{};
  double score = 0;
  for (size_t g = 0; g < problem.groups.size(); ++g) {
    ASSERT_LT(solution.choice[g], problem.groups[g].size());
    const BudgetCandidate &each = problem.groups[g][solution.choice[g]];
    for (int k = 0; k < budgetDimensions; ++k)
      cost[k] += each.cost[k];
    score += each.score;
  }
  EXPECT_EQ(cost, solution.cost);
  EXPECT_EQ(score, solution.score);
  for (int k = 0; k < budgetDimensions; ++k)
    EXPECT_LE(cost[k], problem.budget[k].value_or(cost[k])) << "budget " << k;
}

} // namespace

TEST(BudgetSolver, EqualsBruteForceOnSmallProblems) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 1500; ++trial) {
    BudgetProblem problem;
    problem.groups = randomGroups(random, 1 + trial % 6, 1 + random() % 5, 30, trial % 4);
    problem.budget[0] = random() % 180;
    double best = bruteForce(problem);
    auto solution = solveBudget(problem);
    if (best == none) {
      ASSERT_FALSE(bool(solution));
      llvm::consumeError(solution.takeError());
      continue;
    }
    ASSERT_TRUE(bool(solution)) << messageOf(solution.takeError());
    expectConsistent(problem, *solution);
    EXPECT_EQ(solution->gap, 0);
    EXPECT_NEAR(solution->score, best, 1e-12) << "trial " << trial;
  }
}

TEST(BudgetSolver, EqualsBruteForceWithAnyMixOfBudgets) {
  std::mt19937 random(8);
  int feasible = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    BudgetProblem problem;
    problem.groups = randomGroups(random, 1 + trial % 6, 1 + random() % 5, 30, trial % 4);
    for (int k = 0; k < budgetDimensions; ++k)
      if (trial & (4 << k))
        problem.budget[k] = random() % 150;
    double best = bruteForce(problem);
    auto solution = solveBudget(problem);
    if (best == none) {
      ASSERT_FALSE(bool(solution)) << "trial " << trial;
      llvm::consumeError(solution.takeError());
      continue;
    }
    ++feasible;
    ASSERT_TRUE(bool(solution)) << messageOf(solution.takeError());
    expectConsistent(problem, *solution);
    EXPECT_EQ(solution->gap, 0);
    EXPECT_NEAR(solution->score, best, 1e-12) << "trial " << trial;
  }
  EXPECT_GT(feasible, 1000);
}

TEST(BudgetSolver, EqualsATableOnMiddleSizedProblems) {
  std::mt19937 random(9);
  for (int trial = 0; trial < 60; ++trial) {
    BudgetProblem problem;
    problem.groups = randomGroups(random, 40, 8, 100, trial % 4);
    int64_t least = extremeCost(problem.groups, true), most = extremeCost(problem.groups, false);
    problem.budget[0] = least + static_cast<int64_t>(random() % (most - least + 1));
    auto solution = solveBudget(problem);
    ASSERT_TRUE(bool(solution)) << messageOf(solution.takeError());
    expectConsistent(problem, *solution);
    EXPECT_EQ(solution->gap, 0);
    EXPECT_NEAR(solution->score, byTable(problem), 1e-9) << "trial " << trial;
  }
}

TEST(BudgetSolver, ProvesThousandGroupsOptimal) {
  std::mt19937 random(10);
  for (int kind = 0; kind < 4; ++kind) {
    BudgetProblem problem;
    // Where scores follow costs, costs come in few sizes, as those of layers do.
    problem.groups = randomGroups(random, 1000, 12, kind == 2 ? 64 : 1000000000, kind);
    int64_t least = extremeCost(problem.groups, true), most = extremeCost(problem.groups, false);
    problem.budget[0] = least + (most - least) / 3;
    auto solution = solveBudget(problem);
    ASSERT_TRUE(bool(solution)) << messageOf(solution.takeError());
    expectConsistent(problem, *solution);
    EXPECT_EQ(solution->gap, 0) << "kind " << kind;
  }
}

TEST(BudgetSolver, ComesCloseWhereSeveralBudgetsBind) {
  // Sizes of a decoder's linears; times that follow bits only loosely.
  for (int budgets = 2; budgets <= budgetDimensions; ++budgets) {
    std::mt19937 random(13);
    auto uniform = [&] { return std::uniform_real_distribution<double>(0, 1)(random); };
    BudgetProblem problem;
    BudgetCosts least{}, most{};
    for (int g = 0; g < 1000; ++g) {
      double size = (g % 7 == 0 ? 4096 : g % 7 < 3 ? 1024 : 11008) * 4096.0;
      double sensitivity = std::exp(2 * uniform());
      BudgetCosts low, high{};
      low.fill(std::numeric_limits<int64_t>::max());
      problem.groups.emplace_back();
      for (int c = 0; c < 12; ++c) {
        double bits = 2 + 0.5 * c;
        BudgetCandidate each;
        each.cost = {int64_t(bits * size), int64_t(size * (0.7 * bits + 3 * uniform()) / 1000),
                     int64_t(size * (0.5 * bits + 4 * uniform()))};
        each.score = sensitivity * size * std::pow(4.0, -bits) * (1 + 0.3 * uniform());
        for (int k = 0; k < budgetDimensions; ++k) {
          low[k] = std::min(low[k], each.cost[k]);
          high[k] = std::max(high[k], each.cost[k]);
        }
        problem.groups.back().push_back(each);
      }
      for (int k = 0; k < budgetDimensions; ++k) {
        least[k] += low[k];
        most[k] += high[k];
      }
    }
    for (int k = 0; k < budgets; ++k)
      problem.budget[k] = least[k] + int64_t(double(most[k] - least[k]) * (0.33 + 0.01 * k));
    auto solution = solveBudget(problem);
    ASSERT_TRUE(bool(solution)) << messageOf(solution.takeError());
    expectConsistent(problem, *solution);
    EXPECT_LE(solution->gap, 1e-4 * solution->score) << budgets << " budgets";
  }
}

TEST(BudgetSolver, NeverExceedsBudgetAndIsMonotoneInIt) {
  std::mt19937 random(11);
  for (int kind = 0; kind < 4; ++kind) {
    BudgetProblem problem;
    problem.groups = randomGroups(random, 60, 10, 5000, kind);
    int64_t least = extremeCost(problem.groups, true), most = extremeCost(problem.groups, false);
    double previous = none;
    for (int step = 0; step <= 50; ++step) {
      problem.budget[0] = least + (most - least) * step / 50;
      auto solution = solveBudget(problem);
      ASSERT_TRUE(bool(solution)) << messageOf(solution.takeError());
      expectConsistent(problem, *solution);
      EXPECT_LE(solution->score, previous + 1e-12);
      previous = solution->score;
    }
  }
}

TEST(BudgetSolver, StatesTheReachableMinimum) {
  BudgetProblem problem;
  problem.groups = {{{{10, 0}, 1.0}, {{7, 0}, 2.0}}, {{{5, 0}, 1.0}}};
  problem.budget[0] = 11;
  auto solution = solveBudget(problem);
  ASSERT_FALSE(bool(solution));
  EXPECT_EQ(messageOf(solution.takeError()),
            "no choice fits budget 1 of 11: the cheapest one costs 12");
  problem.budget[0] = 12;
  auto exact = solveBudget(problem);
  ASSERT_TRUE(bool(exact));
  EXPECT_EQ(exact->cost[0], 12);
}

TEST(BudgetSolver, StatesTheReachableMinimumOfTheSecondBudget) {
  BudgetProblem problem; // each budget alone can be met, both together cannot
  problem.groups = {{{{10, 1}, 0.0}, {{1, 10}, 0.0}}, {{{10, 1}, 0.0}, {{1, 10}, 0.0}}};
  problem.budget[0] = 11;
  problem.budget[1] = 5;
  auto solution = solveBudget(problem);
  ASSERT_FALSE(bool(solution));
  EXPECT_NE(messageOf(solution.takeError()).find("budget 2 of 5 needs at least 11"),
            std::string::npos);
}

TEST(BudgetSolver, PrefersTheFirstOfEqualCandidates) {
  BudgetProblem problem;
  problem.groups.assign(50, {{{4, 0}, 1.0}, {{4, 0}, 1.0}, {{3, 0}, 2.0}, {{3, 0}, 2.0}});
  problem.budget[0] = 175;
  auto solution = solveBudget(problem);
  ASSERT_TRUE(bool(solution));
  EXPECT_EQ(solution->cost[0], 175);
  for (uint32_t choice : solution->choice)
    EXPECT_EQ(choice % 2, 0u);
  auto again = solveBudget(problem);
  ASSERT_TRUE(bool(again));
  EXPECT_EQ(again->choice, solution->choice);
}

TEST(BudgetSolver, TakesExtremeScoresAndCosts) {
  BudgetProblem problem;
  problem.groups = {{{{int64_t(1) << 51, 0}, -1e300}, {{0, 0}, 1e300}}, {{{1, 0}, 0}, {{0, 0}, 1e-300}}};
  problem.budget[0] = std::numeric_limits<int64_t>::max();
  auto solution = solveBudget(problem);
  ASSERT_TRUE(bool(solution)) << messageOf(solution.takeError());
  EXPECT_EQ(solution->choice[0], 0u);
  problem.groups = {{{{0, 0}, 5}}, {{{0, 0}, 1}, {{0, 0}, 0}}};
  problem.budget[0] = 0;
  auto free = solveBudget(problem);
  ASSERT_TRUE(bool(free));
  EXPECT_EQ(free->score, 5);
}

TEST(BudgetSolver, RefusesMalformedProblems) {
  BudgetProblem problem;
  problem.budget[0] = 10;
  problem.groups = {{}};
  EXPECT_NE(messageOf(solveBudget(problem).takeError()).find("group 0 has no candidate"),
            std::string::npos);
  problem.groups = {{{{1, 0}, std::nan("")}}};
  EXPECT_NE(messageOf(solveBudget(problem).takeError()).find("finite score"), std::string::npos);
  problem.groups = {{{{-1, 0}, 0}}};
  EXPECT_NE(messageOf(solveBudget(problem).takeError()).find("costs >= 0"), std::string::npos);
  problem.groups = {{{{int64_t(1) << 60, 0}, 0}}};
  EXPECT_NE(messageOf(solveBudget(problem).takeError()).find("larger unit"), std::string::npos);
}

TEST(BudgetSolver, TakesNoGroups) {
  auto solution = solveBudget({});
  ASSERT_TRUE(bool(solution));
  EXPECT_TRUE(solution->choice.empty());
}

TEST(BudgetFrontier, PointsAreOptimalAtTheirCost) {
  std::mt19937 random(12);
  for (int kind = 0; kind < 4; ++kind) {
    BudgetProblem problem;
    problem.groups = randomGroups(random, 12, 6, 50, kind);
    auto frontier = budgetFrontier(problem.groups);
    ASSERT_TRUE(bool(frontier));
    EXPECT_EQ(frontier->points.front().cost, extremeCost(problem.groups, true));
    for (size_t i = 0; i < frontier->points.size(); ++i) {
      problem.budget[0] = frontier->points[i].cost;
      auto solution = solveBudget(problem);
      ASSERT_TRUE(bool(solution));
      EXPECT_NEAR(solution->score, frontier->points[i].score, 1e-9) << "kind " << kind;
      double score = 0;
      std::vector<uint32_t> choice = frontier->choiceAt(i);
      for (size_t g = 0; g < choice.size(); ++g)
        score += problem.groups[g][choice[g]].score;
      EXPECT_NEAR(score, frontier->points[i].score, 1e-9);
    }
  }
}

TEST(BudgetFrontier, TakesNoGroupsAndRefusesEmptyOnes) {
  auto empty = budgetFrontier({});
  ASSERT_TRUE(bool(empty));
  EXPECT_TRUE(empty->points.empty());
  EXPECT_TRUE(empty->choiceAt(0).empty());
  std::vector<BudgetGroup> groups(1);
  EXPECT_NE(messageOf(budgetFrontier(groups).takeError()).find("no candidate"), std::string::npos);
}
