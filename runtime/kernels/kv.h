/*===- kv.h - cached keys and values ---------------------------------------===//
 *
 * A vector is what one head keeps of one token: headDim keys, or headDim values. Where
 * vectors lie in a page, and the f32 values that their codes stand for: exactly those
 * of the format's codec, whatever order the bytes have here.
 *
 * A page holds, for each layer, for keys and then for values, for each head, a block
 *   [codes of pageTokens vectors][scales of pageTokens vectors]
 * Codes of a vector by element:
 *   F32, F16, BF16  the values
 *   I8              code - 128 as a signed byte
 *   E4M3            f8E4M3FN bit patterns
 *   I4, E2M1        for every 32 columns 16 bytes: columns 0..15 in the low nibbles,
 *                   16..31 in the high ones; the last 32 columns are always whole
 * Scales of a vector: one for each `group` columns (E4M3: a byte, times the fixed scale
 * of the head), then, where `zero` is set, a zero point of 4 bits for each group, the
 * first in the low nibble.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_KERNELS_KV_H
#define QPLAN_KERNELS_KV_H

#include "simd.h"

typedef uint8_t v16b __attribute__((ext_vector_type(16)));

typedef struct {
  int64_t kvHeads, headDim, layer, element, group, scale, zero, fixed, pageTokens;
  int64_t groups;
  int64_t codeBytes; /* of one vector */
  int64_t sideBytes; /* scales and zero points of one vector */
} QkCache;

/* From params in the order "kvHeads,headDim,layer,layers,kvElement,kvGroup,kvScale,
 * kvZero,kvFixed,pageTokens". */
QK_INLINE QkCache qkCache(const int64_t *params) {
  QkCache c = {.kvHeads = params[0],
               .headDim = params[1],
               .layer = params[2],
               .element = params[4],
               .group = params[5],
               .scale = params[6],
               .zero = params[7],
               .fixed = params[8],
               .pageTokens = params[9]};
  c.groups = c.scale == QK_SCALE_NONE ? 1 : qkCeilDiv(c.headDim, c.group);
  switch (c.element) {
  case QK_KV_F32:
    c.codeBytes = c.headDim * 4;
    break;
  case QK_KV_F16:
  case QK_KV_BF16:
    c.codeBytes = c.headDim * 2;
    break;
  case QK_KV_I4:
  case QK_KV_E2M1:
    c.codeBytes = qkCeilDiv(c.headDim, 32) * 16;
    break;
  default:
    c.codeBytes = c.headDim;
  }
  int64_t scaleBytes = c.scale == QK_KV_SCALE_E4M3 ? 1 : c.scale == QK_SCALE_F16 ? 2 : 4;
  if (c.scale != QK_SCALE_NONE)
    c.sideBytes = c.groups * scaleBytes + (c.zero ? (c.groups + 1) / 2 : 0);
  return c;
}

/* Where one vector lies. */
typedef struct {
  uint8_t *codes, *side;
} QkVector;

/* Of keys (part 0) or values (part 1). */
QK_INLINE QkVector qkVectorAt(const QkCache *c, const qplan_sequence_v1 *sequence, int64_t kvHead,
                              int64_t part, int64_t position) {
  uint8_t *page = (uint8_t *)sequence->pages[position / c->pageTokens];
  int64_t block = (c->layer * 2 + part) * c->kvHeads + kvHead, slot = position % c->pageTokens;
  uint8_t *codes = page + block * c->pageTokens * (c->codeBytes + c->sideBytes);
  QkVector v = {codes + slot * c->codeBytes,
                codes + c->pageTokens * c->codeBytes + slot * c->sideBytes};
  return v;
}

/* Asks for a vector that is read soon: the blocks of a page are too short for hardware
 * to see where the next one begins. */
QK_INLINE void qkPrefetch(const QkCache *c, QkVector v) {
  QK_UNROLL for (int64_t b = 0; b < c->codeBytes; b += 64) __builtin_prefetch(v.codes + b, 0, 2);
  if (c->sideBytes)
    __builtin_prefetch(v.side, 0, 2);
}

/* The number of a positive f8E4M3FN; in all lanes. */
QK_INLINE v16f qkScaleOfByte(uint8_t byte) {
  v16us half = (v16us)(uint16_t)(byte << 7);
  return vfromhalf(&half) * 256.0f;
}

/* The scale of column d (in all lanes); `given` is the fixed scale of the head, if its
 * format has one. */
QK_INLINE v16f qkCachedScale(const QkCache *c, QkVector v, int64_t d, float given) {
  int64_t g = d / c->group;
  uint16_t half;
  float scale;
  v16us halves;
  switch (c->scale) {
  case QK_SCALE_NONE:
    return (v16f)given;
  case QK_SCALE_F32:
    __builtin_memcpy(&scale, v.side + g * 4, 4);
    return (v16f)scale;
  case QK_KV_SCALE_E4M3:
    return qkScaleOfByte(v.side[g]) * given;
  default:
    __builtin_memcpy(&half, v.side + g * 2, 2);
    halves = (v16us)half;
    return vfromhalf(&halves);
  }
}

/* The code that stands for 0 in the group of column d, of 4-bit codes. */
QK_INLINE v16i qkCachedZero(const QkCache *c, QkVector v, int64_t d) {
  if (!c->zero)
    return (v16i)8;
  int64_t g = d / c->group;
  return (v16i)((v.side[c->groups * 2 + g / 2] >> (g % 2 * 4)) & 15);
}

/* n (at most 16) bytes; the others are 0. */
QK_INLINE v16b vloadbytes(const uint8_t *p, int64_t n) {
  v16b v = (v16b)0;
  __builtin_memcpy(&v, p, n >= 16 ? 16 : (unsigned long)n);
  return v;
}

/* f8E4M3FN, divided by 256: as the upper bits of f16, whose exponent is 8 less. NaN
 * codes, which are never stored, are 480 / 256. */
QK_INLINE v16f vfrome4m3(v16b codes) {
  v16s wide = __builtin_convertvector((v16c)codes, v16s);
  v16us half = (v16us)(wide << 7) & 0xbfff;
  return vfromhalf(&half);
}

/* scale times the E2M1 numbers in the low four bits of `codes`. */
QK_INLINE v16f qkE2M1(v16i codes, v16f scale) {
#if QK_HAS_LOOKUP
  v16f table = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  return vlookup(table * scale, (v16u)codes);
#else
  /* As the upper bits of f16, whose exponent is 14 less; powers of two round nothing. */
  v16us bits = __builtin_convertvector(codes, v16us);
  v16us half = (bits & 7) << 9 | (bits & 8) << 12;
  return vfromhalf(&half) * (scale * 16384.0f);
#endif
}

/* Columns d .. d + 15 of a vector, d a multiple of 16; columns past headDim are some
 * finite value. */
QK_INLINE v16f qkCached(const QkCache *c, QkVector v, int64_t d, float given) {
  int64_t n = c->headDim - d;
  switch (c->element) {
  case QK_KV_F32:
    return vloadn((const float *)(v.codes + d * 4), n);
  case QK_KV_F16:
  case QK_KV_BF16: {
    v16us bits = (v16us)0;
    __builtin_memcpy(&bits, v.codes + d * 2, n >= 16 ? 32 : (unsigned long)n * 2);
    return c->element == QK_KV_F16 ? vfromhalf(&bits) : vfrombf16(&bits);
  }
  case QK_KV_I8: {
    v16c codes = (v16c)vloadbytes(v.codes + d, n);
    return vtofloat(__builtin_convertvector(codes, v16i)) * qkCachedScale(c, v, d, given);
  }
  case QK_KV_E4M3:
    /* 256 times a scale is exact: the product is rounded once. */
    return vfrome4m3(vloadbytes(v.codes + d, n)) * (qkCachedScale(c, v, d, given) * 256.0f);
  default: {
    v16i codes = __builtin_convertvector(vloadbytes(v.codes + d / 32 * 16, 16), v16i);
    v16f scale = qkCachedScale(c, v, d, given);
    if (c->element == QK_KV_E2M1)
      return qkE2M1(d % 32 ? codes >> 4 : codes, scale);
    codes = d % 32 ? codes >> 4 : codes & 15;
    return vtofloat(codes - qkCachedZero(c, v, d)) * scale;
  }
  }
}

#endif /* QPLAN_KERNELS_KV_H */
