/*===- norm.c - RMS norm and layer norm -----------------------------------===//
 *
 * Sums are kept in 16 f32 lanes and folded once: for the few thousand columns of
 * a model that is as exact as a pairwise sum. Rows are independent.
 *===----------------------------------------------------------------------===*/
#include "quantize.h"

/* 1 / sqrt(mean of squares + eps). */
QK_INLINE float inverseRms(const float *x, int64_t K, float eps) {
  v16f sum[2] = {(v16f)0.0f, (v16f)0.0f};
  int64_t k = 0;
  for (; k + 32 <= K; k += 32)
    QK_UNROLL for (int i = 0; i < 2; ++i) {
      v16f v = vload(x + k + i * 16);
      sum[i] = vfma(v, v, sum[i]);
    }
  for (; k < K; k += 16) {
    v16f v = vloadn(x + k, K - k);
    sum[0] = vfma(v, v, sum[0]);
  }
  return 1.0f / __builtin_sqrtf(vsum(sum[0] + sum[1]) / (float)K + eps);
}

QK_KERNEL(rms_norm) {
  int64_t K = params[0], groups = params[1], ld = params[2], column = params[3];
  float eps = (float)qkDouble(params[4]), weightOffset = (float)qkDouble(params[5]);
  QkRange rows = qkPart(qkRows(args, params[7]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t g = 0; g < groups; ++g) {
      int64_t at = row * ld + column + g * K;
      const float *x = (const float *)buffers[0] + at;
      float *out = (float *)buffers[1] + at;
      const float *gamma = (const float *)weights[0] + (params[6] ? g * K : 0);
      float scale = inverseRms(x, K, eps);
      for (int64_t k = 0; k < K; k += 16)
        vstoren(out + k, vloadn(x + k, K - k) * scale * (vloadn(gamma + k, K - k) + weightOffset),
                K - k);
    }
}
QK_TASKS(rms_norm) { return qkRowTasks(qkRows(args, params[7]), params[0] * params[1], threads); }

QK_KERNEL(rms_norm_q8) {
  int64_t K = params[0];
  float eps = (float)qkDouble(params[1]);
  QkQuantizer q = qkQuantizer(K, params[3], params[4], params[5]);
  QkRange rows = qkPart(qkRows(args, params[6]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float *x = (const float *)buffers[0] + row * K;
    QkSource source = {.kind = QkNormed, .x = x, .gamma = (const float *)weights[0]};
    source.scale = inverseRms(x, K, eps);
    source.weightOffset = (float)qkDouble(params[2]);
    qkQuantizeRow(&q, &source, row, buffers + 1);
  }
}
QK_TASKS(rms_norm_q8) { return qkRowTasks(qkRows(args, params[6]), params[0] * 2, threads); }

QK_KERNEL(layer_norm) {
  int64_t K = params[0];
  float eps = (float)qkDouble(params[1]), weightOffset = (float)qkDouble(params[3]);
  const float *gamma = (const float *)weights[0], *beta = (const float *)weights[1];
  QkRange rows = qkPart(qkRows(args, params[4]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float *x = (const float *)buffers[0] + row * K;
    float *out = (float *)buffers[1] + row * K;
    v16f sum = (v16f)0.0f, squares = (v16f)0.0f;
    for (int64_t k = 0; k < K; k += 16)
      sum += vloadn(x + k, K - k);
    float mean = vsum(sum) / (float)K;
    for (int64_t k = 0; k < K; k += 16) {
      v16f v = vloadn(x + k, K - k) - mean;
      if (k + 16 > K) /* lanes past the end must not count */
        v = vloadn((const float *)&v, K - k);
      squares = vfma(v, v, squares);
    }
    float scale = 1.0f / __builtin_sqrtf(vsum(squares) / (float)K + eps);
    for (int64_t k = 0; k < K; k += 16) {
      v16f v = (vloadn(x + k, K - k) - mean) * scale * (vloadn(gamma + k, K - k) + weightOffset);
      if (params[2])
        v += vloadn(beta + k, K - k);
      vstoren(out + k, v, K - k);
    }
  }
}
QK_TASKS(layer_norm) { return qkRowTasks(qkRows(args, params[4]), params[0], threads); }
