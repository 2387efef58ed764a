/*===- @Name@.c - @summary@ @@fill===//
 *
 * One pass over memory; rows are independent.
 *===----------------------------------------------------------------------===*/
#include "vmath.h"

QK_KERNEL(@Name@) {
  int64_t K = params[0];
  const float *in = (const float *)buffers[0];
  float *out = (float *)buffers[1];
  QkRange rows = qkPart(qkRows(args, params[1]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t k = 0; k < K; k += 16)
      vstoren(out + row * K + k, vloadn(in + row * K + k, K - k), K - k);
}
QK_TASKS(@Name@) { return qkRowTasks(qkRows(args, params[1]), params[0], threads); }
