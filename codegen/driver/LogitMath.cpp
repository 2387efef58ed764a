//===- LogitMath.cpp - scores of rows of logits ---------------------------===//

#include "codegen/driver/LogitMath.h"

#include <algorithm>
#include <cmath>
#include <cstring>

// One copy for each width of vectors; the loader picks. A sanitizer runs before the loader may.
#if defined(__x86_64__) && defined(__linux__) && !__has_feature(address_sanitizer)
#define QPLAN_WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define QPLAN_WIDE
#endif
#define QPLAN_INLINE inline __attribute__((always_inline))

namespace qplan {
namespace {

// Vectors are spelt out: left to itself the vectoriser makes gathers of such loops. They go
// through references, because passing them by value depends on the width.
constexpr int lanes = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
constexpr int64_t block = 4096; ///< elements whose lane sums stay in f32

QPLAN_INLINE void load(Floats &values, const float *from) {
  std::memcpy(&values, from, sizeof values);
}

/// The last `count` < 16 values; the other lanes hold `filler`.
QPLAN_INLINE void loadTail(Floats &values, const float *from, int64_t count, float filler) {
  values = filler - Floats{};
  std::memcpy(&values, from, size_t(count) * sizeof(float));
}

/// x becomes exp(x), x <= 0, with a relative error below 3e-7; 0 below -87, NaN for NaN.
QPLAN_INLINE void expNegative(Floats &x) {
  Ints tiny = x < -87.0f;
  Floats clamped = tiny ? -87.0f - Floats{} : x;
  // Adding 1.5 * 2^23 rounds to a whole number, which then lies in the low bits.
  Floats shifted = clamped * 1.44269504f + 12582912.0f;
  Floats n = shifted - 12582912.0f;
  Floats r = clamped - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Floats p = r * (1.0f / 720.0f) + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  Ints scaled = (Ints)p + ((Ints)shifted << 23);
  x = tiny ? Floats{} : (Floats)scaled;
}

QPLAN_INLINE double total(const Floats &values) {
  double sum = 0;
  for (int i = 0; i < lanes; ++i)
    sum += double(values[i]);
  return sum;
}

QPLAN_WIDE float largestValue(const float *row, int64_t count) {
  Floats best = row[0] - Floats{}, values;
  int64_t at = 0;
  for (; at + lanes <= count; at += lanes) {
    load(values, row + at);
    best = values > best ? values : best;
  }
  if (at < count) {
    loadTail(values, row + at, count - at, row[0]);
    best = values > best ? values : best;
  }
  float result = best[0];
  for (int i = 1; i < lanes; ++i)
    result = best[i] > result ? best[i] : result;
  return result;
}

/// sum(exp(row[i] - top)).
QPLAN_WIDE double sumExp(const float *row, float top, int64_t count) {
  double sum = 0;
  for (int64_t begin = 0; begin < count; begin += block) {
    int64_t end = std::min(count, begin + block), at = begin;
    Floats part = {}, values;
    for (; at < end; at += lanes) {
      if (at + lanes <= end)
        load(values, row + at);
      else // lanes without an element add nothing
        loadTail(values, row + at, end - at, top - 1000.0f);
      values -= top;
      expNegative(values);
      part += values;
    }
    sum += total(part);
  }
  return sum;
}

/// With e[i] = exp(reference[i] - top): sums[0] = sum(e[i]), sums[1] = sum(e[i] *
/// (reference[i] - row[i])).
QPLAN_WIDE void weightedDifference(const float *reference, float top, const float *row,
                                   int64_t count, double *sums) {
  sums[0] = sums[1] = 0;
  for (int64_t begin = 0; begin < count; begin += block) {
    int64_t end = std::min(count, begin + block), at = begin;
    Floats weight = {}, difference = {}, expected, values;
    for (; at < end; at += lanes) {
      if (at + lanes <= end) {
        load(expected, reference + at);
        load(values, row + at);
      } else { // lanes without an element weigh nothing
        loadTail(expected, reference + at, end - at, top - 1000.0f);
        loadTail(values, row + at, end - at, top - 1000.0f);
      }
      values = expected - values;
      expected -= top;
      expNegative(expected);
      weight += expected;
      difference += expected * values;
    }
    sums[0] += total(weight);
    sums[1] += total(difference);
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
