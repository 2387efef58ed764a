/*===- quantize.c - activations to int8, and there and back ---------------===//
 *
 * quantize_q8 feeds linear_q8. fake_quant is the meaning of quantized activations
 * in f32: it gives exactly code * scale of the same codes.
 *===----------------------------------------------------------------------===*/
#include "quantize.h"

QK_KERNEL(quantize_q8) {
  QkQuantizer q = qkQuantizer(params[0], params[2], params[3], params[4]);
  q.given = (float)qkDouble(params[7]);
  int64_t ld = params[1];
  QkRange rows = qkPart(qkRows(args, params[6]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    QkSource source = {.kind = params[5] ? QkSmoothed : QkPlain,
                       .x = (const float *)buffers[0] + row * ld,
                       .gamma = (const float *)(params[5] ? weights[0] : 0)};
    qkQuantizeRow(&q, &source, row, buffers + 1);
  }
}
QK_TASKS(quantize_q8) { return qkRowTasks(qkRows(args, params[6]), params[0], threads); }

/* Nearest f8E4M3FN value, ties to even, saturating at 448. */
QK_INLINE v16f toE4M3(v16f x) {
  v16f a = vmin(vabs(x), (v16f)448.0f);
  /* Adding 2^20 times the power of two at or below a leaves three bits after the
   * leading one; the smallest step is 2^-9. */
  v16f power = (v16f)((v16u)vmax(a, (v16f)0x1p-6f) & 0x7f800000u) * 0x1p20f * 1.5f;
  v16f rounded = (a + power) - power;
  return (v16f)((v16u)rounded | ((v16u)x & 0x80000000u));
}

QK_KERNEL(fake_quant) {
  int64_t K = params[0], kind = params[1], roundMode = params[3];
  int64_t actGroup = qkMin(params[2], K);
  float given = (float)qkDouble(params[4]);
  QkRange rows = qkPart(qkRows(args, params[5]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    QkSource source = {.kind = QkPlain, .x = (const float *)buffers[0] + row * K};
    float *out = (float *)buffers[1] + row * K;
    for (int64_t begin = 0; begin < K; begin += actGroup) {
      int64_t end = qkMin(begin + actGroup, K);
      QkStep step = {given, 1.0f / given, given};
      if (given == 0) {
        float largest = qkLargest(&source, kind == 0 ? roundMode : 0, begin, end);
        step = qkStepOf(roundMode, largest);
        if (kind == 1) {
          step.stored = largest / 448.0f;
          step.divisor = step.stored > 0 ? step.stored : 1.0f;
        }
      }
      for (int64_t k = begin; k < end; k += 16) {
        v16f v = vloadn(source.x + k, end - k);
        v = kind == 1 ? toE4M3(v / step.divisor) : qkCodes(roundMode, step, v);
        vstoren(out + k, v * step.stored, end - k);
      }
    }
  }
}
QK_TASKS(fake_quant) { return qkRowTasks(qkRows(args, params[5]), params[0], threads); }
