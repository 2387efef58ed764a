/*===- trellis_q8.h - tcq panels times many rows of int8 ------------------===//
 *
 * Private to linear_q8.c. The numbers of tcq rows have 10 bits: a stretch of columns of
 * two panels is written to L1 as pairs of 16 bits, and used by all rows, a register tile
 * of them at a time, whose activations are widened to 16 bits before. Sums stay whole
 * numbers to the end of a unit, so that outputs are those of q8Tile.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_KERNELS_TRELLIS_Q8_H
#define QPLAN_KERNELS_TRELLIS_Q8_H

enum {
  TrellisTile = QK_TILE(12, 2),
  TrellisStretch = 128, /* columns: 8 KiB of numbers; no more than a group of activations */
  TrellisRows = 96
};

/* Columns [k, k + columns) of two panels: pairs[column / 2][panel][16], 0 past the end. */
QK_INLINE void trellisPairs(const Q8 *q, const uint8_t *const panels[2], int64_t k, int64_t columns,
                            v32s *pairs) {
  QkTrellis trellis = qkTrellis(q->w.K, q->w.offset);
  QK_NOUNROLL for (int64_t c = 0; c < columns; c += 2) QK_UNROLL for (int p = 0; p < 2; ++p) {
    v16u even = (v16u)qkTrellisColumn(&trellis, panels[p], k + c), odd = (v16u)0u;
    if (c + 1 < columns)
      odd = (v16u)qkTrellisColumn(&trellis, panels[p], k + c + 1);
    pairs[c + p] = (v32s)((even & 0xffffu) | (odd << 16));
  }
}

/* What a block of rows has summed: whole numbers of the unit, and the units before it. */
typedef struct {
  v16i whole[TrellisRows][2];
  v16f sum[TrellisRows][2];
} TrellisSums;

/* Columns [k, k + columns) of unit u, which may begin or end there, for `tile` rows from row
 * `first` on, row `at` of the block. */
QK_INLINE void trellisBlockTile(const Q8 *q, const v32s *pairs, const Q8Input *x, int64_t first,
                                int64_t k, int64_t columns, int64_t u, int begins, int ends,
                                int tile, TrellisSums *sums, int64_t at) {
  int16_t wide[TrellisTile][TrellisStretch] __attribute__((aligned(64)));
  v16i acc[TrellisTile][2];
  Q8Row rows[TrellisTile];
  QK_UNROLL for (int t = 0; t < tile; ++t) {
    rows[t] = q8Row(q, x, x->in ? x->in[first + t] : first + t, 0);
    /* Rows are padded with zeros to 64 columns. */
    QK_NOUNROLL for (int64_t c = 0; c < columns; c += 16) {
      v16c codes;
      __builtin_memcpy(&codes, rows[t].codes + k + c, 16);
      v16s widened = __builtin_convertvector(codes, v16s);
      __builtin_memcpy(&wide[t][c], &widened, 32);
    }
    QK_UNROLL for (int p = 0; p < 2; ++p) acc[t][p] = begins ? (v16i)0 : sums->whole[at + t][p];
  }
  QK_NOUNROLL for (int64_t c = 0; c < columns; c += 2) QK_UNROLL for (int t = 0; t < tile; ++t) {
    int32_t a;
    __builtin_memcpy(&a, &wide[t][c], 4);
    acc[t][0] = dot2(acc[t][0], pairs[c], a);
    acc[t][1] = dot2(acc[t][1], pairs[c + 1], a);
  }
  QK_UNROLL for (int t = 0; t < tile; ++t) QK_UNROLL for (int p = 0; p < 2; ++p) {
    if (ends)
      sums->sum[at + t][p] += vtofloat(acc[t][p]) * rows[t].scales[u];
    else
      sums->whole[at + t][p] = acc[t][p];
  }
}

/* Two panels for rows [firstRow, lastRow). */
QK_INLINE void trellisBlock(const Q8 *q, const Q8Panels *p, const Q8Input *x, const QkSink *sink,
                            int64_t firstRow, int64_t lastRow) {
  v32s pairs[TrellisStretch];
  TrellisSums sums;
  QK_NOUNROLL for (int64_t begin = firstRow; begin < lastRow; begin += TrellisRows) {
    int64_t end = qkMin(begin + TrellisRows, lastRow);
    __builtin_memset(sums.sum, 0, sizeof sums.sum);
    QK_NOUNROLL for (int64_t k = 0; k < q->w.K;) {
      int64_t u = k / q->unit, stop = qkMin((u + 1) * q->unit, q->w.K), row = begin;
      int64_t columns = qkMin(TrellisStretch, stop - k);
      int begins = k == u * q->unit, ends = k + columns == stop;
      trellisPairs(q, p->codes, k, columns, pairs);
      QK_NOUNROLL for (; row + TrellisTile <= end; row += TrellisTile)
          trellisBlockTile(q, pairs, x, row, k, columns, u, begins, ends, TrellisTile, &sums,
                           row - begin);
      QK_NOUNROLL for (; row < end; ++row)
          trellisBlockTile(q, pairs, x, row, k, columns, u, begins, ends, 1, &sums, row - begin);
      k += columns;
    }
    QK_NOUNROLL for (int64_t row = begin; row < end; ++row) {
      int64_t slot = x->in ? x->in[row] : row;
      QK_UNROLL for (int i = 0; i < 1 + p->both; ++i)
          qkSink(sink, slot, p->panel + i,
                 sums.sum[row - begin][i] * qkTrellisScale(p->scales[i]));
    }
  }
}

#endif /* QPLAN_KERNELS_TRELLIS_Q8_H */
