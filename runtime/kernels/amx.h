/*===- amx.h - int8 products in tile registers ----------------------------===//
 *
 * The part of linear_q8.c for 16 rows and more where the processor has AMX: a step
 * of a panel is one row of a right-hand tile as it lies in memory, 16 rows of
 * activations are a left-hand tile. The integer sums of a few units are stored, then
 * scaled and added in f32 in the order of q8Tile, so that both give the same bits.
 *
 * 32 rows times two panels are four independent sums, which hides the latency of a
 * tile product. Rows that are not neighbours, and the last few, are copied together.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_KERNELS_AMX_H
#define QPLAN_KERNELS_AMX_H

enum {
  AmxRows = 16,       /* of a tile */
  AmxMostRows = 32,   /* that amxRows takes */
  AmxTileSums = 256,  /* 16 rows of 16 outputs */
  AmxTiles = 4,       /* of sums: rows 0..15 with both panels, then rows 16..31 */
  AmxUnits = 4,       /* stored between two rounds of scaling: 16 KiB */
  AmxMostUnits = 1024 /* with more, `starts` of AmxMostRows are too many for the stack */
};

/* Columns of one tile product: 64, 32, or 0 where units are no multiple of either. */
QK_INLINE int64_t amxColumns(const Q8 *q) {
  if (q->unit % 64 == 0 && q->w.K % 64 == 0)
    return 64;
  return q->unit % 32 == 0 && q->w.K % 32 == 0 ? 32 : 0;
}

/* Tiles 0..3 are sums, 4 and 5 activations, 6 and 7 weights. */
QK_INLINE void amxBegin(const Q8 *q) {
  struct {
    uint8_t palette, startRow, reserved[14];
    uint16_t rowBytes[16];
    uint8_t rows[16];
  } config = {.palette = 1};
  int64_t columns = amxColumns(q);
  if (!columns)
    return;
  for (int tile = 0; tile < 8; ++tile) {
    int isActivations = tile == 4 || tile == 5, isWeights = tile > 5;
    config.rowBytes[tile] = (uint16_t)(isActivations ? columns : 64);
    config.rows[tile] = (uint8_t)(isWeights ? columns / 4 : AmxRows);
  }
  _tile_loadconfig(&config);
}

/* Tile registers in their first state cost nothing when threads are switched. */
QK_INLINE void amxEnd(const Q8 *q) {
  if (amxColumns(q))
    _tile_release();
}

/* The codes of a tile of weights: where they lie, or narrower codes unpacked to `room`. */
QK_INLINE const uint8_t *amxWeights(const Q8 *q, const uint8_t *codes, int64_t column,
                                    int64_t columns, uint8_t *room) {
  if (q->w.bits == 8 && !q->w.sparse)
    return codes + column / q->w.stepColumns * 64;
  unpackColumns(q, codes, column, columns, room);
  return room;
}

/* The sums of unit u for mt * 16 rows and two panels: sums[tile][row][output]. */
QK_INLINE void amxUnit(const Q8 *q, const uint8_t *const codes[2], const Q8Row *rows, int64_t u,
                       int mt, int gather, int32_t *sums) {
  uint8_t unpacked[2][1024] __attribute__((aligned(64)));
  int8_t gathered[1024] __attribute__((aligned(64)));
  int64_t columns = amxColumns(q), first = u * q->unit, end = qkMin(first + q->unit, q->w.K);
  _tile_zero(0);
  _tile_zero(1);
  if (mt == 2) {
    _tile_zero(2);
    _tile_zero(3);
  }
  QK_NOUNROLL for (int64_t column = first; column < end; column += columns) {
    const int8_t *activations = rows[0].codes + column;
    int64_t stride = q->Kp;
    if (gather) {
      QK_UNROLL for (int t = 0; t < AmxRows; ++t)
          __builtin_memcpy(gathered + t * 64, rows[t].codes + column, columns == 64 ? 64 : 32);
      activations = gathered;
      stride = 64;
    }
    _tile_loadd(6, amxWeights(q, codes[0], column, columns, unpacked[0]), 64);
    _tile_loadd(7, amxWeights(q, codes[1], column, columns, unpacked[1]), 64);
    _tile_loadd(4, activations, stride);
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    if (mt == 2) {
      _tile_loadd(5, activations + AmxRows * q->Kp, q->Kp);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
    }
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + AmxTileSums, 64);
  if (mt == 2) {
    _tile_stored(2, sums + 2 * AmxTileSums, 64);
    _tile_stored(3, sums + 3 * AmxTileSums, 64);
  }
}

/* Row t of a tile: neighbours are found from the first, without a load. */
QK_INLINE Q8Row amxRow(const Q8 *q, const Q8Row *rows, int t, int gather) {
  Q8Row r = rows[gather ? t : 0];
  if (!gather) {
    r.scales += t * q->actGroups;
    r.sums += t * q->sumGroups;
    r.starts += t * q->units;
  }
  return r;
}

/* Adds units [begin, end) of `strip` rows and one panel to totals[row][output], and to
 * parts[row][output] what belongs to a group that is not at its end. */
QK_INLINE void amxScale(const Q8 *q, const uint8_t *panel, const Q8Row *rows, int64_t begin,
                        int64_t end, const int32_t *sums, float *totals, float *parts, int strip,
                        int gather) {
  int64_t inside = q8Inside(q);
  Q8Row row[AmxRows];
  v16f total[AmxRows], part[AmxRows];
  QK_UNROLL for (int t = 0; t < strip; ++t) {
    row[t] = amxRow(q, rows, t, gather);
    total[t] = begin == 0 ? (v16f)0.0f : vload(totals + t * 16);
    part[t] = begin % inside == 0 ? (v16f)0.0f : vload(parts + t * 16);
  }
  QK_NOUNROLL for (int64_t u = begin; u < end; ++u) {
    const int32_t *at = sums + (u - begin) * AmxTiles * AmxTileSums;
    int64_t outer = u / inside;
    Q8Scales scales = q8ScalesOf(q, panel, u, outer);
    QK_UNROLL for (int t = 0; t < strip; ++t)
        q8Add(q, &row[t], u, outer, scales, (v16i)vloadu(at + t * 16) + row[t].starts[u], &total[t],
              &part[t]);
    if (inside == 1 || ((u + 1) % inside != 0 && u + 1 < q->units))
      continue;
    v16f scale = q8CoarseWeights(q) ? q8Scale(q, panel, outer) : (v16f)1.0f;
    QK_UNROLL for (int t = 0; t < strip; ++t) {
      total[t] = q8AddGroup(q, &row[t], outer, scale, part[t], total[t]);
      part[t] = (v16f)0.0f;
    }
  }
  QK_UNROLL for (int t = 0; t < strip; ++t) {
    vstore(totals + t * 16, total[t]);
    if (inside != 1)
      vstore(parts + t * 16, part[t]);
  }
}

/* One tile of sums. With parts, half of it at a time fits the registers. */
QK_INLINE void amxScaleTile(const Q8 *q, const uint8_t *panel, const Q8Row *rows, int64_t begin,
                            int64_t end, const int32_t *sums, float *totals, float *parts,
                            int gather) {
  if (q8Inside(q) == 1) {
    amxScale(q, panel, rows, begin, end, sums, totals, parts, AmxRows, gather);
    return;
  }
  QK_NOUNROLL for (int t = 0; t < AmxRows; t += AmxRows / 2)
      amxScale(q, panel, rows + t, begin, end, sums + t * 16, totals + t * 16, parts + t * 16,
               AmxRows / 2, gather);
}

/* `count` rows from `first` on, of mt * 16 that are computed: where fewer are left, the
 * last one stands in for the others. */
QK_INLINE void amxTile(const Q8 *q, const Q8Panels *p, const Q8Input *x, const QkSink *sink,
                       int64_t first, int64_t count, const int32_t *starts, int mt, int gather) {
  int32_t sums[AmxUnits * AmxTiles * AmxTileSums] __attribute__((aligned(64)));
  float totals[AmxTiles][AmxTileSums] __attribute__((aligned(64)));
  float parts[AmxTiles][AmxTileSums] __attribute__((aligned(64)));
  Q8Row rows[2 * AmxRows];
  int64_t slots[2 * AmxRows];
  QK_UNROLL for (int t = 0; t < mt * AmxRows; ++t) {
    int64_t row = gather ? qkMin(t, count - 1) : t;
    slots[t] = gather && x->in ? x->in[first + row] : first + row;
    rows[t] = q8Row(q, x, slots[t], starts + row * q->units);
  }
  QK_NOUNROLL for (int64_t begin = 0; begin < q->units; begin += AmxUnits) {
    int64_t end = qkMin(begin + AmxUnits, q->units);
    QK_NOUNROLL for (int64_t u = begin; u < end; ++u)
        amxUnit(q, p->codes, rows, u, mt, gather, sums + (u - begin) * AmxTiles * AmxTileSums);
    /* Not unrolled: the totals of one tile fill the registers. */
    QK_NOUNROLL for (int tile = 0; tile < mt * 2; ++tile)
        amxScaleTile(q, p->scales[tile & 1], rows + (tile >> 1) * AmxRows, begin, end,
                     sums + tile * AmxTileSums, totals[tile], parts[tile], gather);
  }
  QK_NOUNROLL for (int64_t t = 0; t < count; ++t) {
    const float *at = totals[t / AmxRows * 2] + t % AmxRows * 16;
    qkSink(sink, slots[t], p->panel, vload(at));
    if (p->both)
      qkSink(sink, slots[t], p->panel + 1, vload(at + AmxTileSums));
  }
}

/* As many rows from `first` on as fit the tiles; returns how many. */
QK_INLINE int64_t amxRows(const Q8 *q, const Q8Panels *p, const Q8Input *x, const QkSink *sink,
                          int64_t first, int64_t last, const int32_t *starts) {
  if (!x->in && last - first >= 2 * AmxRows) {
    amxTile(q, p, x, sink, first, 2 * AmxRows, starts, 2, 0);
    return 2 * AmxRows;
  }
  int64_t count = qkMin(last - first, AmxRows);
  amxTile(q, p, x, sink, first, count, starts, 1, 1);
  return count;
}

#endif /* QPLAN_KERNELS_AMX_H */
