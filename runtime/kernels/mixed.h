/*===- mixed.h - reading panels of mixed widths ---------------------------===//
 *
 * Groups of 32 columns whose codes have 2 to 8 bits, the same for all rows of a panel;
 * Kernels.inc has the bytes. A group is read as a panel of its width: kernels branch once
 * for each group, the same way in every panel of a matrix.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_KERNELS_MIXED_H
#define QPLAN_KERNELS_MIXED_H

#include "panel.h"

enum { QkMixedColumns = 32 };

/* A group of U2 to U8 by itself; `p` is the panel that it lies in. */
QK_INLINE QkPanels qkMixedGroup(const QkPanels *p, int64_t element) {
  int64_t bits = qkBitsOf(element);
  QkPanels group = qkPanels(p->N, QkMixedColumns, element, QkMixedColumns, QK_SCALE_F32, 0,
                            1 << (bits - 1));
  group.panelBytes = p->panelBytes; /* for prefetching */
  return group;
}

QK_INLINE int64_t qkMixedWidth(const uint8_t *panel, int64_t group) { return panel[64 + group]; }

/* What is multiplied with codes less 2^(width-1): the sign and the digits of 16 f8E4M3FN bytes,
 * as f16 2^8 too low. */
QK_INLINE v16f qkMixedScale(const QkPanels *p, const uint8_t *panel, int64_t group,
                            int64_t width) {
  v16u byte = vfrombytes(panel + p->scalesAt + group * 16);
  v16us half = __builtin_convertvector((byte & 127u) << 7 | (byte & 128u) << 8, v16us);
  uint32_t power = (uint32_t)(127 + 8 + 1 - width) << 23;
  float factor;
  __builtin_memcpy(&factor, &power, 4);
  return vfromhalf(&half) * factor * vload(panel);
}

/* Bytes of a group's codes, and offset of those of group `group`. */
QK_INLINE int64_t qkMixedBytes(int64_t width) { return width * 64; }
QK_INLINE int64_t qkMixedCodesAt(const QkPanels *p, const uint8_t *panel, int64_t group) {
  int64_t widths = 0;
  for (int64_t g = 0; g < group; ++g)
    widths += qkMixedWidth(panel, g);
  return p->codesAt + qkMixedBytes(widths);
}

/* Runs `call` with ELEMENT a constant: the element of a group of `width` bits. */
#define QK_MIXED_SWITCH(width, call)                                                               \
  switch (width) {                                                                                 \
  case 2: {                                                                                        \
    enum { ELEMENT = QK_U2 };                                                                      \
    call;                                                                                          \
    break;                                                                                         \
  }                                                                                                \
  case 3: {                                                                                        \
    enum { ELEMENT = QK_U3 };                                                                      \
    call;                                                                                          \
    break;                                                                                         \
  }                                                                                                \
  case 4: {                                                                                        \
    enum { ELEMENT = QK_U4 };                                                                      \
    call;                                                                                          \
    break;                                                                                         \
  }                                                                                                \
  case 5: {                                                                                        \
    enum { ELEMENT = QK_U5 };                                                                      \
    call;                                                                                          \
    break;                                                                                         \
  }                                                                                                \
  case 6: {                                                                                        \
    enum { ELEMENT = QK_U6 };                                                                      \
    call;                                                                                          \
    break;                                                                                         \
  }                                                                                                \
  default: {                                                                                       \
    enum { ELEMENT = QK_U8 };                                                                      \
    call;                                                                                          \
    break;                                                                                         \
  }                                                                                                \
  }

/* Columns of a group of `element` to out[32][stride], scaled. */
QK_INLINE void qkMixedDecode(const QkPanels *p, int64_t element, const uint8_t *codes, v16f scale,
                             float *out, int64_t stride) {
  QkPanels group = qkMixedGroup(p, element);
  QkTable table = qkTable(&group, 0);
  QK_NOUNROLL for (int64_t k = 0; k < QkMixedColumns; k += group.chunkColumns) {
    QkChunk chunk = qkChunk(&group, codes, k, 0);
    QK_UNROLL for (int64_t j = 0; j < group.chunkColumns; ++j)
        vstore(out + (k + j) * stride, qkColumn(&group, &chunk, j, table) * scale);
  }
}

#endif /* QPLAN_KERNELS_MIXED_H */
