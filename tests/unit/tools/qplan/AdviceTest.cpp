//===- AdviceTest.cpp - which treatment to take ---------------------------===//

#include "tools/qplan/Advice.h"

#include <gtest/gtest.h>

using namespace qplan;

namespace {

const std::vector<AdviceCandidate> candidates = {{"bf16", 16, 0.00001, 100, 1000},
                                                 {"int8a8", 8, 0.001, 200, 4000},
                                                 {"int4", 4.5, 0.015, 400, 1200},
                                                 {"int4a8", 4.5, 0.016, 401, 1210},
                                                 {"int3", 3.5, 0.2, 500, 1200}};

std::string choose(const char *accuracy, int64_t batch) {
  auto bound = accuracyClass(accuracy);
  EXPECT_TRUE(bool(bound));
  return candidates[advise(candidates, *bound, batch).choice].treatment;
}

} // namespace

TEST(Advice, TakesTheFastestOfTheClass) {
  EXPECT_EQ(choose("lossless", 1), "int8a8");
  // 512 / 1200 + 128 / 400 s; int4a8 is faster by less than can be told.
  EXPECT_EQ(choose("high", 1), "int4");
  EXPECT_EQ(choose("any", 1), "int3");
}

TEST(Advice, SaysWhenNothingIsWithin) {
  std::vector<AdviceCandidate> rough = {candidates[4], candidates[2]};
  Advice advice = advise(rough, *accuracyClass("lossless"), 1);
  EXPECT_FALSE(advice.within);
  EXPECT_EQ(advice.choice, 1u);
  EXPECT_NE(advice.why.find("no candidate stays within a KL of 0.002"), std::string::npos);
}

TEST(Advice, CountsTheWholeBatch) {
  EXPECT_DOUBLE_EQ(candidates[0].seconds(8, 500, 100), 8 * (500 / 1000.0 + 100 / 100.0));
}

TEST(Advice, KnowsItsClasses) {
  auto wrong = accuracyClass("best");
  ASSERT_FALSE(bool(wrong));
  EXPECT_EQ(llvm::toString(wrong.takeError()),
            "--accuracy best: expected lossless, high, medium or any");
}

TEST(Practice, FollowsTheGuide) {
  auto name = [](int capability, const char *accuracy, int64_t batch) -> std::string {
    auto found = practiceFor(capability, *accuracyClass(accuracy), batch);
    return found ? practices()[*found].treatment : "none";
  };
  // Small batches are bound by memory: 4-bit weights. Large ones by arithmetic: FP8 first.
  EXPECT_EQ(name(90, "high", 1), "int4_g128@awq");
  EXPECT_EQ(name(90, "high", 64), "fp8");
  EXPECT_EQ(name(90, "lossless", 1), "fp8");
  EXPECT_EQ(name(80, "lossless", 1), "none");
  EXPECT_EQ(name(80, "medium", 64), "int8a8@smoothquant");
  EXPECT_EQ(name(80, "high", 1), "int4_g128@awq");
}

TEST(Practice, ReadsTargets) {
  EXPECT_EQ(**cudaCapability("cuda:sm_90a"), 90);
  EXPECT_FALSE(cudaCapability("cpu")->has_value());
  for (const char *bad : {"cuda", "cuda:sm_", "cuda:sm_9", "cuda:sm_90x", "cuda:90"}) {
    auto capability = cudaCapability(bad);
    EXPECT_FALSE(bool(capability)) << bad;
    llvm::consumeError(capability.takeError());
  }
}
