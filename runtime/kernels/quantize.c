/*===- quantize.c - activations to int8, and there and back ---------------===//
 *
 * quantize_q8 feeds linear_q8. fake_quant is the meaning of quantized activations
 * in f32: it gives exactly code * scale of the same codes. Processors have no unit for
 * the products of small floats, so that is also how rows of them are multiplied.
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

/*===- There and back in f32 -----------------------------------------------===*/

/* A float of few bits: largest finite number, smallest normal one, mantissa bits. */
typedef struct {
  float largest, least;
  int32_t mantissa;
} QkFloat;

QK_INLINE QkFloat floatOf(int64_t element) {
  switch (element) {
  case QK_E5M2:
    return (QkFloat){57344.0f, 0x1p-14f, 2};
  case QK_E3M4:
    return (QkFloat){15.5f, 0x1p-2f, 4};
  case QK_E2M5:
    return (QkFloat){7.875f, 0x1p0f, 5};
  case QK_E3M2:
    return (QkFloat){28.0f, 0x1p-2f, 2};
  case QK_E2M3:
    return (QkFloat){7.5f, 0x1p0f, 3};
  case QK_E2M1:
    return (QkFloat){6.0f, 0x1p0f, 1};
  default:
    return (QkFloat){448.0f, 0x1p-6f, 3};
  }
}

/* The nearest number of `f`, ties to even, saturating. */
QK_INLINE v16f roundToFloat(QkFloat f, v16f x) {
  v16f a = vmin(vabs(x), (v16f)f.largest);
  /* Adding 1.5 * 2^(23 - mantissa) times the power of two at or below a leaves as many bits
   * after the leading one. */
  float shift = (float)(1 << (23 - f.mantissa)) * 1.5f;
  v16f power = (v16f)((v16u)vmax(a, (v16f)f.least) & 0x7f800000u) * shift;
  v16f rounded = (a + power) - power;
  return (v16f)((v16u)rounded | ((v16u)x & 0x80000000u));
}

/* The scale of a group of floats, where `given` is that of the tensor, or 0. */
QK_INLINE float scaleOfFloats(QkFloat f, int64_t scale, float given, float largest) {
  if (scale == QK_SCALE_E8M0)
    return qkPowerFrom(largest / f.largest);
  if (scale == QK_SCALE_E4M3) { /* of NVFP4; groups of zeros get 1 */
    float wanted = largest / (f.largest * given);
    wanted = wanted == 0.0f ? 1.0f : wanted < 0x1p-9f ? 0x1p-9f : wanted;
    return roundToFloat(floatOf(QK_E4M3), (v16f)wanted)[0] * given;
  }
  return given != 0.0f ? given : largest / f.largest;
}

QK_KERNEL(fake_quant) {
  int64_t K = params[0], element = params[1], scale = params[3], roundMode = params[4];
  int64_t actGroup = qkMin(params[2], K);
  float given = (float)qkDouble(params[5]);
  int isFloat = element != QK_U8, fixed = given != 0.0f && scale != QK_SCALE_E4M3;
  QkFloat f = floatOf(element);
  QkRange rows = qkPart(qkRows(args, params[6]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    QkSource source = {.kind = QkPlain, .x = (const float *)buffers[0] + row * K};
    float *out = (float *)buffers[1] + row * K;
    QK_NOUNROLL for (int64_t begin = 0; begin < K; begin += actGroup) {
      int64_t end = K % actGroup == 0 ? begin + actGroup : qkMin(begin + actGroup, K);
      float largest = fixed ? 0.0f : qkLargest(&source, isFloat ? 0 : roundMode, begin, end);
      QkStep step = {given, 1.0f / given, given};
      if (isFloat) {
        step.stored = scaleOfFloats(f, scale, given, largest);
        step.divisor = step.stored > 0.0f ? step.stored : 1.0f;
      } else if (!fixed) {
        step = qkStepOf(roundMode, largest);
      }
      for (int64_t k = begin; k < end; k += 16) {
        v16f v = vloadn(source.x + k, end - k);
        v = isFloat ? roundToFloat(f, v / step.divisor) : qkCodes(roundMode, step, v);
        vstoren(out + k, v * step.stored, end - k);
      }
    }
  }
}
QK_TASKS(fake_quant) { return qkRowTasks(qkRows(args, params[6]), params[0] * 2, threads); }
