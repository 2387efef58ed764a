//===- BudgetPeerTest.cpp - the solver against CBC ------------------------===//
//
// Problems that are too large for brute force are also given to COIN-OR's branch and
// cut solver, as a mixed integer program in its text form; both must find the same optimum.
//
//===----------------------------------------------------------------------===//
#include "passes/search/BudgetSolver.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <limits>
#include <llvm/ADT/SmallString.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/Program.h>
#include <random>
#include <sstream>

using namespace qplan;

namespace {

/// Scores fall by four with each bit; the other costs follow bits only loosely. Scores
/// are whole numbers: CBC's tolerances are then far below their differences.
BudgetProblem layers(unsigned seed, size_t groups, size_t candidates, int budgets) {
  std::mt19937 random(seed);
  auto uniform = [&] { return std::uniform_real_distribution<double>(0, 1)(random); };
  BudgetProblem problem;
  BudgetCosts least{}, most{};
  for (size_t g = 0; g < groups; ++g) {
    double size = 1 + std::floor(uniform() * 4), sensitivity = 1e4 * std::exp(2 * uniform());
    BudgetCosts low, high{};
    low.fill(std::numeric_limits<int64_t>::max());
    problem.groups.emplace_back();
    for (size_t c = 0; c < candidates; ++c) {
      double bits = 2 + 6.0 * double(c) / double(candidates);
      BudgetCandidate each;
      each.cost = {std::llround(100 * bits * size), std::llround(10 * size * (bits + 4 * uniform())),
                   std::llround(10 * size * (bits / 2 + 4 * uniform()))};
      each.score = std::round(sensitivity * size * std::pow(4.0, -bits) * (1 + 0.3 * uniform()));
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
    problem.budget[k] = least[k] + (most[k] - least[k]) * 2 / 5;
  return problem;
}

std::string programOf(const BudgetProblem &problem) {
  std::ostringstream objective, rows, binaries;
  std::array<std::ostringstream, budgetDimensions> budgets;
  for (size_t g = 0; g < problem.groups.size(); ++g) {
    for (size_t c = 0; c < problem.groups[g].size(); ++c) {
      const BudgetCandidate &each = problem.groups[g][c];
      std::string name = "x" + std::to_string(g) + "_" + std::to_string(c);
      objective << " + " << int64_t(each.score) << " " << name << "\n";
      rows << " + " << name;
      binaries << " " << name << "\n";
      for (int k = 0; k < budgetDimensions; ++k)
        budgets[k] << " + " << each.cost[k] << " " << name << "\n";
    }
    rows << " = 1\n";
  }
  std::string text = "Minimize\n obj:" + objective.str() + "Subject To\n" + rows.str();
  for (int k = 0; k < budgetDimensions; ++k)
    if (problem.budget[k])
      text += budgets[k].str() + " <= " + std::to_string(*problem.budget[k]) + "\n";
  return text + "Binaries\n" + binaries.str() + "End\n";
}

/// CBC's optimum.
double byCbc(const BudgetProblem &problem) {
  llvm::SmallString<128> input, output;
  if (llvm::sys::fs::createTemporaryFile("qplan-budget", "lp", input) ||
      llvm::sys::fs::createTemporaryFile("qplan-budget", "txt", output))
    return std::nan("");
  std::ofstream(input.c_str()) << programOf(problem);
  auto program = llvm::sys::findProgramByName("cbc");
  EXPECT_TRUE(bool(program)) << "cbc is missing: tools/dev setup installs coinor-cbc";
  double best = std::nan("");
  if (program) {
    std::optional<llvm::StringRef> redirects[] = {llvm::StringRef(""), llvm::StringRef(""),
                                                  llvm::StringRef("")};
    int status = llvm::sys::ExecuteAndWait(
        *program, {"cbc", input.str(), "ratio", "0", "solve", "solution", output.str()}, {},
        redirects);
    EXPECT_EQ(status, 0);
    std::string line;
    std::ifstream result(output.c_str());
    std::getline(result, line); // "Optimal - objective value 123.00000000"
    size_t at = line.find("objective value ");
    EXPECT_EQ(line.rfind("Optimal", 0), 0u) << line;
    if (at != std::string::npos)
      best = std::atof(line.c_str() + at + 16);
  }
  llvm::sys::fs::remove(input);
  llvm::sys::fs::remove(output);
  return best;
}

} // namespace

TEST(BudgetPeer, FindsTheOptimumOfCbc) {
  struct Case {
    size_t groups, candidates;
    int budgets;
  };
  for (Case each : {Case{40, 8, 1}, Case{16, 6, 2}, Case{12, 5, 3}})
    for (unsigned seed = 1; seed <= 3; ++seed) {
      BudgetProblem problem = layers(seed, each.groups, each.candidates, each.budgets);
      auto solution = solveBudget(problem);
      ASSERT_TRUE(bool(solution)) << llvm::toString(solution.takeError());
      EXPECT_EQ(solution->gap, 0) << each.budgets << " budgets, seed " << seed;
      EXPECT_NEAR(solution->score, byCbc(problem), 1e-4)
          << each.budgets << " budgets, seed " << seed;
    }
}
