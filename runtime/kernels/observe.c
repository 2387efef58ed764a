/*===- observe.c - statistics of activations ------------------------------===//
 *
 * Calibration plans only. Sums are f64 and every column adds its rows in order, so
 * that statistics depend neither on the number of threads nor on how the rows are
 * split. An entry of the Gram matrix is a sum of sums in f32 over the rows of a
 * pass (512 at most), which do depend on how a text is split into passes.
 *===----------------------------------------------------------------------===*/
#include "simd.h"

/* Columns [begin, end) of kind 0. */
QK_INLINE void observeColumns(const float *x, int64_t ld, int64_t rows, int64_t K, int64_t begin,
                              int64_t end, uint8_t *memory) {
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

/* Sums of products are f32 over this many rows, and f64 beyond. */
#define GRAM_ROWS 512

/* 16 entries of `tall` rows of the Gram matrix: a load of x serves all of them. */
QK_INLINE void gramTile(const float *x, int64_t ld, int64_t rows, int64_t K, int64_t i, int tall,
                        int64_t j, double *gram) {
  int64_t n = qkMin(16, K - j);
  for (int64_t begin = 0; begin < rows; begin += GRAM_ROWS) {
    int64_t end = qkMin(begin + GRAM_ROWS, rows);
    v16f sum[8];
    QK_UNROLL for (int r = 0; r < tall; ++r) sum[r] = (v16f)0.0f;
    for (int64_t row = begin; row < end; ++row) {
      v16f wide = vloadn(x + row * ld + j, n);
      QK_UNROLL for (int r = 0; r < tall; ++r)
        sum[r] = vfma(wide, (v16f)x[row * ld + i + r], sum[r]);
    }
    for (int r = 0; r < tall; ++r) {
      v16d total;
      __builtin_memcpy(&total, gram + (i + r) * K + j, (unsigned long)n * 8);
      total += __builtin_convertvector(sum[r], v16d);
      __builtin_memcpy(gram + (i + r) * K + j, &total, (unsigned long)n * 8);
    }
  }
}

/* The lower triangle, and what the last vector of a row reaches of the upper. Tasks take
 * every count-th group of rows: later rows are longer. */
QK_INLINE void observeGram(const float *x, int64_t ld, int64_t rows, int64_t K, int64_t index,
                           int64_t count, double *gram) {
  const int tall = QK_TILE(8, 4);
  for (int64_t i = index * tall; i < K; i += count * tall) {
    if (i + tall <= K)
      for (int64_t j = 0; j < i + tall; j += 16)
        gramTile(x, ld, rows, K, i, tall, j, gram);
    else
      for (int64_t r = i; r < K; ++r)
        for (int64_t j = 0; j <= r; j += 16)
          gramTile(x, ld, rows, K, r, 1, j, gram);
  }
}

/* Counts of |x| in bins; one task does all of it, so that counts need no atomics. */
QK_INLINE void observeHistogram(const float *x, int64_t ld, int64_t rows, int64_t K,
                                uint8_t *memory) {
  double density = *(const double *)memory;
  int64_t *counts = (int64_t *)(memory + 8);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t k = 0; k < K; ++k) {
      float value = x[row * ld + k];
      double bin = (double)(value < 0 ? -value : value) * density;
      counts[bin < 2047 ? (int64_t)bin : 2047] += 1;
    }
}

/* Rows [begin, end) of kind 3. */
QK_INLINE void observeRows(const float *x, int64_t ld, int64_t K, int64_t begin, int64_t end,
                           float *out) {
  for (int64_t row = begin; row < end; ++row)
    __builtin_memcpy(out + row * K, x + row * ld, (unsigned long)K * 4);
}

QK_KERNEL(observe) {
  if (!args->statistics)
    return;
  int64_t K = params[0], ld = params[1], rows = qkRows(args, params[5]);
  const float *x = (const float *)buffers[0] + params[2];
  uint8_t *memory = args->statistics + params[3];
  int64_t *seen;
  if (params[4] == 2) {
    if (index == 0)
      observeHistogram(x, ld, rows, K, memory);
    return;
  }
  if (params[4] == 3) {
    QkRange part = qkPart(rows, index, count);
    observeRows(x, ld, K, part.begin, part.end, (float *)(memory + 64));
    if (index == 0)
      *(int64_t *)memory = rows;
    return;
  }
  if (params[4] == 0) {
    QkRange part = qkPart(K, index, count);
    observeColumns(x, ld, rows, K, part.begin, part.end, memory);
    seen = (int64_t *)(memory + (K * 4 + 7) / 8 * 8 + K * 16);
  } else {
    observeGram(x, ld, rows, K, index, count, (double *)memory);
    seen = (int64_t *)(memory + K * K * 8);
  }
  if (index == 0)
    *seen += rows;
}
QK_TASKS(observe) {
  if (!args->statistics || params[4] == 2)
    return 1;
  int64_t rows = qkRows(args, params[5]);
  return qkRowTasks(params[0], params[4] == 0 ? rows : rows * params[0], threads);
}
