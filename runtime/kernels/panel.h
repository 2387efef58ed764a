/*===- panel.h - reading panel16 weights ----------------------------------===//
 *
 * Addresses and decoding of the packing that Kernels.inc describes: 16 rows side
 * by side, scales first, then codes in steps of one 64-byte vector (32 bytes for
 * f16). The packing lets every kernel read a panel from front to back.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_KERNELS_PANEL_H
#define QPLAN_KERNELS_PANEL_H

#include "trellis.h"

typedef struct {
  int64_t N, K, element, group, scale, hasMin, offset;
  int64_t stepColumns; /* columns in one step of codes */
  int64_t stepBytes;
  int64_t scaleBytes; /* bytes of one group's scales (and mins) */
  int64_t codesAt;    /* offset of the codes in a panel */
  int64_t panelBytes;
  int64_t panels;
} QkPanels;

QK_INLINE QkPanels qkPanels(int64_t N, int64_t K, int64_t element, int64_t group, int64_t scale,
                            int64_t hasMin, int64_t offset) {
  QkPanels p = {N, K, element, group, scale, hasMin, offset, 1, 64, 0, 0, 0, 0};
  if (element == QK_F16)
    p.stepBytes = 32;
  else if (element == QK_BF16)
    p.stepColumns = 2;
  else if (element == QK_U4)
    p.stepColumns = 8;
  else if (element != QK_F32)
    p.stepColumns = 4;
  if (scale == QK_SCALE_NONE)
    p.group = K;
  else
    p.scaleBytes = (scale == QK_SCALE_F16 ? 32 : 64) * (hasMin ? 2 : 1);
  p.codesAt = qkAlign64(p.scaleBytes * qkCeilDiv(K, p.group));
  p.panelBytes = p.codesAt + qkAlign64(qkCeilDiv(K, p.stepColumns) * p.stepBytes);
  if (element == QK_TRELLIS)
    p.panelBytes = qkTrellisPanelBytes(K, offset);
  p.panels = qkCeilDiv(N, 16);
  return p;
}

/* The 16 scales of a group. */
QK_INLINE v16f qkScale(const QkPanels *p, const uint8_t *panel, int64_t group) {
  if (p->scale == QK_SCALE_NONE)
    return (v16f)1.0f;
  const uint8_t *at = panel + group * p->scaleBytes;
  return p->scale == QK_SCALE_F16 ? vfromhalf(at) : vload(at);
}
QK_INLINE v16f qkMinOf(const QkPanels *p, const uint8_t *panel, int64_t group) {
  const uint8_t *at = panel + group * p->scaleBytes + p->scaleBytes / 2;
  return p->scale == QK_SCALE_F16 ? vfromhalf(at) : vload(at);
}

/* One step of codes. */
QK_INLINE v16u qkStep(const QkPanels *p, const uint8_t *at) {
  if (p->element != QK_F16)
    return vloadu(at);
  v16us half;
  __builtin_memcpy(&half, at, 32);
  return __builtin_convertvector(half, v16u);
}

/* What qkColumn looks up: the value of each 4-bit code, less the offset. */
QK_INLINE v16f qkTable(const QkPanels *p) {
  v16f table = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return table - (p->hasMin ? 0.0f : (float)p->offset);
}

/* Column j of a step, before scale and min. `at` is where the step lies. */
QK_INLINE v16f qkColumn(const QkPanels *p, v16u step, const uint8_t *at, int64_t j, v16f table) {
  switch (p->element) {
  case QK_F32:
    return (v16f)step;
  case QK_F16:
    return vfromhalf(at);
  case QK_BF16:
    return (v16f)(j == 0 ? step << 16 : step & 0xffff0000u);
  case QK_U4: {
    /* Column j < 4 is the low nibble of byte j, column 4 + j the high one. */
    v16u code = step >> (uint32_t)((j & 3) * 8 + (j >> 2) * 4);
#if QK_HAS_LOOKUP
    return vlookup(table, code);
#else
    (void)table;
    return vtofloat((v16i)(code & 15u) - (int32_t)(p->hasMin ? 0 : p->offset));
#endif
  }
  case QK_U8: {
    v16u code = (step >> (uint32_t)(j * 8)) & 255u;
    return vtofloat((v16i)code - (int32_t)(p->hasMin ? 0 : p->offset));
  }
  default: { /* E4M3: exponent and significand moved into place, 120 too low */
    v16u code = step >> (uint32_t)(j * 8);
    v16f magnitude = (v16f)((code & 127u) << 20) * 0x1p120f;
    return (v16f)((v16u)magnitude | ((code & 128u) << 24));
  }
  }
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
