/*===- glu.c - gated activations ------------------------------------------===//
 *
 * out = act(gate) * up, the middle of a feed-forward block; glu_q8 gives it in
 * the form that the down projection reads.
 *===----------------------------------------------------------------------===*/
#include "quantize.h"

QK_INLINE QkSource gateSource(const float *in, int64_t I, int64_t row, int64_t activation) {
  QkSource source = {.kind = QkGated,
                     .x = in + row * 2 * I,
                     .gamma = in + row * 2 * I + I,
                     .activation = activation};
  return source;
}

QK_KERNEL(glu) {
  int64_t I = params[0];
  QkRange rows = qkPart(qkRows(args, params[2]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    QkSource source = gateSource((const float *)buffers[0], I, row, params[1]);
    float *out = (float *)buffers[1] + row * I;
    for (int64_t k = 0; k < I; k += 16)
      vstoren(out + k, qkValues(&source, k, I - k), I - k);
  }
}
QK_TASKS(glu) { return qkRowTasks(qkRows(args, params[2]), params[0] * 4, threads); }

QK_KERNEL(glu_q8) {
  QkQuantizer q = qkQuantizer(params[0], params[2], params[3], params[4]);
  QkRange rows = qkPart(qkRows(args, params[5]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    QkSource source = gateSource((const float *)buffers[0], q.K, row, params[1]);
    qkQuantizeRow(&q, &source, row, buffers + 1);
  }
}
QK_TASKS(glu_q8) { return qkRowTasks(qkRows(args, params[5]), params[0] * 8, threads); }
