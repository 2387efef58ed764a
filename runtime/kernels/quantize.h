/*===- quantize.h - a row of f32 to int8 codes, scales and sums -----------===//
 *
 * The values come from a QkSource, which may compute them (a norm, a gate): each
 * is produced twice, once for the largest magnitude of its group and once for its
 * code, which is cheaper than a scratch row and needs no memory.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_KERNELS_QUANTIZE_H
#define QPLAN_KERNELS_QUANTIZE_H

#include "vmath.h"

enum { QkPlain, QkSmoothed, QkNormed, QkGated };

/* Where 16 values of a row come from. */
typedef struct {
  int64_t kind;
  const float *x;
  const float *gamma; /* smoothing vector, norm weights, or the up half of a gate */
  float scale, weightOffset;
  int64_t activation;
} QkSource;

/* Columns k .. k+15, of which n exist; the others are 0. */
QK_INLINE v16f qkValues(const QkSource *s, int64_t k, int64_t n) {
  v16f v = vloadn(s->x + k, n);
  switch (s->kind) {
  case QkSmoothed:
    return v * vloadn(s->gamma + k, n);
  case QkNormed:
    return v * s->scale * (vloadn(s->gamma + k, n) + s->weightOffset);
  case QkGated:
    return vactivate(s->activation, v) * vloadn(s->gamma + k, n);
  default:
    return v;
  }
}

typedef struct {
  int64_t K, Kp, actGroup, sumGroup, roundMode;
  float given; /* scale known before; 0: from the values */
} QkQuantizer;

QK_INLINE QkQuantizer qkQuantizer(int64_t K, int64_t actGroup, int64_t sumGroup,
                                  int64_t roundMode) {
  QkQuantizer q = {K, qkAlign64(K), qkMin(actGroup, K), qkMin(sumGroup, K), roundMode, 0.0f};
  return q;
}

QK_INLINE float qkRoundToHalf(float x) {
  v16us half = vtohalf((v16f)x);
  return vfromhalf(&half)[0];
}

/* Half away from zero, for |x| < 2^22. */
QK_INLINE v16f qkRoundAway(v16f x) {
  v16f a = vabs(x), t = vtofloat(vtoint(a));
  t = a - t >= 0.5f ? t + 1.0f : t;
  return (v16f)((v16u)t | ((v16u)x & 0x80000000u));
}

/* 2^(byte - 127) for 0 <= byte <= 254. */
QK_INLINE float qkPowerOf(int32_t byte) {
  int32_t bits = byte <= 0 ? 0x400000 : (byte < 254 ? byte : 254) << 23;
  float power;
  __builtin_memcpy(&power, &bits, 4);
  return power;
}
QK_INLINE int32_t qkBitsOfFloat(float x) {
  int32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits;
}
/* OCP MX, x >= 0: the greatest power of two up to x, and the least from x on. */
QK_INLINE float qkPowerUpTo(float x) { return qkPowerOf(qkBitsOfFloat(x) >> 23); }
QK_INLINE float qkPowerFrom(float x) {
  int32_t bits = qkBitsOfFloat(x);
  return qkPowerOf(bits <= 0x400000 ? 0 : (bits + 0x7fffff) >> 23);
}

/* What turns values into codes, and the scale that is stored. */
typedef struct {
  float divisor, factor, stored;
} QkStep;

/* From the value of the largest magnitude in a group. */
QK_INLINE QkStep qkStepOf(int64_t roundMode, float largest) {
  float magnitude = largest < 0 ? -largest : largest;
  float d = magnitude / 127.0f;
  QkStep step = {d > 0 ? d : 1.0f, d > 0 ? 1.0f / d : 0.0f, d};
  if (roundMode == 1)
    step.stored = qkRoundToHalf(d);
  if (roundMode == 3)
    step.divisor = step.stored = qkPowerUpTo(magnitude) * 0x1p-6f;
  if (roundMode == 2) {
    step.factor = largest != 0 ? -127.0f / largest : 0.0f;
    step.stored = largest != 0 ? 1.0f / step.factor : 0.0f;
  }
  return step;
}

QK_INLINE v16f qkCodes(int64_t roundMode, QkStep step, v16f v) {
  /* Clamped first: a given scale may be too small for the value. */
  v16f code = roundMode == 0 || roundMode == 3 ? v / step.divisor : v * step.factor;
  code = vmin(vmax(code, (v16f)-127.0f), (v16f)127.0f);
  return roundMode == 1 ? qkRoundAway(code) : vround(code);
}

/* The value of the largest magnitude among columns [begin, end); of equal ones the
 * first (GGML's Q8_K takes its sign). */
QK_INLINE float qkLargest(const QkSource *source, int64_t roundMode, int64_t begin, int64_t end) {
  v16f best = (v16f)0.0f;
  for (int64_t k = begin; k < end; k += 16)
    best = vmax(vabs(qkValues(source, k, end - k)), best);
  float magnitude = vhmax(best);
  if (roundMode != 2)
    return magnitude;
  for (int64_t k = begin; k < end; k += 16) {
    v16f v = qkValues(source, k, end - k);
    for (int64_t i = 0; i < 16; ++i)
      if (v[i] == magnitude || v[i] == -magnitude)
        return v[i];
  }
  return magnitude;
}

/* buffers: codes, scales, sums. */
QK_INLINE void qkQuantizeRow(const QkQuantizer *q, const QkSource *source, int64_t row,
                             uint8_t *const *buffers) {
  int8_t *codes = (int8_t *)buffers[0] + row * q->Kp;
  float *scales = (float *)buffers[1] + row * qkCeilDiv(q->K, q->actGroup);
  int32_t *sums = (int32_t *)buffers[2] + row * qkCeilDiv(q->K, q->sumGroup);
  QK_NOUNROLL for (int64_t begin = 0, g = 0; begin < q->K; begin += q->actGroup, ++g) {
    int64_t end = q->K % q->actGroup == 0 ? begin + q->actGroup : qkMin(begin + q->actGroup, q->K);
    QkStep step = {q->given, 1.0f / q->given, q->given};
    if (q->given == 0)
      step = qkStepOf(q->roundMode, qkLargest(source, q->roundMode, begin, end));
    scales[g] = step.stored;
    for (int64_t from = begin; from < end; from += q->sumGroup) {
      int64_t to = qkMin(from + q->sumGroup, end);
      v16i sum = (v16i)0;
      for (int64_t k = from; k < to; k += 16) {
        v16f values = qkValues(source, k, to - k);
        v16i code = vtoint(qkCodes(q->roundMode, step, values));
        v16c bytes = __builtin_convertvector(code, v16c);
        __builtin_memcpy(codes + k, &bytes, to - k >= 16 ? 16 : (unsigned long)(to - k));
        sum += code;
      }
      sums[from / q->sumGroup] = vsumi(sum);
    }
  }
  if (q->Kp > q->K)
    __builtin_memset(codes + q->K, 0, (unsigned long)(q->Kp - q->K));
}

#endif /* QPLAN_KERNELS_QUANTIZE_H */
