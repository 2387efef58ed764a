/*===- kv_store.c - new keys and values to the pages -----------------------===//
 *
 * Rounds each vector once, as the format's codec does: the scale first, as it is
 * stored, then codes against that scale. NaN and values beyond a fixed scale or the
 * largest f16 scale saturate; nothing here depends on other tokens.
 *===----------------------------------------------------------------------===*/
#include "kv.h"

/* Largest of f(x) over columns [begin, end), which is at least 0. */
enum { Magnitude, Highest, Lowest };
QK_INLINE float largestOf(const float *x, int64_t begin, int64_t end, int of) {
  v16f best = (v16f)0.0f;
  for (int64_t k = begin; k < end; k += 16) {
    v16f v = vloadn(x + k, end - k);
    best = vmax(of == Magnitude ? vabs(v) : of == Highest ? v : -v, best);
  }
  return vhmax(best);
}

/* An f16 scale as it is stored. Subnormal ones are rounded up: rounding down would be
 * coarse enough to saturate the largest values. */
QK_INLINE uint16_t halfScale(float scale) {
  scale = scale < 65504.0f ? scale : 65504.0f;
  v16us half = vtohalf((v16f)scale);
  int up = half[0] < 0x0400 && vfromhalf(&half)[0] < scale;
  return (uint16_t)(half[0] + up);
}

/* Nearest f8E4M3FN, ties to even; beyond 448, and for NaN, 448. */
QK_INLINE v16b toe4m3(v16f x) {
  v16u bits = (v16u)x, sign = (bits >> 24) & 0x80u, magnitude = bits & 0x7fffffffu;
  v16u clamped = magnitude < 0x43e00000u ? magnitude : 0x43e00000u;
  /* 2^14 has an ulp of 2^-9, the unit of the subnormals. */
  v16u subnormal = (v16u)((v16f)clamped + 0x1p14f) - 0x46800000u;
  v16u rebased = clamped - 0x3c000000u;
  v16u normal = (rebased + 0x7ffffu + ((rebased >> 20) & 1u)) >> 20;
  v16u code = clamped < 0x3c800000u ? subnormal : normal;
  return __builtin_convertvector(sign | code, v16b);
}

/* Nearest E2M1, ties to the even code; beyond 6, and for NaN, 6. */
QK_INLINE v16b toe2m1(v16f x) {
  v16u bits = (v16u)x, sign = (bits >> 28) & 8u, magnitude = bits & 0x7fffffffu;
  v16u clamped = magnitude < 0x40c00000u ? magnitude : 0x40c00000u;
  /* 2^22 has an ulp of 1/2, the unit of the subnormals. */
  v16u subnormal = (v16u)((v16f)clamped + 0x1p22f) - 0x4a800000u;
  v16u rebased = clamped - 0x3f000000u;
  v16u normal = (rebased + 0x1fffffu + ((rebased >> 22) & 1u)) >> 22;
  v16u code = clamped < 0x3f800000u ? subnormal : normal;
  return __builtin_convertvector(sign | code, v16b);
}

/* The grid of one group: value = scale * (code - zero). */
typedef struct {
  float scale;
  int32_t zero; /* of 4-bit codes */
} Grid;

/* Writes the scale of a group and returns it as it will be read. */
QK_INLINE float storeScale(const QkCache *c, QkVector v, int64_t g, float scale, float given) {
  uint16_t half;
  v16us halves;
  v16b byte;
  switch (c->scale) {
  case QK_KV_SCALE_E4M3:
    /* A group of zeros has 1; no other is lost to a scale of 0. */
    byte = toe4m3((v16f)(scale == 0.0f ? 1.0f : scale > 0x1p-9f ? scale : 0x1p-9f));
    v.side[g] = byte[0];
    return (qkScaleOfByte(byte[0]) * given)[0];
  case QK_SCALE_F16:
    half = halfScale(scale);
    __builtin_memcpy(v.side + g * 2, &half, 2);
    halves = (v16us)half;
    return vfromhalf(&halves)[0];
  default:
    __builtin_memcpy(v.side + g * 4, &scale, 4);
    return scale;
  }
}

/* The largest number of the codes, by which scales divide the largest magnitude. */
QK_INLINE float largestCode(const QkCache *c) {
  switch (c->element) {
  case QK_KV_E4M3:
    return 448.0f;
  case QK_KV_E2M1:
    return 6.0f;
  case QK_KV_I8:
    return 127.0f;
  default:
    return 7.5f;
  }
}

/* Writes scale and zero point of group g of a vector and returns them. */
QK_INLINE Grid storeGrid(const QkCache *c, QkVector v, const float *x, int64_t g, float given) {
  int64_t begin = g * c->group, end = qkMin(begin + c->group, c->headDim);
  Grid grid = {0.0f, 8};
  if (!c->zero) {
    float divisor = largestCode(c) * (c->scale == QK_KV_SCALE_E4M3 ? given : 1.0f);
    grid.scale = storeScale(c, v, g, largestOf(x, begin, end, Magnitude) / divisor, given);
    return grid;
  }
  float low = -largestOf(x, begin, end, Lowest);
  float scale = largestOf(x, begin, end, Highest) / 15.0f - low / 15.0f;
  grid.scale = storeScale(c, v, g, scale, given);
  float zero = grid.scale > 0 ? -low / grid.scale : 0.0f;
  grid.zero = vtoint(vround((v16f)(zero < 15.0f ? zero : 15.0f)))[0];
  uint8_t *byte = v.side + c->groups * 2 + g / 2;
  *byte = (uint8_t)(g % 2 ? *byte | grid.zero << 4 : grid.zero);
  return grid;
}

/* Codes of 16 values against a grid. */
QK_INLINE v16b codesOf(const QkCache *c, Grid grid, v16f x) {
  v16f scaled = x / (v16f)(grid.scale > 0 ? grid.scale : 1.0f);
  if (c->element == QK_KV_E4M3)
    return toe4m3(scaled);
  if (c->element == QK_KV_E2M1)
    return toe2m1(scaled);
  int bytes = c->element == QK_KV_I8;
  int32_t zero = bytes ? 0 : grid.zero;
  float low = bytes ? -128.0f : (float)-zero, high = low + (bytes ? 255.0f : 15.0f);
  v16i code = vtoint(vround(vmin(vmax(scaled, (v16f)low), (v16f)high))) + zero;
  return __builtin_convertvector(code, v16b);
}

/* Plain floats. */
QK_INLINE void storeFloats(const QkCache *c, QkVector v, const float *x) {
  for (int64_t k = 0; k < c->headDim; k += 16) {
    v16f value = vloadn(x + k, c->headDim - k);
    if (c->element == QK_KV_F32) {
      vstoren((float *)v.codes + k, value, c->headDim - k);
      continue;
    }
    v16us bits = c->element == QK_KV_F16 ? vtohalf(value) : vtobf16(value);
    int64_t n = qkMin(16, c->headDim - k);
    __builtin_memcpy(v.codes + k * 2, &bits, (unsigned long)n * 2);
  }
}

QK_INLINE void storeCodes(const QkCache *c, QkVector v, const float *x, float given) {
  Grid grid = {given, 8};
  v16b low = (v16b)0;
  QK_UNROLL for (int64_t d = 0; d < c->headDim; d += 16) {
    int64_t n = c->headDim - d;
    if (c->scale != QK_SCALE_NONE && d % c->group == 0)
      grid = storeGrid(c, v, x, d / c->group, given);
    v16b codes = codesOf(c, grid, vloadn(x + d, n));
    if (c->element != QK_KV_I4 && c->element != QK_KV_E2M1) {
      __builtin_memcpy(v.codes + d, &codes, n >= 16 ? 16 : (unsigned long)n);
      continue;
    }
    low = d % 32 ? low | codes << 4 : codes;
    __builtin_memcpy(v.codes + d / 32 * 16, &low, 16);
  }
}

QK_KERNEL(kv_store) {
  QkCache cache = qkCache(params + 3);
  int64_t ld = params[2];
  const float *scales = (const float *)weights[0];
  QkRange rows = qkPart(args->tokens, index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const qplan_sequence_v1 *sequence = &args->sequence[args->row_sequence[row]];
    QK_UNROLL for (int64_t part = 0; part < 2; ++part) {
      const float *from = (const float *)buffers[0] + row * ld + params[part];
      QK_NOUNROLL for (int64_t head = 0; head < cache.kvHeads; ++head) {
        QkVector v = qkVectorAt(&cache, sequence, head, part, args->positions[row]);
        const float *x = from + head * cache.headDim;
        if (cache.element <= QK_KV_BF16)
          storeFloats(&cache, v, x);
        else
          storeCodes(&cache, v, x, cache.fixed ? scales[part * cache.kvHeads + head] : 0.0f);
      }
    }
  }
}
QK_TASKS(kv_store) { return qkRowTasks(args->tokens, params[3] * params[4] * 2, threads); }
