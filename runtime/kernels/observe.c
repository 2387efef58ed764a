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
/* Columns of a block of the Gram matrix, and rows of x that are copied for it: strides of x are
 * often powers of two, of which a cache holds few lines. */
#define GRAM_EDGE 64
#define GRAM_PART 128

/* Columns [column, column + GRAM_EDGE) of `rows` rows, side by side; 0 beyond K. */
QK_INLINE void gramPack(const float *x, int64_t ld, int64_t rows, int64_t K, int64_t column,
                        float *out) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t k = 0; k < GRAM_EDGE; k += 16) {
      int64_t left = qkMax(K - column - k, 0);
      vstore(out + row * GRAM_EDGE + k, vloadn(x + row * ld + column + qkMin(k, K - column), left));
    }
}

/* Products of packed rows onto sums [GRAM_EDGE, GRAM_EDGE]: a load of b serves `tall` of a. */
QK_INLINE void gramProducts(const float *a, const float *b, int64_t rows, int lower, float *sums) {
  enum { tall = QK_TILE(8, 4), wide = QK_TILE(2, 1) };
  for (int i = 0; i < GRAM_EDGE; i += tall)
    for (int j = 0; j < (lower ? i + tall : GRAM_EDGE); j += 16 * wide) {
      v16f sum[tall][wide];
      float *to = sums + i * GRAM_EDGE + j;
      QK_UNROLL for (int r = 0; r < tall; ++r)
        QK_UNROLL for (int v = 0; v < wide; ++v)
          sum[r][v] = vload(to + r * GRAM_EDGE + v * 16);
      for (int64_t row = 0; row < rows; ++row) {
        v16f of[wide];
        QK_UNROLL for (int v = 0; v < wide; ++v) of[v] = vload(b + row * GRAM_EDGE + j + v * 16);
        QK_UNROLL for (int r = 0; r < tall; ++r)
          QK_UNROLL for (int v = 0; v < wide; ++v)
            sum[r][v] = vfma(of[v], (v16f)a[row * GRAM_EDGE + i + r], sum[r][v]);
      }
      QK_UNROLL for (int r = 0; r < tall; ++r)
        QK_UNROLL for (int v = 0; v < wide; ++v)
          vstore(to + r * GRAM_EDGE + v * 16, sum[r][v]);
    }
}

/* The block of rows i and columns j <= i of the Gram matrix, of which the lower triangle is kept,
 * row by row. */
QK_INLINE void gramBlock(const float *x, int64_t ld, int64_t rows, int64_t K, int64_t i, int64_t j,
                         double *gram) {
  float a[GRAM_PART * GRAM_EDGE], b[GRAM_PART * GRAM_EDGE], sums[GRAM_EDGE * GRAM_EDGE];
  for (int64_t begin = 0; begin < rows; begin += GRAM_ROWS) {
    int64_t end = qkMin(begin + GRAM_ROWS, rows);
    for (int64_t k = 0; k < GRAM_EDGE * GRAM_EDGE; k += 16)
      vstore(sums + k, (v16f)0.0f);
    for (int64_t part = begin; part < end; part += GRAM_PART) {
      int64_t n = qkMin(GRAM_PART, end - part);
      gramPack(x + part * ld, ld, n, K, i, a);
      if (j < i)
        gramPack(x + part * ld, ld, n, K, j, b);
      gramProducts(a, j < i ? b : a, n, j == i, sums);
    }
    for (int64_t r = 0; r < qkMin(GRAM_EDGE, K - i); ++r) {
      double *to = gram + (i + r) * (i + r + 1) / 2 + j;
      for (int64_t k = 0; k < (j < i ? GRAM_EDGE : r + 1); ++k)
        to[k] += (double)sums[r * GRAM_EDGE + k];
    }
  }
}

/* Tasks take every count-th block. */
QK_INLINE void observeGram(const float *x, int64_t ld, int64_t rows, int64_t K, int64_t index,
                           int64_t count, double *gram) {
  int64_t block = 0;
  for (int64_t i = 0; i < K; i += GRAM_EDGE)
    for (int64_t j = 0; j <= i; j += GRAM_EDGE)
      if (block++ % count == index)
        gramBlock(x, ld, rows, K, i, j, gram);
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
    seen = (int64_t *)(memory + K * (K + 1) / 2 * 8);
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
