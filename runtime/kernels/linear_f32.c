/*===- linear_f32.c - f32 activations times weights of any element --------===//
 *
 * Few rows: weights are decoded in registers and multiplied at once, two panels
 * (32 outputs) at a time; for a single row one panel at a time, so that memory is
 * read as one sequential stream. A group's sum is scaled when the group ends.
 *
 * Many rows: a block of columns of two panels is decoded to f32 in L1 and used by
 * a block of rows, a register tile at a time; the sums of a block of rows wait in L1 while
 * the columns pass. Decoding then costs a few percent.
 *===----------------------------------------------------------------------===*/
#include "mixed.h"

enum {
  DirectRows = 8, /* from so many rows on, weights are decoded to L1 first */
  DirectTile = 4,
  Ahead = 4096, /* bytes between what is read and what is prefetched */
  /* 24 sums, 2 weights, 1 activation: 27 registers of 32; or 4 sums of 8. */
  BlockTile = QK_TILE(12, 2),
  RestTile = QK_TILE(4, 1),
  BlockRows = 96,    /* sums: 12 KiB */
  BlockColumns = 128 /* weights: 16 KiB */
};

/* Row i of the product reads activation row in[i] / inDivisor and writes row in[i]
 * (i where `in` is null). */
typedef struct {
  const float *x;
  int64_t ld;
  const int32_t *in;
  int64_t inDivisor;
} F32Input;

QK_INLINE int64_t slotOf(const F32Input *x, int64_t row) { return x->in ? x->in[row] : row; }
QK_INLINE const float *rowOf(const F32Input *x, int64_t row) {
  return x->x + slotOf(x, row) / x->inDivisor * x->ld;
}

/*===- Few rows ------------------------------------------------------------===*/

/* The sums of one row and panel: several, so that the latency of the multiply-add
 * is hidden where there are few rows. */
QK_INLINE int chainsOf(int tile) { return tile == 1 ? 8 : tile == 2 ? 4 : 1; }

/* The chunk of columns from k on. */
QK_INLINE void directChunk(const QkPanels *w, const uint8_t *const codes[2], int64_t k,
                           const float *const *x, int tile, int np, int firstChain,
                           const QkTable table[2], const v16f scale[2], const v16f min[2],
                           v16f sum[DirectTile][2][8]) {
  QkChunk chunk[2];
  QK_UNROLL for (int p = 0; p < np; ++p) chunk[p] =
      qkChunk(w, codes[p], k, np == 1 ? Ahead : 2 * w->panelBytes);
  QK_UNROLL for (int j = 0; j < w->chunkColumns; ++j) {
    int chain = (firstChain + j) & (chainsOf(tile) - 1);
    v16f value[2];
    QK_UNROLL for (int p = 0; p < np; ++p) {
      value[p] = qkColumn(w, &chunk[p], j, table[p]);
      if (w->hasMin)
        value[p] = vfma(value[p], scale[p], min[p]);
    }
    QK_UNROLL for (int t = 0; t < tile; ++t) QK_UNROLL for (int p = 0; p < np; ++p)
        sum[t][p][chain] = vfma(value[p], (v16f)x[t][k + j], sum[t][p][chain]);
  }
}

/* The sum of a group's columns [first, first + columns) before its scale. Chunks go
 * in runs of eight columns, so that each column of a run has a chain of its own. */
QK_INLINE void directGroup(const QkPanels *w, const uint8_t *const codes[2], int64_t first,
                           int64_t columns, const float *const *x, int tile, int np,
                           const QkTable table[2], const v16f scale[2], const v16f min[2],
                           v16f sum[DirectTile][2][8]) {
  int64_t wide = w->chunkColumns, run = qkMax(8, wide), end = first + columns, k = first;
  QK_NOUNROLL for (; k + run <= end; k += run) QK_UNROLL for (int64_t s = 0; s < run; s += wide)
      directChunk(w, codes, k + s, x, tile, np, (int)s, table, scale, min, sum);
  QK_NOUNROLL for (; k + wide <= end; k += wide)
      directChunk(w, codes, k, x, tile, np, 0, table, scale, min, sum);
  /* The last columns of a K that is no multiple of the chunk, one at a time. */
  QK_NOUNROLL for (; k < end; ++k) QK_UNROLL for (int p = 0; p < np; ++p) {
    v16f value = qkColumnAt(w, codes[p], k, table[p]);
    if (w->hasMin)
      value = vfma(value, scale[p], min[p]);
    QK_UNROLL for (int t = 0; t < tile; ++t) sum[t][p][0] =
        vfma(value, (v16f)x[t][k], sum[t][p][0]);
  }
}

/* The same for tcq rows: eight columns at a time, each with a chain of its own. */
QK_INLINE void trellisTile(const QkPanels *w, const uint8_t *const panels[2], const float *const *x,
                           int tile, int np, v16f total[DirectTile][2]) {
  QkTrellis trellis = qkTrellis(w->K, w->offset);
  v16f sum[DirectTile][2][8];
  QK_UNROLL for (int t = 0; t < tile; ++t) QK_UNROLL for (int p = 0; p < np; ++p)
      QK_UNROLL for (int c = 0; c < chainsOf(tile); ++c) sum[t][p][c] = (v16f)0.0f;
  int64_t k = 0, inner = qkMin(qkTrellisInner(&trellis), w->K);
  QK_NOUNROLL for (; k + 8 <= inner; k += 8) {
    int64_t ahead = qkTrellisPlace(&trellis, k).word * 64 + Ahead;
    QK_UNROLL for (int p = 0; p < np; ++p) {
      __builtin_prefetch(panels[p] + ahead);
      __builtin_prefetch(panels[p] + ahead + 64);
    }
    QK_UNROLL for (int j = 0; j < 8; ++j) {
      QkTrellisPlace place = qkTrellisPlace(&trellis, k + j);
      int chain = j & (chainsOf(tile) - 1);
      QK_UNROLL for (int p = 0; p < np; ++p) {
        const uint8_t *at = panels[p] + place.word * 64;
        v16f value = vtofloat(qkTrellisNumbers(vloadu(at), vloadu(at + 64), place));
        QK_UNROLL for (int t = 0; t < tile; ++t) sum[t][p][chain] =
            vfma(value, (v16f)x[t][k + j], sum[t][p][chain]);
      }
    }
  }
  QK_NOUNROLL for (; k < w->K; ++k) QK_UNROLL for (int p = 0; p < np; ++p) {
    v16f value = vtofloat(qkTrellisColumn(&trellis, panels[p], k));
    QK_UNROLL for (int t = 0; t < tile; ++t) sum[t][p][0] =
        vfma(value, (v16f)x[t][k], sum[t][p][0]);
  }
  QK_UNROLL for (int t = 0; t < tile; ++t) QK_UNROLL for (int p = 0; p < np; ++p) {
    QK_UNROLL for (int half = chainsOf(tile) / 2; half > 0; half /= 2)
        QK_UNROLL for (int c = 0; c < half; ++c) sum[t][p][c] += sum[t][p][c + half];
    total[t][p] = sum[t][p][0] * qkTrellisScale(panels[p]);
  }
}

/* The sum of one group of mixed widths before its scale. */
QK_INLINE void mixedGroup(const QkPanels *w, int64_t element, const uint8_t *const codes[2],
                          const float *const *x, int64_t k, int tile, int np,
                          v16f sum[DirectTile][2][8]) {
  QkPanels group = qkMixedGroup(w, element);
  const float *rows[DirectTile];
  v16f one[2] = {(v16f)1.0f, (v16f)1.0f};
  QkTable table[2] = {qkTable(&group, 0), qkTable(&group, 0)};
  QK_UNROLL for (int t = 0; t < tile; ++t) rows[t] = x[t] + k;
  directGroup(&group, codes, 0, QkMixedColumns, rows, tile, np, table, one, one, sum);
}

/* The same for rows of mixed widths, which two panels of a pair need not share. */
QK_INLINE void mixedTile(const QkPanels *w, const uint8_t *panel, const float *const *x, int tile,
                         int p, v16f total[DirectTile][2]) {
  const uint8_t *codes[2] = {panel + w->codesAt, 0};
  QK_NOUNROLL for (int64_t g = 0; g < w->K / QkMixedColumns; ++g) {
    int64_t width = qkMixedWidth(panel, g);
    v16f scale = qkMixedScale(w, panel, g, width), sum[DirectTile][2][8];
    QK_UNROLL for (int t = 0; t < tile; ++t) QK_UNROLL for (int c = 0; c < chainsOf(tile); ++c)
        sum[t][0][c] = (v16f)0.0f;
    QK_MIXED_SWITCH(width, mixedGroup(w, ELEMENT, codes, x, g * QkMixedColumns, tile, 1, sum))
    codes[0] += qkMixedBytes(width);
    QK_UNROLL for (int t = 0; t < tile; ++t) {
      QK_UNROLL for (int half = chainsOf(tile) / 2; half > 0; half /= 2)
          QK_UNROLL for (int c = 0; c < half; ++c) sum[t][0][c] += sum[t][0][c + half];
      total[t][p] = vfma(sum[t][0][0], scale, total[t][p]);
    }
  }
}

QK_INLINE void directTile(const QkPanels *w, const uint8_t *const panels[2], const float *const *x,
                          int tile, int np, v16f total[DirectTile][2]) {
  if (w->element == QK_TRELLIS) {
    trellisTile(w, panels, x, tile, np, total);
    return;
  }
  if (w->element == QK_MIXED) {
    QK_UNROLL for (int t = 0; t < tile; ++t) total[t][0] = total[t][1] = (v16f)0.0f;
    QK_NOUNROLL for (int p = 0; p < np; ++p) mixedTile(w, panels[p], x, tile, p, total);
    return;
  }
  const uint8_t *codes[2] = {panels[0] + w->codesAt, panels[1] + w->codesAt};
  QkTable table[2] = {qkTable(w, panels[0]), qkTable(w, panels[1])};
  QK_UNROLL for (int t = 0; t < tile; ++t) total[t][0] = total[t][1] = (v16f)0.0f;
  int64_t groups = qkCeilDiv(w->K, w->group);
  QK_NOUNROLL for (int64_t g = 0; g < groups; ++g) {
    int64_t first = g * w->group;
    int64_t columns = w->K % w->group == 0 ? w->group : qkMin(w->group, w->K - first);
    v16f scale[2], min[2], sum[DirectTile][2][8];
    QK_UNROLL for (int p = 0; p < np; ++p) {
      if (w->scale != QK_SCALE_NONE)
        __builtin_prefetch(panels[p] + g * w->scaleBytes + (np == 1 ? Ahead : 2 * w->panelBytes));
      scale[p] = qkScale(w, panels[p], g);
      min[p] = w->hasMin ? qkMinOf(w, panels[p], g) : (v16f)0.0f;
      QK_UNROLL for (int t = 0; t < tile; ++t) QK_UNROLL for (int c = 0; c < chainsOf(tile); ++c)
          sum[t][p][c] = (v16f)0.0f;
    }
    directGroup(w, codes, first, columns, x, tile, np, table, scale, min, sum);
    QK_UNROLL for (int t = 0; t < tile; ++t) QK_UNROLL for (int p = 0; p < np; ++p) {
      QK_UNROLL for (int half = chainsOf(tile) / 2; half > 0; half /= 2)
          QK_UNROLL for (int c = 0; c < half; ++c) sum[t][p][c] += sum[t][p][c + half];
      if (w->hasMin || w->scale == QK_SCALE_NONE)
        total[t][p] += sum[t][p][0];
      else
        total[t][p] = vfma(sum[t][p][0], scale[p], total[t][p]);
    }
  }
}

QK_INLINE void directRows(const QkPanels *w, const uint8_t *matrix, const F32Input *x,
                          const QkSink *sink, int64_t panel, int64_t first, int tile, int np) {
  const uint8_t *panels[2];
  panels[0] = matrix + panel * w->panelBytes;
  /* A last single panel is computed twice and stored once. */
  int both = np == 2 && (w->panels % 2 == 0 || panel + 1 < w->panels);
  panels[1] = both ? panels[0] + w->panelBytes : panels[0];
  const float *rows[DirectTile];
  v16f total[DirectTile][2];
  QK_UNROLL for (int t = 0; t < tile; ++t) rows[t] = rowOf(x, first + t);
  directTile(w, panels, rows, tile, np, total);
  QK_UNROLL for (int t = 0; t < tile; ++t) {
    qkSink(sink, slotOf(x, first + t), panel, total[t][0]);
    if (both)
      qkSink(sink, slotOf(x, first + t), panel + 1, total[t][1]);
  }
}

/*===- Many rows -----------------------------------------------------------===*/

/* Columns [begin, end) of two panels as f32: block[k - begin][panel][16]. `begin`
 * is the start of a chunk. */
QK_INLINE void decodeBlock(const QkPanels *w, const uint8_t *const panels[2], int64_t begin,
                           int64_t end, float *block) {
  QK_UNROLL for (int p = 0; p < 2; ++p) {
    QkTable table = qkTable(w, panels[p]);
    if (w->element == QK_TRELLIS) {
      QkTrellis trellis = qkTrellis(w->K, w->offset);
      v16f scale = qkTrellisScale(panels[p]);
      QK_NOUNROLL for (int64_t k = begin; k < end; ++k)
          vstore(block + ((k - begin) * 2 + p) * 16,
                 vtofloat(qkTrellisColumn(&trellis, panels[p], k)) * scale);
      continue;
    }
    if (w->element == QK_MIXED) {
      const uint8_t *codes = panels[p] + qkMixedCodesAt(w, panels[p], begin / QkMixedColumns);
      QK_NOUNROLL for (int64_t k = begin; k < end; k += QkMixedColumns) {
        int64_t group = k / QkMixedColumns, width = qkMixedWidth(panels[p], group);
        v16f scale = qkMixedScale(w, panels[p], group, width);
        float *to = block + ((k - begin) * 2 + p) * 16;
        QK_MIXED_SWITCH(width, qkMixedDecode(w, ELEMENT, codes, scale, to, 32))
        codes += qkMixedBytes(width);
      }
      continue;
    }
    QK_NOUNROLL for (int64_t k = begin; k < end;) {
      int64_t group = k / w->group, stop = qkMin(end, (group + 1) * w->group);
      v16f scale = qkScale(w, panels[p], group);
      v16f min = w->hasMin ? qkMinOf(w, panels[p], group) : (v16f)0.0f;
      QK_NOUNROLL for (; k < stop; k += w->chunkColumns) {
        QkChunk chunk = qkChunk(w, panels[p] + w->codesAt, k, 0);
        /* The scratch has room for the columns past the end of the last chunk. */
        QK_UNROLL for (int j = 0; j < w->chunkColumns; ++j) {
          v16f value = qkColumn(w, &chunk, j, table);
          if (w->hasMin)
            value = vfma(value, scale, min);
          else if (w->scale != QK_SCALE_NONE)
            value *= scale;
          vstore(block + ((k - begin + j) * 2 + p) * 16, value);
        }
      }
    }
  }
}

/* sums[t] += block * rows for `tile` rows over `columns` columns. */
QK_INLINE void blockTile(const float *block, const F32Input *x, int64_t first, int64_t k,
                         int64_t columns, int tile, float *sums) {
  const float *rows[BlockTile];
  v16f acc[BlockTile][2];
  QK_UNROLL for (int t = 0; t < tile; ++t) {
    rows[t] = rowOf(x, first + t) + k;
    acc[t][0] = vload(sums + t * 32);
    acc[t][1] = vload(sums + t * 32 + 16);
  }
  QK_NOUNROLL for (int64_t c = 0; c < columns; ++c) {
    v16f w0 = vload(block + c * 32), w1 = vload(block + c * 32 + 16);
    QK_UNROLL for (int t = 0; t < tile; ++t) {
      v16f a = (v16f)rows[t][c];
      acc[t][0] = vfma(w0, a, acc[t][0]);
      acc[t][1] = vfma(w1, a, acc[t][1]);
    }
  }
  QK_UNROLL for (int t = 0; t < tile; ++t) {
    vstore(sums + t * 32, acc[t][0]);
    vstore(sums + t * 32 + 16, acc[t][1]);
  }
}

QK_INLINE void blockRows(const QkPanels *w, const uint8_t *matrix, const F32Input *x,
                         const QkSink *sink, int64_t pair, int64_t first, int64_t last) {
  const uint8_t *panels[2];
  panels[0] = matrix + pair * 2 * w->panelBytes;
  int both = w->panels % 2 == 0 || pair * 2 + 1 < w->panels;
  panels[1] = both ? panels[0] + w->panelBytes : panels[0];
  float block[(BlockColumns + QkMostChunk) * 32] __attribute__((aligned(64)));
  float sums[BlockRows * 32] __attribute__((aligned(64)));
  QK_NOUNROLL for (int64_t begin = first; begin < last; begin += BlockRows) {
    int64_t end = qkMin(begin + BlockRows, last);
    __builtin_memset(sums, 0, sizeof sums);
    QK_NOUNROLL for (int64_t k = 0; k < w->K; k += BlockColumns) {
      int64_t columns = qkMin(BlockColumns, w->K - k), row = begin;
      decodeBlock(w, panels, k, k + columns, block);
      QK_NOUNROLL for (; row + BlockTile <= end; row += BlockTile)
          blockTile(block, x, row, k, columns, BlockTile, sums + (row - begin) * 32);
      QK_NOUNROLL for (; row + RestTile <= end; row += RestTile)
          blockTile(block, x, row, k, columns, RestTile, sums + (row - begin) * 32);
      QK_NOUNROLL for (; row < end; ++row)
          blockTile(block, x, row, k, columns, 1, sums + (row - begin) * 32);
    }
    QK_NOUNROLL for (int64_t row = begin; row < end; ++row) {
      const float *sum = sums + (row - begin) * 32;
      qkSink(sink, slotOf(x, row), pair * 2, vload(sum));
      if (both)
        qkSink(sink, slotOf(x, row), pair * 2 + 1, vload(sum + 16));
    }
  }
}

/* Pairs [begin, end) of panels for rows [first, last). */
QK_INLINE void f32Product(const QkPanels *w, const uint8_t *matrix, const F32Input *x,
                          const QkSink *sink, int64_t begin, int64_t end, int64_t first,
                          int64_t last) {
  /* Pairs of panels share the work of finding columns. */
  if (last - first == 1 && w->element != QK_TRELLIS) {
    int64_t stop = qkMin(end * 2, w->panels);
    QK_NOUNROLL for (int64_t panel = begin * 2; panel < stop; ++panel)
        directRows(w, matrix, x, sink, panel, first, 1, 1);
    return;
  }
  QK_NOUNROLL for (int64_t pair = begin; pair < end; ++pair) {
    if (last - first >= DirectRows) {
      blockRows(w, matrix, x, sink, pair, first, last);
      continue;
    }
    int64_t row = first;
    QK_NOUNROLL for (; row + 4 <= last; row += 4)
        directRows(w, matrix, x, sink, pair * 2, row, 4, 2);
    QK_NOUNROLL for (; row + 2 <= last; row += 2)
        directRows(w, matrix, x, sink, pair * 2, row, 2, 2);
    if (row < last)
      directRows(w, matrix, x, sink, pair * 2, row, 1, 2);
  }
}

QK_KERNEL(linear_f32) {
  QkPanels w =
      qkPanels(params[0], params[1], params[2], params[3], params[4], params[5], params[6]);
  int64_t ldo = params[8], outColumn = params[9], rows = qkRows(args, params[13]);
  float *out = params[14] ? args->logits : (float *)buffers[1];
  QkSink sink = {out + outColumn,
                 params[11] ? (const float *)buffers[2] + outColumn : 0,
                 params[10] ? (const float *)weights[1] : 0,
                 ldo,
                 w.N,
                 (float)qkDouble(params[12])};
  F32Input x = {(const float *)buffers[0], params[7], 0, 1};
  QkRange pairs = qkPart(qkCeilDiv(w.panels, 2), index, count);
  f32Product(&w, weights[0], &x, &sink, pairs.begin, pairs.end, 0, rows);
}

QK_TASKS(linear_f32) {
  int64_t rows = qkRows(args, params[13]), work = params[0] * params[1] * rows;
  int64_t parts = rows >= DirectRows ? threads * 4 : threads;
  return qkMax(1, qkMin(qkMin(qkCeilDiv(params[0], 32), parts), work / 65536));
}

/*===- Experts -------------------------------------------------------------===*/

enum { ExpertPairs = 4 };

/* An item is a run of pairs of one expert; items go round the parts. */
QK_KERNEL(linear_f32_experts) {
  QkPanels w =
      qkPanels(params[0], params[1], params[2], params[3], params[4], params[5], params[6]);
  int64_t experts = params[11], topk = params[12], slotInput = params[13];
  const int32_t *offsets = (const int32_t *)buffers[2], *list = (const int32_t *)buffers[3];
  int64_t pairs = qkCeilDiv(w.panels, 2), runs = qkCeilDiv(pairs, ExpertPairs);
  F32Input x = {(const float *)buffers[0], params[7], list, slotInput ? 1 : topk};
  for (int64_t item = index; item < experts * runs; item += count) {
    int64_t expert = item / runs, begin = item % runs * ExpertPairs;
    int64_t number = params[14] ? (int64_t)((const float *)weights[2])[expert] : expert;
    QkSink sink = {(float *)buffers[1] + params[9],
                   0,
                   params[10] ? (const float *)weights[1] + expert * w.N : 0,
                   params[8],
                   w.N,
                   1.0f};
    f32Product(&w, weights[0] + expert * w.panels * w.panelBytes, &x, &sink, begin,
               qkMin(begin + ExpertPairs, pairs), offsets[number], offsets[number + 1]);
  }
}

QK_TASKS(linear_f32_experts) {
  int64_t work = params[0] * params[1] * args->tokens * params[12];
  int64_t items = params[11] * qkCeilDiv(qkCeilDiv(params[0], 32), ExpertPairs);
  return qkMax(1, qkMin(qkMin(items, threads * 4), work / 65536));
}
