/*===- observe.c - statistics of activations ------------------------------===//
 *
 * Calibration plans only. Sums are f64 and every column (or entry of the Gram
 * matrix) adds its rows in order, so that statistics depend neither on the number
 * of threads nor on how the rows are split.
 *===----------------------------------------------------------------------===*/
#include "simd.h"

/* Columns [begin, end) of kind 0. */
QK_INLINE void observeColumns(const float *x, int64_t ld, int64_t rows, int64_t K, int64_t begin, int64_t end,
                              uint8_t *memory) {
  float *largest = (float *)memory;
  double *sums = (double *)(memory + (K * 4 + 7) / 8 * 8), *squares = sums + K;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t k = begin; k < end; ++k) {
      float value = x[row * ld + k], magnitude = value < 0 ? -value : value;
      largest[k] = magnitude > largest[k] ? magnitude : largest[k];
      sums[k] += (double)magnitude;
      squares[k] += (double)value * (double)value;
    }
}

/* 16 entries of up to four rows of the Gram matrix: a load and a conversion of x serve
 * all of them. */
QK_INLINE void gramTile(const float *x, int64_t ld, int64_t rows, int64_t K, int64_t i, int tall, int64_t j,
                        double *gram) {
  int64_t n = qkMin(16, K - j);
  v16d sum[4];
  for (int r = 0; r < tall; ++r) {
    sum[r] = (v16d)0.0;
    __builtin_memcpy(&sum[r], gram + (i + r) * K + j, (unsigned long)n * 8);
  }
  for (int64_t row = 0; row < rows; ++row) {
    v16d wide = __builtin_convertvector(vloadn(x + row * ld + j, n), v16d);
    QK_UNROLL for (int r = 0; r < tall; ++r) sum[r] += wide * (double)x[row * ld + i + r];
  }
  for (int r = 0; r < tall; ++r)
    __builtin_memcpy(gram + (i + r) * K + j, &sum[r], (unsigned long)n * 8);
}

/* Rows [begin, end) of the Gram matrix: gram[i][j] += sum of x[i] * x[j]. */
QK_INLINE void observeGram(const float *x, int64_t ld, int64_t rows, int64_t K, int64_t begin, int64_t end,
                           double *gram) {
  int64_t i = begin;
  for (; i + 4 <= end; i += 4)
    for (int64_t j = 0; j < K; j += 16)
      gramTile(x, ld, rows, K, i, 4, j, gram);
  for (; i < end; ++i)
    for (int64_t j = 0; j < K; j += 16)
      gramTile(x, ld, rows, K, i, 1, j, gram);
}

QK_KERNEL(observe) {
  if (!args->statistics)
    return;
  int64_t K = params[0], ld = params[1], rows = qkRows(args, params[5]);
  const float *x = (const float *)buffers[0] + params[2];
  uint8_t *memory = args->statistics + params[3];
  QkRange part = qkPart(K, index, count);
  int64_t *seen;
  if (params[4] == 0) {
    observeColumns(x, ld, rows, K, part.begin, part.end, memory);
    seen = (int64_t *)(memory + (K * 4 + 7) / 8 * 8 + K * 16);
  } else {
    observeGram(x, ld, rows, K, part.begin, part.end, (double *)memory);
    seen = (int64_t *)(memory + K * K * 8);
  }
  if (index == 0)
    *seen += rows;
}
QK_TASKS(observe) {
  if (!args->statistics)
    return 1;
  int64_t rows = qkRows(args, params[5]);
  return qkRowTasks(params[0], params[4] == 0 ? rows : rows * params[0], threads);
}
