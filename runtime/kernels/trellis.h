/*===- trellis.h - reading panels of tcq rows -----------------------------===//
 *
 * A row is a string of bits, its 16 bits of scale first; word t of 16 rows is one
 * vector. A column's state is the 16 bits that end with its own; how a state becomes a
 * whole number is stated in ir/codecs/Trellis.h: its four bytes are summed by the dot
 * product of integers, with activations of 8 bits or with ones. Columns can be read in
 * any order.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_KERNELS_TRELLIS_H
#define QPLAN_KERNELS_TRELLIS_H

#include "simd.h"

/* As in ir/codecs/Trellis.h. */
#define QK_TRELLIS_FACTOR 2178900867u

typedef struct {
  int64_t step; /* bits of a column, times 2^16 */
  int64_t last; /* the last word of a row */
} QkTrellis;

/* Rows of K columns in centiBits / 100 bits a column, scale included. */
QK_INLINE QkTrellis qkTrellis(int64_t K, int64_t centiBits) {
  int64_t bytes = K * centiBits / 800;
  QkTrellis t = {(8 * bytes - 16) * 65536 / K, (bytes + 3) / 4 - 1};
  return t;
}

QK_INLINE int64_t qkTrellisPanelBytes(int64_t K, int64_t centiBits) {
  return (qkTrellis(K, centiBits).last + 1) * 64;
}

/* What 1 in the whole numbers of the rows stands for. */
QK_INLINE v16f qkTrellisScale(const uint8_t *panel) {
  v16us scale = __builtin_convertvector(vloadu(panel) >> 16, v16us);
  return vfromhalf(&scale) * 0x1p-7f;
}

/* Where the state of a column lies: from bit `left` of `word` on. */
typedef struct {
  int64_t word;
  uint32_t left;
} QkTrellisPlace;

QK_INLINE QkTrellisPlace qkTrellisPlace(const QkTrellis *t, int64_t k) {
  int64_t first = (k + 1) * t->step >> 16;
  QkTrellisPlace place = {first >> 5, (uint32_t)(first & 31)};
  return place;
}

/* Columns whose state does not lie in the last word: the word after theirs exists. */
QK_INLINE int64_t qkTrellisInner(const QkTrellis *t) {
  return qkMax(((t->last * 32 << 16) - 1) / t->step, 0);
}

/* What the sum of four bytes is more than the number, and what dot4 with ones starts at. */
enum { QkTrellisMiddle = 510, QkTrellisStart = 4 * QK_CODE_BIAS - QkTrellisMiddle };

/* The four bytes of 16 rows, from the word at `place` and the one after it. */
QK_INLINE v64b qkTrellisBytes(v16u word, v16u next, QkTrellisPlace place) {
#if defined(__AVX512F__)
  v16u window = __builtin_elementwise_fshl(word, next, (v16u)place.left);
#else
  /* Where the state lies in one word, a bit of the other stays below it. */
  v16u window = (word << place.left) | (next >> (uint32_t)qkMin(32 - place.left, 31));
#endif
  return (v64b)((window >> 16) * QK_TRELLIS_FACTOR);
}

/* The whole numbers of 16 rows. */
QK_INLINE v16i qkTrellisNumbers(v16u word, v16u next, QkTrellisPlace place) {
  return dotSame((v16i)QkTrellisStart, qkTrellisBytes(word, next, place), 1);
}

/* Column k, and the number of its state. */
QK_INLINE v64b qkTrellisBytesAt(const QkTrellis *t, const uint8_t *panel, int64_t k) {
  QkTrellisPlace place = qkTrellisPlace(t, k);
  const uint8_t *at = panel + place.word * 64;
  return qkTrellisBytes(vloadu(at), vloadu(panel + qkMin(place.word + 1, t->last) * 64), place);
}
QK_INLINE v16i qkTrellisColumn(const QkTrellis *t, const uint8_t *panel, int64_t k) {
  return dotSame((v16i)QkTrellisStart, qkTrellisBytesAt(t, panel, k), 1);
}

#endif /* QPLAN_KERNELS_TRELLIS_H */
