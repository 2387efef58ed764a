//===- Wide.h - the inner loop of GPTQ --------------------------*- C++ -*-===//
//
// Private to passes/gptq. One loop carries nearly all of the work: take a sum of
// scaled rows off a row. Each element adds its terms in order and products are
// rounded before they are added, so vectors of any width give the same bits.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_GPTQ_WIDE_H
#define QPLAN_PASSES_GPTQ_WIDE_H

#include "ir/codecs/VectorClones.h"

#include <cstdint>
#include <cstring>

namespace qplan::gptq {

/// out[c] -= sum over p < terms of a[p] * b[p * stride + c], for c < n.
template <typename T>
inline __attribute__((always_inline)) void
subtractProductInline(T *out, const T *a, int64_t terms, const T *b, int64_t stride, int64_t n) {
  typedef T Vector __attribute__((vector_size(64)));
  constexpr int64_t lanes = 64 / sizeof(T), step = 4 * lanes;
  int64_t c = 0;
  for (; c + step <= n; c += step) {
    Vector sum[4];
    std::memcpy(sum, out + c, sizeof sum);
    for (int64_t p = 0; p < terms; ++p) {
      Vector row[4];
      std::memcpy(row, b + p * stride + c, sizeof row);
      for (int v = 0; v < 4; ++v)
        sum[v] -= row[v] * a[p];
    }
    std::memcpy(out + c, sum, sizeof sum);
  }
  for (; c < n; ++c) {
    T sum = out[c];
    for (int64_t p = 0; p < terms; ++p)
      sum -= b[p * stride + c] * a[p];
    out[c] = sum;
  }
}

} // namespace qplan::gptq

#endif // QPLAN_PASSES_GPTQ_WIDE_H
