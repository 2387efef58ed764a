//===- SamplerTest.cpp - which token is chosen ----------------------------===//
#include "qplan/runtime.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace {
struct Free {
  void operator()(qplan_sampler *sampler) const { qplan_sampler_free(sampler); }
};
using Sampler = std::unique_ptr<qplan_sampler, Free>;
} // namespace

static qplan_sampling greedy() { return QPLAN_SAMPLING_GREEDY; }

static qplan_sampling random(float temperature, uint64_t seed) {
  qplan_sampling settings = greedy();
  settings.temperature = temperature;
  settings.seed = seed;
  return settings;
}

static Sampler make(const qplan_sampling &settings) {
  qplan_sampler *sampler = nullptr;
  EXPECT_EQ(qplan_sampler_create(&settings, &sampler, nullptr, 0), QPLAN_OK);
  return Sampler(sampler);
}

static int32_t sample(const Sampler &sampler, const std::vector<float> &logits) {
  int32_t token = -1;
  char error[256] = "";
  EXPECT_EQ(qplan_sampler_sample(sampler.get(), logits.data(), static_cast<int64_t>(logits.size()),
                                 &token, error, sizeof(error)),
            QPLAN_OK)
      << error;
  return token;
}

/// How often each token is drawn in `draws` tries.
static std::vector<int> histogram(const qplan_sampling &settings, const std::vector<float> &logits,
                                  int draws) {
  Sampler sampler = make(settings);
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; ++i)
    ++counts[sample(sampler, logits)];
  return counts;
}

TEST(Sampler, GreedyTakesTheLowestOfEqualLogits) {
  EXPECT_EQ(sample(make(greedy()), {1, 3, 2, 3}), 1);
  EXPECT_EQ(sample(make(greedy()), {-5, -5}), 0);
}

TEST(Sampler, DrawsTheSameTokensFromTheSameSeed) {
  std::vector<float> logits(500);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = static_cast<float>(i * 7919 % 97) / 20.0f;
  Sampler a = make(random(1, 5)), b = make(random(1, 5)), c = make(random(1, 6));
  int different = 0;
  for (int i = 0; i < 50; ++i) {
    int32_t token = sample(a, logits);
    EXPECT_EQ(token, sample(b, logits));
    different += token != sample(c, logits);
  }
  EXPECT_GT(different, 25);
}

TEST(Sampler, DrawsKnownTokensFromAKnownSeed) {
  std::vector<float> logits(100);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = static_cast<float>(i * 37 % 101) / 30.0f;
  Sampler sampler = make(random(0.8f, 42));
  std::vector<int32_t> tokens;
  for (int i = 0; i < 8; ++i)
    tokens.push_back(sample(sampler, logits));
  EXPECT_EQ(tokens, (std::vector<int32_t>{8, 38, 68, 91, 98, 78, 72, 87}));
}

TEST(Sampler, DrawsInProportionToTheExponentials) {
  auto counts = histogram(random(2, 1), {2.0f * std::log(1.0f), 2.0f * std::log(3.0f)}, 20000);
  EXPECT_NEAR(counts[0], 5000, 250);
}

TEST(Sampler, TopKLeavesOnlyTheLikeliest) {
  qplan_sampling settings = random(10, 3);
  settings.top_k = 2;
  auto counts = histogram(settings, {1, 4, 2, 4, 4}, 300);
  EXPECT_EQ(counts[0] + counts[2] + counts[4], 0); // of equal logits the lower ids stay
  EXPECT_GT(counts[1], 50);
  EXPECT_GT(counts[3], 50);
}

TEST(Sampler, TopPStopsAtItsShare) {
  qplan_sampling settings = random(1, 3);
  settings.top_p = 0.7f;
  std::vector<float> logits = {std::log(0.1f), std::log(0.5f), std::log(0.1f), std::log(0.3f)};
  auto counts = histogram(settings, logits, 2000);
  EXPECT_EQ(counts[0] + counts[2], 0);
  EXPECT_NEAR(counts[1], 1250, 120);
}

TEST(Sampler, TopPWorksOnMoreTokensThanItSortsAtOnce) {
  qplan_sampling settings = random(1, 3);
  settings.top_p = 0.5f;
  auto counts = histogram(settings, std::vector<float>(2000, 0.0f), 4000);
  for (int i = 1002; i < 2000; ++i)
    EXPECT_EQ(counts[i], 0) << i;
  EXPECT_GT(counts[900] + counts[901] + counts[902] + counts[903], 0);
}

TEST(Sampler, RepeatPenaltyLooksAtItsWindow) {
  qplan_sampling settings = greedy();
  settings.repeat_penalty = 2;
  settings.repeat_window = 2;
  Sampler sampler = make(settings);
  const std::vector<float> logits = {10, 9, 8, -1};
  EXPECT_EQ(sample(sampler, logits), 0);
  EXPECT_EQ(sample(sampler, logits), 1);
  EXPECT_EQ(sample(sampler, logits), 2);
  EXPECT_EQ(sample(sampler, logits), 0); // token 0 has left the window
  const int32_t prompt[] = {5, 0, 1};
  qplan_sampler_accept(sampler.get(), prompt, 3);
  EXPECT_EQ(sample(sampler, logits), 2);
}

TEST(Sampler, RefusesLogitsWithoutALargest) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float low = -std::numeric_limits<float>::infinity();
  Sampler sampler = make(random(1, 1));
  int32_t token = 0;
  for (const std::vector<float> &logits :
       {std::vector<float>{1, nan}, std::vector<float>{nan, 1}, std::vector<float>{low, low}})
    EXPECT_EQ(qplan_sampler_sample(sampler.get(), logits.data(), 2, &token, nullptr, 0),
              QPLAN_INVALID_INPUT);
  EXPECT_EQ(sample(sampler, {low, 1, low}), 1);
  EXPECT_EQ(sample(sampler, {1, std::numeric_limits<float>::infinity()}), 1);
}

TEST(Sampler, NamesTheSettingThatIsOutOfRange) {
  auto errorOf = [](qplan_sampling settings) {
    qplan_sampler *sampler = nullptr;
    char error[256] = "";
    EXPECT_EQ(qplan_sampler_create(&settings, &sampler, error, sizeof(error)), QPLAN_INVALID_USAGE);
    EXPECT_EQ(sampler, nullptr);
    return std::string(error);
  };
  qplan_sampling settings = greedy();
  settings.temperature = -1;
  EXPECT_NE(errorOf(settings).find("temperature"), std::string::npos);
  settings = greedy();
  settings.top_p = 0;
  EXPECT_NE(errorOf(settings).find("top_p"), std::string::npos);
  settings = greedy();
  settings.top_k = -1;
  EXPECT_NE(errorOf(settings).find("top_k"), std::string::npos);
  settings = greedy();
  settings.repeat_penalty = 0;
  EXPECT_NE(errorOf(settings).find("repeat_penalty"), std::string::npos);
}
