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
double bruteForce(const BudgetProblem &problem, size_t group = 0, int64_t cost = 0,
                  int64_t second = 0) {
  if (cost > problem.budget || (problem.secondBudget && second > *problem.secondBudget))
    return none;
  if (group == problem.groups.size())
    return 0;
  double best = none;
  for (const BudgetCandidate &each : problem.groups[group])
    best = std::min(best, each.score + bruteForce(problem, group + 1, cost + each.cost,
                                                  second + each.secondCost));
  return best;
}

/// Least score by a table over every cost up to the budget.
double byTable(const BudgetProblem &problem) {
  std::vector<double> best(problem.budget + 1, 0.0);
  for (const BudgetGroup &group : problem.groups) {
    std::vector<double> next(best.size(), none);
    for (const BudgetCandidate &each : group)
      for (size_t c = each.cost; c < best.size(); ++c)
        next[c] = std::min(next[c], best[c - each.cost] + each.score);
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
      each.cost = std::llround(uniform() * static_cast<double>(mostCost));
      each.secondCost = std::llround(uniform() * static_cast<double>(mostCost));
      each.score = uniform();
      if (kind == 1) // as formats are: error falls by four with each bit
        each.score = weight * std::pow(4.0, -static_cast<double>(each.cost) * 8 / mostCost);
      if (kind == 2) // score is a function of cost: hard for bounds
        each.score = static_cast<double>(mostCost - each.cost) + (i % 2 ? 10 : 0);
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
    int64_t value = group[0].cost;
    for (const BudgetCandidate &each : group)
      value = least ? std::min(value, each.cost) : std::max(value, each.cost);
    sum += value;
  }
  return sum;
}

/// The sums of a solution are what its choice says, and within the budgets.
void expectConsistent(const BudgetProblem &problem, const BudgetSolution &solution) {
  ASSERT_EQ(solution.choice.size(), problem.groups.size());
  int64_t cost = 0, second = 0;
  double score = 0;
  for (size_t g = 0; g < problem.groups.size(); ++g) {
    ASSERT_LT(solution.choice[g], problem.groups[g].size());
    const BudgetCandidate &each = problem.groups[g][solution.choice[g]];
    cost += each.cost;
    second += each.secondCost;
    score += each.score;
  }
  EXPECT_EQ(cost, solution.cost);
  EXPECT_EQ(second, solution.secondCost);
  EXPECT_EQ(score, solution.score);
  EXPECT_LE(cost, problem.budget);
  if (problem.secondBudget) {
    EXPECT_LE(second, *problem.secondBudget);
  }
}

} // namespace

TEST(BudgetSolver, EqualsBruteForceOnSmallProblems) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 1500; ++trial) {
    BudgetProblem problem;
    problem.groups = randomGroups(random, 1 + trial % 6, 1 + random() % 5, 30, trial % 4);
    problem.budget = random() % 180;
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

TEST(BudgetSolver, EqualsBruteForceWithTwoBudgets) {
  std::mt19937 random(8);
  int feasible = 0;
  for (int trial = 0; trial < 1500; ++trial) {
    BudgetProblem problem;
    problem.groups = randomGroups(random, 1 + trial % 6, 1 + random() % 5, 30, trial % 4);
    problem.budget = random() % 150;
    problem.secondBudget = random() % 150;
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
    EXPECT_NEAR(solution->score, best, 1e-12) << "trial " << trial;
  }
  EXPECT_GT(feasible, 300);
}

TEST(BudgetSolver, EqualsATableOnMiddleSizedProblems) {
  std::mt19937 random(9);
  for (int trial = 0; trial < 60; ++trial) {
    BudgetProblem problem;
    problem.groups = randomGroups(random, 40, 8, 100, trial % 4);
    int64_t least = extremeCost(problem.groups, true), most = extremeCost(problem.groups, false);
    problem.budget = least + static_cast<int64_t>(random() % (most - least + 1));
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
    problem.budget = least + (most - least) / 3;
    auto solution = solveBudget(problem);
    ASSERT_TRUE(bool(solution)) << messageOf(solution.takeError());
    expectConsistent(problem, *solution);
    EXPECT_EQ(solution->gap, 0) << "kind " << kind;
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
      problem.budget = least + (most - least) * step / 50;
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
  problem.groups = {{{10, 0, 1.0}, {7, 0, 2.0}}, {{5, 0, 1.0}}};
  problem.budget = 11;
  auto solution = solveBudget(problem);
  ASSERT_FALSE(bool(solution));
  EXPECT_EQ(messageOf(solution.takeError()),
            "no choice fits the budget of 11: the cheapest one costs 12");
  problem.budget = 12;
  auto exact = solveBudget(problem);
  ASSERT_TRUE(bool(exact));
  EXPECT_EQ(exact->cost, 12);
}

TEST(BudgetSolver, StatesTheReachableMinimumOfTheSecondBudget) {
  BudgetProblem problem; // each budget alone can be met, both together cannot
  problem.groups = {{{10, 1, 0.0}, {1, 10, 0.0}}, {{10, 1, 0.0}, {1, 10, 0.0}}};
  problem.budget = 11;
  problem.secondBudget = 5;
  auto solution = solveBudget(problem);
  ASSERT_FALSE(bool(solution));
  EXPECT_NE(messageOf(solution.takeError()).find("the second cost is at least 11"),
            std::string::npos);
}

TEST(BudgetSolver, PrefersTheFirstOfEqualCandidates) {
  BudgetProblem problem;
  problem.groups.assign(50, {{4, 0, 1.0}, {4, 0, 1.0}, {3, 0, 2.0}, {3, 0, 2.0}});
  problem.budget = 175;
  auto solution = solveBudget(problem);
  ASSERT_TRUE(bool(solution));
  EXPECT_EQ(solution->cost, 175);
  for (uint32_t choice : solution->choice)
    EXPECT_EQ(choice % 2, 0u);
  auto again = solveBudget(problem);
  ASSERT_TRUE(bool(again));
  EXPECT_EQ(again->choice, solution->choice);
}

TEST(BudgetSolver, TakesExtremeScoresAndCosts) {
  BudgetProblem problem;
  problem.groups = {{{int64_t(1) << 51, 0, -1e300}, {0, 0, 1e300}}, {{1, 0, 0}, {0, 0, 1e-300}}};
  problem.budget = std::numeric_limits<int64_t>::max();
  auto solution = solveBudget(problem);
  ASSERT_TRUE(bool(solution)) << messageOf(solution.takeError());
  EXPECT_EQ(solution->choice[0], 0u);
  problem.groups = {{{0, 0, 5}}, {{0, 0, 1}, {0, 0, 0}}};
  problem.budget = 0;
  auto free = solveBudget(problem);
  ASSERT_TRUE(bool(free));
  EXPECT_EQ(free->score, 5);
}

TEST(BudgetSolver, RefusesMalformedProblems) {
  BudgetProblem problem;
  problem.budget = 10;
  problem.groups = {{}};
  EXPECT_NE(messageOf(solveBudget(problem).takeError()).find("group 0 has no candidate"),
            std::string::npos);
  problem.groups = {{{1, 0, std::nan("")}}};
  EXPECT_NE(messageOf(solveBudget(problem).takeError()).find("finite score"), std::string::npos);
  problem.groups = {{{-1, 0, 0}}};
  EXPECT_NE(messageOf(solveBudget(problem).takeError()).find("costs >= 0"), std::string::npos);
  problem.groups = {{{int64_t(1) << 60, 0, 0}}};
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
      problem.budget = frontier->points[i].cost;
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
