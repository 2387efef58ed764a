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
