/*===- trellis.h - reading panels of tcq rows -----------------------------===//
 *
 * A row is a string of bits, its 16 bits of scale first; word t of 16 rows is one
 * vector. A column's state is the 16 bits that end with its own; how a state becomes a
 * value is stated in ir/codecs/Trellis.h, and every step of it is exact or fused there
 * as here. Columns can be read in any order.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_KERNELS_TRELLIS_H
#define QPLAN_KERNELS_TRELLIS_H

#include "simd.h"

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

QK_INLINE v16f qkTrellisScale(const uint8_t *panel) {
  v16us scale = __builtin_convertvector(vloadu(panel) >> 16, v16us);
  return vfromhalf(&scale);
}

/* Where the state of a column lies: from bit `left` of `word` on. */
typedef struct {
  int64_t word;
  uint32_t left, right;
} QkTrellisPlace;

QK_INLINE QkTrellisPlace qkTrellisPlace(const QkTrellis *t, int64_t k) {
  int64_t first = (k + 1) * t->step >> 16, left = first & 31;
  QkTrellisPlace place = {first >> 5, (uint32_t)left, (uint32_t)qkMin(32 - left, 31)};
  return place;
}

/* Columns whose state does not lie in the last word: the word after theirs exists. */
QK_INLINE int64_t qkTrellisInner(const QkTrellis *t) {
  return qkMax(((t->last * 32 << 16) - 1) / t->step, 0);
}

/* The values of 16 rows before the scale, from the word at `place` and the one after it. */
QK_INLINE v16f qkTrellisValue(v16u word, v16u next, QkTrellisPlace place) {
  /* The state is the upper half; where it lies in one word, the other's bits stay below it.
   * The factors drop what is below, and bits of the product beyond 16. */
  v16u window = (word << place.left) | (next >> place.right);
  v32us factors = (v32us)((v16u)(40503u << 16));
  v16f f = vtofloat((v16i)((v32us)window * factors));
  v16f l = vtofloat((v16i)((v16u)f << 4));
  v16f p = vfma((v16f)-0x1.f68bf2p-91f, l, (v16f)-0x1.048064p-58f);
  p = vfma(p, l, (v16f)-0x1.c442dap-28f);
  p = vfma(p, l, (v16f)-0x1.870fd8p+0f);
  return (v16f)((v16u)p ^ ((v16u)f & 0x80000000u));
}

/* Column k. */
QK_INLINE v16f qkTrellisColumn(const QkTrellis *t, const uint8_t *panel, int64_t k) {
  QkTrellisPlace place = qkTrellisPlace(t, k);
  const uint8_t *at = panel + place.word * 64;
  return qkTrellisValue(vloadu(at), vloadu(panel + qkMin(place.word + 1, t->last) * 64), place);
}

#endif /* QPLAN_KERNELS_TRELLIS_H */
