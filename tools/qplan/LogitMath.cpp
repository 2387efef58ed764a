//===- LogitMath.cpp - scores of rows of logits ---------------------------===//

#include "tools/qplan/LogitMath.h"

#include <algorithm>
#include <bit>
#include <cmath>

// One copy for each width of vectors; the loader picks. A sanitizer runs before the loader may.
#if defined(__x86_64__) && defined(__linux__) && !__has_feature(address_sanitizer)
#define QPLAN_WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define QPLAN_WIDE
#endif
#define QPLAN_INLINE inline __attribute__((always_inline))

namespace qplan {
namespace {

constexpr int lanes = 16;
constexpr int64_t block = 4096; ///< elements whose lane sums stay in f32

/// exp(x) for x <= 0 with a relative error below 3e-7; 0 below -87, NaN for NaN.
QPLAN_INLINE float expNegative(float x) {
  float clamped = x < -87.0f ? -87.0f : x;
  // Adding 1.5 * 2^23 rounds to a whole number, which then lies in the low bits.
  constexpr float magic = 12582912.0f;
  float shifted = clamped * 1.44269504f + magic;
  float n = shifted - magic;
  float r = clamped - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  int32_t exponent = int32_t(uint32_t(std::bit_cast<int32_t>(shifted)) << 23);
  float scaled = std::bit_cast<float>(std::bit_cast<int32_t>(p) + exponent);
  return x < -87.0f ? 0.0f : scaled;
}

QPLAN_WIDE float largestValue(const float *row, int64_t count) {
  float lane[lanes];
  for (int i = 0; i < lanes; ++i)
    lane[i] = row[0];
  int64_t at = 0;
  for (; at + lanes <= count; at += lanes)
    for (int i = 0; i < lanes; ++i)
      lane[i] = row[at + i] > lane[i] ? row[at + i] : lane[i];
  float best = lane[0];
  for (int i = 1; i < lanes; ++i)
    best = std::max(best, lane[i]);
  for (; at < count; ++at)
    best = std::max(best, row[at]);
  return best;
}

/// sum(exp(row[i] - top)).
QPLAN_WIDE double sumExp(const float *row, float top, int64_t count) {
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += block) {
    int64_t end = std::min(count, begin + block), at = begin;
    float lane[lanes] = {};
    for (; at + lanes <= end; at += lanes)
      for (int i = 0; i < lanes; ++i)
        lane[i] += expNegative(row[at + i] - top);
    for (; at < end; ++at)
      lane[0] += expNegative(row[at] - top);
    for (float part : lane)
      total += double(part);
  }
  return total;
}

/// With e[i] = exp(reference[i] - top): sums[0] = sum(e[i]), sums[1] = sum(e[i] *
/// (reference[i] - row[i])).
QPLAN_WIDE void weightedDifference(const float *reference, float top, const float *row,
                                   int64_t count, double *sums) {
  sums[0] = sums[1] = 0;
  for (int64_t begin = 0; begin < count; begin += block) {
    int64_t end = std::min(count, begin + block), at = begin;
    float weight[lanes] = {}, difference[lanes] = {};
    for (; at + lanes <= end; at += lanes)
      for (int i = 0; i < lanes; ++i) {
        float e = expNegative(reference[at + i] - top);
        weight[i] += e;
        difference[i] += e * (reference[at + i] - row[at + i]);
      }
    for (; at < end; ++at) {
      float e = expNegative(reference[at] - top);
      weight[0] += e;
      difference[0] += e * (reference[at] - row[at]);
    }
    for (int i = 0; i < lanes; ++i) {
      sums[0] += double(weight[i]);
      sums[1] += double(difference[i]);
    }
  }
}

} // namespace

double logSumExp(const float *row, int64_t count) {
  float top = largestValue(row, count);
  return double(top) + std::log(sumExp(row, top, count));
}

int64_t largestLogit(const float *row, int64_t count) {
  float top = largestValue(row, count);
  for (int64_t i = 0; i < count; ++i)
    if (row[i] == top)
      return i;
  return 0; // all NaN
}

double klDivergence(const float *reference, const float *row, int64_t count) {
  float referenceTop = largestValue(reference, count), top = largestValue(row, count);
  double sums[2];
  weightedDifference(reference, referenceTop, row, count, sums);
  double referenceLog = double(referenceTop) + std::log(sums[0]);
  double log = double(top) + std::log(sumExp(row, top, count));
  return sums[1] / sums[0] - (referenceLog - log);
}

} // namespace qplan
