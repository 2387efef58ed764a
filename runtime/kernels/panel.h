/*===- panel.h - reading panel16 weights ----------------------------------===//
 *
 * Addresses and decoding of the packing that Kernels.inc describes: 16 rows side
 * by side, scales first, then codes in steps of 64-byte vectors (32 bytes for f16).
 * The packing lets every kernel read a panel from front to back.
 *
 * Codes of 2 to 8 bits are put together from planes of 4, 2 and 1 bits, four columns
 * at a time (a quad: byte 4r+i is row r, column i), so that a code takes its true size
 * in memory and one or two instructions in registers. Sparse panels are spread to quads
 * with their zeros, so that nothing else knows of them.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_KERNELS_PANEL_H
#define QPLAN_KERNELS_PANEL_H

#include "trellis.h"

typedef struct {
  int64_t N, K, element, group, scale, hasMin, offset;
  int64_t sparse;      /* 1: steps as QK_SPARSE24 says */
  int64_t bits;        /* stored of each code; 0 for floats of 16 and 32 bits and tcq rows */
  int64_t stepColumns; /* columns in one step of codes */
  int64_t stepBytes;
  int64_t chunkColumns; /* columns that are decoded together: a step, or a part of one
                         * that no group divides */
  int64_t scalesAt;     /* offset of the first group's scales: after the upper level, if any */
  int64_t scaleBytes;   /* bytes of one group's scales (and mins) */
  int64_t codesAt;      /* offset of the codes in a panel */
  int64_t panelBytes;
  int64_t panels;
} QkPanels;

/* Bits of a stored code; 0 for floats of 16 and 32 bits. */
QK_INLINE int64_t qkBitsOf(int64_t element) {
  switch (element) {
  case QK_F32:
  case QK_F16:
  case QK_BF16:
  case QK_TRELLIS:
  case QK_MIXED:
    return 0;
  case QK_U2:
    return 2;
  case QK_U3:
    return 3;
  case QK_U4:
  case QK_E2M1:
  case QK_E1M2:
  case QK_E3M0:
  case QK_NF4:
  case QK_FP4:
  case QK_IQ4:
  case QK_TABLE4:
    return 4;
  case QK_U5:
    return 5;
  case QK_U6:
  case QK_E3M2:
  case QK_E2M3:
    return 6;
  case QK_U7:
    return 7;
  default:
    return 8;
  }
}

/* As many columns as a vector of the narrowest plane holds. */
QK_INLINE int64_t qkStepColumns(int64_t element) {
  int64_t bits = qkBitsOf(element);
  if (bits == 0)
    return element == QK_BF16 ? 2 : 1;
  return 32 / (bits & -bits);
}

QK_INLINE int64_t qkScaleSize(int64_t scale) {
  return scale == QK_SCALE_NONE ? 0 : scale == QK_SCALE_F16 ? 2 : scale == QK_SCALE_F32 ? 4 : 1;
}

QK_INLINE QkPanels qkPanels(int64_t N, int64_t K, int64_t element, int64_t group, int64_t scale,
                            int64_t hasMin, int64_t offset) {
  QkPanels p = {.N = N,
                .K = K,
                .element = element % QK_SPARSE24,
                .sparse = element / QK_SPARSE24,
                .group = group,
                .scale = scale,
                .hasMin = hasMin,
                .offset = offset};
  p.bits = qkBitsOf(p.element);
  p.stepColumns = p.sparse ? 32 : qkStepColumns(p.element);
  if (p.sparse)
    p.stepBytes = 16 * (p.bits ? p.bits * 2 : 32) + 64;
  else
    p.stepBytes = p.bits ? p.stepColumns * p.bits * 2 : element == QK_F16 ? 32 : 64;
  p.scaleBytes = qkScaleSize(scale) * 16 * (hasMin ? 2 : 1);
  if (scale == QK_SCALE_E4M3 || p.element == QK_TABLE4)
    p.scalesAt = 64;
  else if (scale == QK_SCALE_SUPER)
    p.scalesAt = qkCeilDiv(K, 256) * 32 * (hasMin ? 2 : 1);
  if (scale == QK_SCALE_NONE)
    p.group = K;
  /* Groups are multiples of 16 columns, or the whole row. */
  p.chunkColumns = p.group >= K || p.group % p.stepColumns == 0 ? p.stepColumns : 16;
  p.codesAt = qkAlign64(p.scalesAt + p.scaleBytes * qkCeilDiv(K, p.group));
  p.panelBytes = p.codesAt + qkAlign64(qkCeilDiv(K, p.stepColumns) * p.stepBytes);
  if (element == QK_TRELLIS)
    p.panelBytes = qkTrellisPanelBytes(K, offset);
  if (element == QK_MIXED) {
    int64_t groups = K / 32;
    p.scalesAt = qkAlign64(64 + groups);
    p.codesAt = p.scalesAt + qkAlign64(groups * 16);
    p.panelBytes = p.codesAt + (K * offset / 800 - groups) / 4 * 64;
  }
  p.panels = qkCeilDiv(N, 16);
  return p;
}

/* The 16 scales (which = 0) or mins (1) of a group. */
QK_INLINE v16f qkScalesOf(const QkPanels *p, const uint8_t *panel, int64_t group, int64_t which) {
  int64_t perGroup = p->hasMin ? 2 : 1;
  const uint8_t *at = panel + p->scalesAt + (group * perGroup + which) * 16 * qkScaleSize(p->scale);
  switch (p->scale) {
  case QK_SCALE_F16:
    return vfromhalf(at);
  case QK_SCALE_E8M0: { /* byte 0 is a subnormal number */
    v16u bits = vfrombytes(at) << 23;
    return (v16f)(bits > 0x400000u ? bits : (v16u)0x400000u);
  }
  case QK_SCALE_E4M3: { /* as f16 the number is 2^8 too low */
    v16us half = __builtin_convertvector(vfrombytes(at) & 127u, v16us) << 7;
    return vfromhalf(&half) * 256.0f * vload(panel);
  }
  case QK_SCALE_SUPER: {
    v16i bytes = (v16i)(vfrombytes(at) << 24) >> 24;
    return vtofloat(bytes) * vfromhalf(panel + (group * p->group / 256 * perGroup + which) * 32);
  }
  default:
    return vload(at);
  }
}
QK_INLINE v16f qkScale(const QkPanels *p, const uint8_t *panel, int64_t group) {
  if (p->scale == QK_SCALE_NONE)
    return (v16f)1.0f;
  v16f scale = qkScalesOf(p, panel, group, 0);
  return p->element == QK_MX8 ? scale * 0x1p-6f : scale;
}
QK_INLINE v16f qkMinOf(const QkPanels *p, const uint8_t *panel, int64_t group) {
  return qkScalesOf(p, panel, group, 1);
}

/*===- Chunks of codes -----------------------------------------------------===*/

enum { QkMostChunk = 32, QkMostWords = 7 };

/* The vectors of a chunk: those of the widest plane first. */
typedef struct {
  v16u word[QkMostWords];
  const uint8_t *at; /* where the chunk lies, for f16 */
} QkChunk;

/* Columns [k, k + chunkColumns) of a panel, k a multiple of chunkColumns. What lies
 * `ahead` bytes further is prefetched, where that is not 0. */
QK_INLINE QkChunk qkChunk(const QkPanels *p, const uint8_t *codes, int64_t k, int64_t ahead) {
  QkChunk c;
  c.at = codes + k / p->stepColumns * p->stepBytes;
  if (ahead)
    QK_UNROLL for (int64_t i = 0; i < p->stepBytes * p->chunkColumns / p->stepColumns; i += 64)
        __builtin_prefetch(c.at + ahead + i);
  if (p->sparse) { /* the mask follows the codes; floats are read when they are used */
    QK_UNROLL for (int64_t i = 0; i < p->bits / 2; ++i) c.word[i] = vloadu(c.at + i * 64);
    c.word[p->bits / 2] = vloadu(c.at + p->stepBytes - 64);
    return c;
  }
  if (p->element == QK_F16) {
    v16us half;
    __builtin_memcpy(&half, c.at, 32);
    c.word[0] = __builtin_convertvector(half, v16u);
    return c;
  }
  if (p->bits == 0 || p->bits == 8) {
    c.word[0] = vloadu(c.at);
    return c;
  }
  int64_t inside = p->chunkColumns == p->stepColumns ? 0 : k % p->stepColumns;
  const uint8_t *plane = c.at;
  int n = 0;
  if (p->bits & 4) {
    QK_UNROLL for (int64_t i = 0; i < p->chunkColumns / 8; ++i) c.word[n++] =
        vloadu(plane + (inside / 8 + i) * 64);
    plane += p->stepColumns * 8;
  }
  if (p->bits & 2) {
    QK_UNROLL for (int64_t i = 0; i < p->chunkColumns / 16; ++i) c.word[n++] =
        vloadu(plane + (inside / 16 + i) * 64);
    plane += p->stepColumns * 4;
  }
  if (p->bits & 1) {
    c.word[n] = vloadu(plane);
    if (p->chunkColumns != p->stepColumns)
      c.word[n] >>= (uint32_t)(inside / 4);
  }
  return c;
}

/* Bits [from, from + width) of each byte, moved to bit `to`. */
QK_INLINE v16u qkBits(v16u word, int64_t from, int64_t to, int64_t width) {
  uint32_t mask = ((1u << width) - 1) * 0x01010101u << to;
  return (from >= to ? word >> (uint32_t)(from - to) : word << (uint32_t)(to - from)) & mask;
}

/* What sparse codes are told from 0 by: 0 is stored as 0. */
QK_INLINE uint32_t qkSparseZero(const QkPanels *p) { return (uint32_t)p->offset * 0x01010101u; }

/* qkQuad of a sparse chunk. Byte i of an entry of the table says which of the two codes of a
 * row column i has where the entry's number is the mask; 0x80: none, which is 0. */
QK_INLINE v16u qkSparseQuad(const QkPanels *p, const QkChunk *c, int64_t q) {
  const v16u table = {0x80808080u, 0x80808000u, 0x80800080u, 0x80800100u, 0x80008080u, 0x80018000u,
                      0x80010080u, 0x80808080u, 0x00808080u, 0x01808000u, 0x01800080u, 0x80808080u,
                      0x01008080u, 0x80808080u, 0x80808080u, 0x80808080u};
  /* A row's four codes are those of two quads; four rows share what vshuffle8 looks through. */
  const v16u rows = {0,           0x04040404u, 0x08080808u, 0x0c0c0c0cu, 0,           0x04040404u,
                     0x08080808u, 0x0c0c0c0cu, 0,           0x04040404u, 0x08080808u, 0x0c0c0c0cu,
                     0,           0x04040404u, 0x08080808u, 0x0c0c0c0cu};
  v16u kept = p->bits == 8 ? c->word[q / 2] : qkBits(c->word[q / 4], q / 2 % 2 * 4, 0, 4);
  v16u places = (v16u)vlookup((v16f)table, c->word[p->bits / 2] >> (uint32_t)(4 * q));
  places += rows + (uint32_t)(q % 2) * 0x02020202u;
  return (v16u)vshuffle8((v64b)kept, (v64b)places) ^ qkSparseZero(p);
}

/* The codes of columns 4q .. 4q+3 of a chunk: byte 4r+i is row r, column 4q+i. */
QK_INLINE v16u qkQuad(const QkPanels *p, const QkChunk *c, int64_t q) {
  if (p->sparse)
    return qkSparseQuad(p, c, q);
  if (p->bits == 8)
    return c->word[q];
  v16u quad = (v16u)0u;
  int64_t n = 0, have = 0;
  if (p->bits & 4) {
    quad = qkBits(c->word[q / 2], q % 2 * 4, 0, 4);
    n = p->chunkColumns / 8, have = 4;
  }
  if (p->bits & 2) {
    quad |= qkBits(c->word[n + q / 4], q % 4 * 2, have, 2);
    n += p->chunkColumns / 16, have += 2;
  }
  if (p->bits & 1)
    quad |= qkBits(c->word[n], q, have, 1);
  return quad;
}

/*===- What codes stand for ------------------------------------------------===*/

/* The float of e exponent and m mantissa bits in the low bits of each lane: exponent and
 * mantissa are moved into place, and the exponent is corrected by a multiplication, which
 * makes subnormal numbers right. */
QK_INLINE v16f qkMinifloat(v16u code, int64_t e, int64_t m, int64_t bias) {
  v16i top = (v16i)(code << (uint32_t)(31 - e - m)); /* the sign is where it belongs */
  uint32_t keep = 0x80000000u | (((1u << (e + m)) - 1) << (23 - m));
  v16f value = (v16f)((v16u)(top >> (int32_t)(8 - e)) & keep);
  uint32_t power = (uint32_t)(254 - bias) << 23;
  float factor;
  __builtin_memcpy(&factor, &power, 4);
  return value * factor;
}

/* The first sixteen numbers that codes stand for, and the second. */
typedef struct {
  v16f low, high;
} QkTable;

/* What qkColumn looks up: the numbers of codes of 5 bits and less, the magnitudes of floats
 * of 6 bits. The tables are those of ir/codecs/Elements.cpp, but for QK_TABLE4, whose panels
 * hold their own. */
QK_INLINE QkTable qkTable(const QkPanels *p, const uint8_t *panel) {
  v16u first = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  QkTable t;
  switch (p->element) {
  case QK_TABLE4:
    t.low = t.high = vload(panel);
    return t;
  case QK_E2M1:
    t.low = t.high = qkMinifloat(first, 2, 1, 1);
    return t;
  case QK_E1M2:
    t.low = t.high = qkMinifloat(first, 1, 2, 1);
    return t;
  case QK_E3M0:
    t.low = t.high = qkMinifloat(first, 3, 0, 3);
    return t;
  case QK_E3M2:
    t.low = qkMinifloat(first, 3, 2, 3), t.high = qkMinifloat(first + 16, 3, 2, 3);
    return t;
  case QK_E2M3:
    t.low = qkMinifloat(first, 2, 3, 1), t.high = qkMinifloat(first + 16, 2, 3, 1);
    return t;
  case QK_NF4:
    t.low = t.high = (v16f){-1.0f,
                            -0.6961928009986877f,
                            -0.5250730514526367f,
                            -0.39491748809814453f,
                            -0.28444138169288635f,
                            -0.18477343022823334f,
                            -0.09105003625154495f,
                            0.0f,
                            0.07958029955625534f,
                            0.16093020141124725f,
                            0.24611230194568634f,
                            0.33791524171829224f,
                            0.44070982933044434f,
                            0.5626170039176941f,
                            0.7229568362236023f,
                            1.0f};
    return t;
  case QK_FP4: /* twelfths, rounded to f32 */
    t.low = t.high = (v16f){
        0.0f,  0.0625f / 12.0f,  8 / 12.0f,  1.0f,  4 / 12.0f,  6 / 12.0f,  2 / 12.0f,  3 / 12.0f,
        -0.0f, -0.0625f / 12.0f, -8 / 12.0f, -1.0f, -4 / 12.0f, -6 / 12.0f, -2 / 12.0f, -3 / 12.0f};
    return t;
  case QK_IQ4:
    t.low = t.high =
        (v16f){-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    return t;
  default: {
    float offset = p->hasMin ? 0.0f : (float)p->offset;
    t.low = vtofloat((v16i)first) - offset;
    t.high = t.low + 16.0f;
    return t;
  }
  }
}

/* The integer in the low `bits` bits of each lane, less the offset: put into the
 * significand of 2^23. */
QK_INLINE v16f qkInteger(const QkPanels *p, v16u code) {
  v16f shifted = (v16f)((code & ((1u << p->bits) - 1)) | 0x4b000000u);
  return shifted - (8388608.0f + (p->hasMin ? 0.0f : (float)p->offset));
}

/* The numbers of codes in the low bits of each lane, before scale and min; what is above
 * the bits of a code does not matter. */
QK_INLINE v16f qkNumber(const QkPanels *p, v16u code, QkTable table) {
  switch (p->element) {
  case QK_E4M3:
    return qkMinifloat(code, 4, 3, 7);
  case QK_E5M2:
    return qkMinifloat(code, 5, 2, 15);
  case QK_E3M4:
    return qkMinifloat(code, 3, 4, 3);
  case QK_E2M5:
    return qkMinifloat(code, 2, 5, 1);
  case QK_E3M2:
  case QK_E2M3:
#if QK_HAS_LOOKUP
    return (v16f)((v16u)vlookup32(table.low, table.high, code) ^ ((code << 26) & 0x80000000u));
#else
    return p->element == QK_E3M2 ? qkMinifloat(code, 3, 2, 3) : qkMinifloat(code, 2, 3, 1);
#endif
  case QK_E2M1:
  case QK_E1M2:
  case QK_E3M0:
  case QK_NF4:
  case QK_FP4:
  case QK_IQ4:
  case QK_TABLE4:
    return vlookup(table.low, code);
  default:
#if QK_HAS_LOOKUP
    if (p->bits <= 4)
      return vlookup(table.low, code);
    if (p->bits == 5)
      return vlookup32(table.low, table.high, code);
#endif
    return qkInteger(p, code);
  }
}

/* Kept number i of a sparse step that lies at `at`, before scale and min. */
QK_INLINE v16f qkKept(const QkPanels *p, const uint8_t *at, int64_t i, QkTable table) {
  if (p->element == QK_F16)
    return vfromhalf(at + i * 32);
  v16u pair = vloadu(at + (p->bits == 8 ? i / 4 : p->bits == 4 ? i / 8 : i / 2) * 64);
  if (p->element == QK_BF16)
    return (v16f)(i % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
  int64_t shift = p->bits == 8 ? i % 4 * 8 : i % 4 * 8 + i / 4 % 2 * 4;
  return qkNumber(p, pair >> (uint32_t)shift ^ qkSparseZero(p), table);
}

/* Column j of a sparse step that lies at `at` and has this mask. */
QK_INLINE v16f qkSparseColumn(const QkPanels *p, const uint8_t *at, v16u mask, int64_t j,
                              QkTable table) {
  uint32_t before = ((1u << (uint32_t)(j % 4)) - 1) << (uint32_t)(j / 4 * 4);
  v16f first = qkKept(p, at, j / 4 * 2, table), second = qkKept(p, at, j / 4 * 2 + 1, table);
  v16f value = (mask & before) != 0 ? second : first;
  return (mask & (1u << (uint32_t)j)) != 0 ? value : (v16f)0.0f;
}

/* Column j of a chunk, before scale and min. */
QK_INLINE v16f qkColumn(const QkPanels *p, const QkChunk *c, int64_t j, QkTable table) {
  if (p->sparse)
    return p->bits ? qkNumber(p, qkQuad(p, c, j / 4) >> (uint32_t)(j % 4 * 8), table)
                   : qkSparseColumn(p, c->at, c->word[0], j, table);
  switch (p->element) {
  case QK_F32:
    return (v16f)c->word[0];
  case QK_F16:
    return vfromhalf(c->at);
  case QK_BF16:
    return (v16f)(j == 0 ? c->word[0] << 16 : c->word[0] & 0xffff0000u);
  default: {
    /* Of 4 bits, column j < 4 is the low nibble of byte j, column 4 + j the high one. */
    v16u code = p->bits == 4 ? c->word[0] >> (uint32_t)((j & 3) * 8 + (j >> 2) * 4)
                             : qkQuad(p, c, j / 4) >> (uint32_t)(j % 4 * 8);
    return qkNumber(p, code, table);
  }
  }
}

/* Column k of a panel where k is known only at run time. */
QK_INLINE v16f qkColumnAt(const QkPanels *p, const uint8_t *codes, int64_t k, QkTable table) {
  int64_t j = k % p->stepColumns;
  const uint8_t *at = codes + k / p->stepColumns * p->stepBytes;
  if (p->sparse)
    return qkSparseColumn(p, at, vloadu(at + p->stepBytes - 64), j, table);
  if (p->bits == 0 || p->bits == 8) {
    QkChunk c = qkChunk(p, codes, k - j, 0);
    return qkColumn(p, &c, j, table);
  }
  v16u code = (v16u)0u;
  int64_t have = 0;
  QK_UNROLL for (int64_t width = 4; width; width /= 2) {
    if (!(p->bits & width))
      continue;
    int64_t columns = 32 / width; /* of a vector of this plane */
    v16u word = vloadu(at + j / columns * 64) >> (uint32_t)(j % 4 * 8 + j % columns / 4 * width);
    code |= (word & ((1u << width) - 1)) << (uint32_t)have;
    at += p->stepColumns * width * 2;
    have += width;
  }
  return qkNumber(p, code, table);
}

/* Where the 16 results of one row of a linear go, and what is added to them. */
typedef struct {
  float *out;            /* row 0, column outColumn */
  const float *residual; /* the same place, or null */
  const float *bias;     /* [N] or null */
  int64_t ld, N;
  float alpha;
} QkSink;

QK_INLINE void qkSink(const QkSink *s, int64_t row, int64_t panel, v16f y) {
  int64_t n = panel * 16, left = s->N - n;
  float *out = s->out + row * s->ld + n;
  if (s->bias)
    y += vloadn(s->bias + n, left);
  if (s->residual)
    y = vfma(y, (v16f)s->alpha, vloadn(s->residual + row * s->ld + n, left));
  else if (s->alpha != 1.0f)
    y *= s->alpha;
  vstoren(out, y, left);
}

#endif /* QPLAN_KERNELS_PANEL_H */
