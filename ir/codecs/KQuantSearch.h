//===- KQuantSearch.h - how K-quants choose scales --------------*- C++ -*-===//
//
// Private to ir/codecs. GGML fits grids to small groups of numbers by four
// searches; the K-quants combine them. The sums are in f32 and in the order of
// the numbers, and decide between candidates, so their order of operations is
// part of what the encoders promise (the bytes of GGML's reference).
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_CODECS_KQUANTSEARCH_H
#define QPLAN_IR_CODECS_KQUANTSEARCH_H

#include <bit>
#include <cstdint>

namespace qplan {

/// Numbers and the weights of their squared errors, both [n], n <= 32.
struct WeightedGroup {
  int n;
  const float *x;
  const float *weight;
};

/// The candidates of searchWithMinimum: (first + step * i + top) steps over the range, i <= last.
struct StepSearch {
  float first, step;
  int last;
  bool absolute = false; ///< weighs absolute errors and not squared ones
};

/// Nearest integer of |v| < 2^22, ties to even; any other number gives some integer.
inline int nearestInt(float v) {
  return (std::bit_cast<int32_t>(v + 12582912.0f) & 0x7fffff) - 0x400000;
}

/// Fits x = scale * code - minimum with codes of 0..top and minimum >= 0, by least squares for
/// each candidate number of steps. Returns the scale; writes codes[n] and the minimum.
float searchWithMinimum(const WeightedGroup &group, int top, const StepSearch &search,
                        uint8_t *codes, float &minimum);

/// Fits x = scale * (code - half) with codes of 0..2*half-1, the number of largest magnitude
/// near code 0, by least squares for 19 candidates. Returns the scale, of either sign.
float searchSigned(const WeightedGroup &group, int half, uint8_t *codes);

/// As searchSigned, but improves the codes one by one, and weighs by x^2.
float descendSigned(int n, const float *x, int half, uint8_t *codes);

/// Fits x >= 0 by scale * code with codes of 0..top: the best of 9 scales, then code by code.
float searchPositive(const WeightedGroup &group, int top, uint8_t *codes);

} // namespace qplan
#endif // QPLAN_IR_CODECS_KQUANTSEARCH_H
