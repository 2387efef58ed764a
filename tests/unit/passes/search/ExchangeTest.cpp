//===- ExchangeTest.cpp - exchanges judged by a made-up model -------------===//

#include "passes/search/Exchange.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace qplan;

namespace {

/// Ten groups of equal size and three sizes; the first five are predicted to matter more.
SearchFront front() {
  SearchFront front;
  front.candidates = {"int4_g64", "int5_g64", "int6_g64"};
  for (int g = 0; g < 10; ++g) {
    FrontGroup group;
    group.name = "layers." + std::to_string(g) + ".mlp.down";
    group.sites = {group.name};
    group.elements = 100;
    for (int bits : {4, 5, 6}) {
      FrontCell cell;
      cell.bits = 100 * bits;
      cell.kl = (g < 5 ? 1.1 : 1.0) * std::pow(4.0, -bits);
      group.cells.push_back(cell);
    }
    front.groups.push_back(group);
  }
  return front;
}

/// In truth group 9 matters four times as much as predicted.
double truth(llvm::ArrayRef<uint32_t> choice) {
  SearchFront predicted = front();
  double sum = 0;
  for (size_t g = 0; g < choice.size(); ++g)
    sum += (g == 9 ? 4 : 1) * predicted.groups[g].cells[choice[g]].kl;
  return sum;
}

} // namespace

TEST(Exchange, FindsWhatTheSumDidNotForesee) {
  Budgets budgets{.effectiveBits = 5.0};
  auto start = chooseWithin(front(), budgets);
  ASSERT_TRUE(bool(start));
  int calls = 0;
  auto measure = [&](llvm::ArrayRef<uint32_t> choice) -> llvm::Expected<double> {
    ++calls;
    EXPECT_TRUE(keepsWithin(front(), choice, budgets));
    return truth(choice);
  };
  auto found = exchange(front(), budgets, start->choice, 4, measure);
  ASSERT_TRUE(bool(found));
  EXPECT_EQ(found->point.choice[9], 2u);
  EXPECT_LE(found->point.bits, 5.0);
  EXPECT_LT(*found->point.measuredKl, found->before);
  EXPECT_EQ(*found->point.measuredKl, truth(found->point.choice));
  EXPECT_EQ(unsigned(calls), found->tried + 1);
  EXPECT_GE(found->taken, 1u);
  auto again = exchange(front(), budgets, start->choice, 4, measure);
  ASSERT_TRUE(bool(again));
  EXPECT_EQ(again->point.choice, found->point.choice);
}

TEST(Exchange, KeepsTheStartWhereNothingGains) {
  auto found = exchange(front(), {.effectiveBits = 5.0}, std::vector<uint32_t>(10, 1), 3,
                        [](llvm::ArrayRef<uint32_t>) -> llvm::Expected<double> { return 1.0; });
  ASSERT_TRUE(bool(found));
  EXPECT_EQ(found->point.choice, std::vector<uint32_t>(10, 1));
  EXPECT_EQ(found->taken, 0u);
  EXPECT_EQ(found->tried, 5u); // five pairs of ten groups, then no round more
}
