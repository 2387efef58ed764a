//===- LogitMathTest.cpp - scores of rows of logits -----------------------===//
//
// The f32 sums are compared with plain f64 ones, over lengths around the vector and
// block sizes and ranges that reach the ends of the exponential.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/LogitMath.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <random>
#include <vector>

using namespace qplan;

namespace {

std::vector<float> randomRow(int64_t count, float deviation, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> row(static_cast<size_t>(count));
  for (float &value : row)
    value = normal(random);
  return row;
}

double exactLogSumExp(const std::vector<float> &row) {
  double top = row[0], sum = 0;
  for (float value : row)
    top = std::max(top, double(value));
  for (float value : row)
    sum += std::exp(double(value) - top);
  return top + std::log(sum);
}

double exactKl(const std::vector<float> &reference, const std::vector<float> &row) {
  double referenceLog = exactLogSumExp(reference), log = exactLogSumExp(row), kl = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    double expected = double(reference[i]) - referenceLog;
    kl += std::exp(expected) * (expected - (double(row[i]) - log));
  }
  return kl;
}

constexpr int64_t counts[] = {1, 2, 15, 16, 17, 31, 4095, 4096, 4097, 49152};

} // namespace

TEST(LogitMath, SumsAgreeWithDoubles) {
  for (int64_t count : counts)
    for (float deviation : {0.01f, 3.0f, 80.0f}) {
      auto row = randomRow(count, deviation, uint64_t(count));
      EXPECT_NEAR(logSumExp(row.data(), count), exactLogSumExp(row), 1e-6) << count;
    }
}

TEST(LogitMath, DivergencesAgreeWithDoubles) {
  for (int64_t count : counts)
    for (float noise : {0.001f, 0.1f, 2.0f}) {
      auto reference = randomRow(count, 3, uint64_t(count)), row = reference;
      auto change = randomRow(count, noise, 7);
      for (size_t i = 0; i < row.size(); ++i)
        row[i] += change[i];
      double expected = exactKl(reference, row);
      EXPECT_NEAR(klDivergence(reference.data(), row.data(), count), expected,
                  3e-7 + 1e-5 * expected)
          << count << " with noise " << noise;
    }
}

TEST(LogitMath, ARowHasNoDivergenceFromItself) {
  auto row = randomRow(1000, 5, 1);
  EXPECT_EQ(klDivergence(row.data(), row.data(), 1000), 0.0);
}

TEST(LogitMath, TheLargestIsTheFirstOfEquals) {
  for (int64_t count : {1, 16, 17, 40})
    for (int64_t at = 0; at < count; ++at) {
      std::vector<float> row(static_cast<size_t>(count), -5.0f);
      row[size_t(at)] = row.back() = 2.0f;
      EXPECT_EQ(largestLogit(row.data(), count), at);
    }
}

TEST(LogitMath, ANanIsNotHidden) {
  for (size_t at : {0, 3, 16, 20}) {
    std::vector<float> row(21, 1.0f);
    row[at] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(logSumExp(row.data(), 21))) << at;
  }
}
