/*===- elementwise.c - unary, binary, and the choice of rows --------------===//
 *
 * One pass over memory each; rows are independent.
 *===----------------------------------------------------------------------===*/
#include "vmath.h"

QK_KERNEL(unary) {
  int64_t K = params[0], kind = params[1];
  float value = (float)qkDouble(params[2]);
  const float *in = params[4] ? args->logits : (const float *)buffers[0];
  float *out = params[4] ? args->logits : (float *)buffers[1];
  QkRange rows = qkPart(qkRows(args, params[3]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t k = 0; k < K; k += 16) {
      v16f v = vloadn(in + row * K + k, K - k);
      if (kind == 4)
        v = vtanh(v / value) * value;
      else if (kind == 5)
        v = v * value;
      else
        v = vactivate(kind, v);
      vstoren(out + row * K + k, v, K - k);
    }
}
QK_TASKS(unary) { return qkRowTasks(qkRows(args, params[3]), params[0] * 2, threads); }

QK_KERNEL(binary) {
  int64_t K = params[0], kind = params[1];
  float scale = (float)qkDouble(params[2]);
  const float *a = (const float *)buffers[0], *b = (const float *)buffers[1];
  float *out = (float *)buffers[2];
  QkRange rows = qkPart(qkRows(args, params[3]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t k = 0; k < K; k += 16) {
      int64_t at = row * K + k, left = K - k;
      v16f x = vloadn(a + at, left), y = vloadn(b + at, left);
      vstoren(out + at, kind == 0 ? vfma((v16f)scale, y, x) : x * y * scale, left);
    }
}
QK_TASKS(binary) { return qkRowTasks(qkRows(args, params[3]), params[0], threads); }

QK_KERNEL(select_rows) {
  int64_t K = params[0];
  QkRange rows = qkPart(args->logit_rows, index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    __builtin_memcpy((float *)buffers[1] + row * K,
                     (const float *)buffers[0] + args->logit_row[row] * K, (unsigned long)K * 4);
}
QK_TASKS(select_rows) { return qkRowTasks(args->logit_rows, params[0] / 4, threads); }

QK_KERNEL(scale_columns) {
  int64_t K = params[0];
  const float *in = (const float *)buffers[0], *factors = (const float *)weights[0];
  float *out = (float *)buffers[1];
  QkRange rows = qkPart(qkRows(args, params[1]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t k = 0; k < K; k += 16) {
      int64_t at = row * K + k, left = K - k;
      vstoren(out + at, vloadn(in + at, left) * vloadn(factors + k, left), left);
    }
}
QK_TASKS(scale_columns) { return qkRowTasks(qkRows(args, params[1]), params[0], threads); }

/* A round of sums and differences of lanes that are `half` apart. */
#define QK_BUTTERFLY(v, half, swapped) vfma(v, vsigns(half), __builtin_shufflevector(v, v, swapped))
#define QK_LANES(x)                                                                                \
  0 ^ x, 1 ^ x, 2 ^ x, 3 ^ x, 4 ^ x, 5 ^ x, 6 ^ x, 7 ^ x, 8 ^ x, 9 ^ x, 10 ^ x, 11 ^ x, 12 ^ x,    \
      13 ^ x, 14 ^ x, 15 ^ x

/* -1 in lanes whose number has the bit `half`, else 1. */
QK_INLINE v16f vsigns(int32_t half) {
  const v16i lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return vtofloat((v16i)((lanes & half) == 0) * -2 - 1);
}

/* The rounds inside vectors, then those between them: log2(block) in all. */
QK_KERNEL(rotate) {
  int64_t K = params[0], block = params[1];
  const float scale = 1.0f / __builtin_sqrtf((float)block);
  QkRange rows = qkPart(qkRows(args, params[2]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float *in = (const float *)buffers[0] + row * K;
    float *out = (float *)buffers[1] + row * K;
    for (int64_t k = 0; k < K; k += 16) {
      v16f v = vloadn(in + k, K - k) * scale;
      v = QK_BUTTERFLY(v, 1, QK_LANES(1));
      if (block > 2)
        v = QK_BUTTERFLY(v, 2, QK_LANES(2));
      if (block > 4)
        v = QK_BUTTERFLY(v, 4, QK_LANES(4));
      if (block > 8)
        v = QK_BUTTERFLY(v, 8, QK_LANES(8));
      vstoren(out + k, v, K - k);
    }
    for (int64_t half = 16; half < block; half *= 2)
      for (int64_t first = 0; first < K; first += 2 * half)
        for (int64_t k = first; k < first + half; k += 16) {
          v16f x = vload(out + k), y = vload(out + k + half);
          vstore(out + k, x + y);
          vstore(out + k + half, x - y);
        }
  }
}
QK_TASKS(rotate) { return qkRowTasks(qkRows(args, params[2]), params[0] * 2, threads); }
