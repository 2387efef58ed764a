//===- ExchangeTest.cpp - exchanges judged by a made-up model -------------===//

#include "passes/search/Exchange.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace qplan;

namespace {

/// Ten groups of equal size and three sizes of two methods; the first five are predicted to matter
/// more.
SearchFront front() {
  SearchFront front;
  front.candidates = {"int4_g64@gptq", "int5_g64@gptq", "int6_g64@gptq", "int8"};
  for (int g = 0; g < 10; ++g) {
    FrontGroup group;
    group.name = "layers." + std::to_string(g) + ".mlp.down";
    group.sites = {group.name};
    group.elements = 100;
    for (int bits : {4, 5, 6, 8}) {
      FrontCell cell;
      cell.bits = 100 * bits;
      cell.kl = (g < 5 ? 1.1 : 1.0) * std::pow(4.0, -bits);
      group.cells.push_back(cell);
    }
    front.groups.push_back(group);
  }
  return front;
}

/// A model where `factors` of the groups are true for gptq, and predictions for int8. Together
/// groups do `interplay` times what they do alone.
class Made final : public ChoiceJudge {
public:
  explicit Made(std::vector<double> factors, double interplay = 1)
      : factors(std::move(factors)), interplay(interplay) {}

  double truth(llvm::ArrayRef<uint32_t> choice) const {
    double sum = 0;
    for (uint32_t g = 0; g < choice.size(); ++g)
      sum += of({g, choice[g]});
    return interplay * sum;
  }
  llvm::Expected<double> together(llvm::ArrayRef<uint32_t> choice) override {
    ++calls;
    EXPECT_TRUE(keepsWithin(front(), front().pointOf(choice.vec()), budgets));
    return truth(choice);
  }
  llvm::Expected<std::vector<double>> alone(llvm::ArrayRef<GroupChoice> choices) override {
    std::vector<double> result;
    for (GroupChoice each : choices)
      result.push_back(of(each));
    cells += unsigned(choices.size());
    return result;
  }

  Budgets budgets = {};
  unsigned calls = 0, cells = 0;

private:
  double of(GroupChoice each) const {
    return predicted.groups[each.group].cells[each.candidate].kl *
           (each.candidate < 3 ? factors[each.group] : 1);
  }
  const SearchFront predicted = front();
  const std::vector<double> factors;
  const double interplay;
};

std::vector<double> ones() { return std::vector<double>(10, 1.0); }

FrontPoint startFor(const Budgets &budgets) {
  return llvm::cantFail(chooseWithin(front(), budgets));
}

} // namespace

TEST(Exchange, FindsWhatThePredictionDidNotForesee) {
  Budgets budgets{.effectiveBits = 5.0};
  std::vector<double> factors = ones();
  factors[9] = 6;
  factors[2] = 0.2;
  Made model(factors);
  model.budgets = budgets;
  SearchFront known = front();
  auto found = exchange(known, budgets, startFor(budgets), 4, model);
  ASSERT_TRUE(bool(found));
  EXPECT_EQ(found->point.choice[9], 2u);
  EXPECT_EQ(found->point.choice[2], 0u);
  EXPECT_LE(found->point.bits, 5.0);
  EXPECT_LT(*found->point.measuredKl, found->before);
  EXPECT_DOUBLE_EQ(*found->point.measuredKl, model.truth(found->point.choice));
  EXPECT_EQ(model.calls, found->tried + 1);
  EXPECT_GE(found->moved, 2u);
  // Now the front foresees it.
  EXPECT_NEAR(found->point.kl, *found->point.measuredKl, 1e-12);
  EXPECT_EQ(llvm::cantFail(chooseWithin(known, budgets)).choice, found->point.choice);

  SearchFront again = front();
  auto second = exchange(again, budgets, startFor(budgets), 4, model);
  ASSERT_TRUE(bool(second));
  EXPECT_EQ(second->point, found->point);
  EXPECT_EQ(again, known);
}

TEST(Exchange, KeepsTheStartWhereThePredictionIsRight) {
  Budgets budgets{.effectiveBits = 5.0};
  Made model(ones(), /*interplay=*/1.3);
  SearchFront known = front();
  auto found = exchange(known, budgets, startFor(budgets), 3, model);
  ASSERT_TRUE(bool(found));
  EXPECT_EQ(found->point.choice, startFor(budgets).choice);
  EXPECT_EQ(found->tried, 0u); // the solver gives the same again
  EXPECT_EQ(found->moved, 0u);
  EXPECT_EQ(known, front());
  EXPECT_DOUBLE_EQ(*found->point.measuredKl, 1.3 * found->point.kl);
}

TEST(Exchange, OnlyMeasuresInNoRounds) {
  Budgets budgets{.effectiveBits = 5.0};
  Made model(std::vector<double>(10, 2.0));
  SearchFront known = front();
  auto found = exchange(known, budgets, startFor(budgets), 0, model);
  ASSERT_TRUE(bool(found));
  EXPECT_DOUBLE_EQ(*found->point.measuredKl, 2 * found->point.kl);
  EXPECT_EQ(model.calls, 1u);
  EXPECT_EQ(model.cells, 0u);
}

TEST(Exchange, CorrectsMethodsApart) {
  // With gptq four times as bad as predicted everywhere, int8 pays at some groups.
  Budgets budgets{.effectiveBits = 6.0};
  Made model(std::vector<double>(10, 4.0));
  SearchFront known = front();
  auto found = exchange(known, budgets, startFor(budgets), 2, model);
  ASSERT_TRUE(bool(found));
  EXPECT_DOUBLE_EQ(known.groups[0].cells[3].kl, front().groups[0].cells[3].kl);
  EXPECT_DOUBLE_EQ(known.groups[0].cells[0].kl, 4 * front().groups[0].cells[0].kl);
}

TEST(Exchange, HalvesWhatDoesNotHelp) {
  // Alone says the contrary of together.
  class Contrary final : public ChoiceJudge {
  public:
    llvm::Expected<double> together(llvm::ArrayRef<uint32_t> choice) override {
      double sum = 0;
      for (uint32_t g = 0; g < choice.size(); ++g)
        sum += (g < 5 ? 1.5 : 1) * std::pow(4.0, -double(choice[g]));
      tried.emplace_back(choice.begin(), choice.end());
      return sum;
    }
    llvm::Expected<std::vector<double>> alone(llvm::ArrayRef<GroupChoice> choices) override {
      std::vector<double> result;
      for (GroupChoice each : choices)
        result.push_back((each.group < 5 ? 0.125 : 8) *
                         predicted.groups[each.group].cells[each.candidate].kl);
      return result;
    }
    std::vector<std::vector<uint32_t>> tried;
    SearchFront predicted = front();
  } judge;
  Budgets budgets{.effectiveBits = 5.0};
  SearchFront known = front();
  auto found = exchange(known, budgets, startFor(budgets), 8, judge);
  ASSERT_TRUE(bool(found));
  EXPECT_EQ(found->point.choice, startFor(budgets).choice);
  EXPECT_GE(found->tried, 1u);
  EXPECT_EQ(judge.tried.size(), found->tried + 1);
}

TEST(Exchange, MakesABoundOnTheDivergenceReal) {
  // What is measured is twice what is predicted, alone and together.
  Budgets budgets{.maxKl = 0.01};
  Made model(std::vector<double>(10, 1.5), /*interplay=*/1.2);
  SearchFront known = front();
  const FrontPoint start = startFor(budgets);
  auto found = exchange(known, budgets, start, 4, model);
  ASSERT_TRUE(bool(found));
  EXPECT_GT(found->before, 0.01);
  EXPECT_LE(*found->point.measuredKl, 0.01);
  EXPECT_GT(found->point.bits, start.bits);
}

TEST(Exchange, AddsTheCacheToWhatIsMeasured) {
  SearchFront known = front();
  known.context = 1000;
  known.caches = {{"f16", 0.0, 20, {}}, {"nvfp4", 0.003, 5, {}}};
  Budgets budgets{.maxKl = 0.02};
  auto start = chooseWithin(known, budgets);
  ASSERT_TRUE(bool(start));
  ASSERT_EQ(start->cache, 1u);
  Made model(ones());
  auto found = exchange(known, budgets, *start, 0, model);
  ASSERT_TRUE(bool(found));
  EXPECT_EQ(found->point.cache, 1u);
  EXPECT_NEAR(*found->point.measuredKl, start->kl, 1e-9);
}

TEST(Exchange, HandsOverErrors) {
  class Broken final : public ChoiceJudge {
    llvm::Expected<double> together(llvm::ArrayRef<uint32_t>) override {
      return llvm::createStringError("broken");
    }
    llvm::Expected<std::vector<double>> alone(llvm::ArrayRef<GroupChoice>) override {
      return llvm::createStringError("broken");
    }
  } judge;
  SearchFront known = front();
  auto found = exchange(known, {.effectiveBits = 5.0}, known.pointOf(std::vector<uint32_t>(10, 1)), 1, judge);
  ASSERT_FALSE(bool(found));
  EXPECT_EQ(llvm::toString(found.takeError()), "broken");
}
