/*===- linear_q8.c - int8 activations times integer weights ---------------===//
 *
 * One or two panels (16 outputs each) times a tile of rows are kept in registers.
 * The integer sum of one unit (the smaller of the weight group and the activation
 * group) starts at -offset * sum of activations, so that the zero point costs
 * nothing per element; then it is scaled and added in f32. Where one of the two
 * groups is larger, the inner sum takes only the finer scale and the coarser one
 * is applied when its group ends.
 *
 * Tables of whole numbers (E2M1 in halves, IQ4) are looked up byte by byte and then
 * are codes as any other.
 *
 * Rows of tcq are whole numbers too, but of 10 bits: trellis_q8.h.
 *
 * A single row takes one panel at a time, so that memory is read as one sequential
 * stream, prefetched: decoding runs at memory speed. With more rows the panels
 * stay in L1 while all rows pass.
 *===----------------------------------------------------------------------===*/
#include "panel.h"

typedef struct {
  QkPanels w;
  int64_t Kp, actGroup, unit, units;
  int64_t codeBits;             /* of what is multiplied; w.bits are stored */
  float inUnits;                /* what 1 in these codes stands for */
  int64_t actGroups, sumGroups; /* per row */
} Q8;

QK_INLINE Q8 q8Of(const int64_t *params) {
  Q8 q = {
      .w = qkPanels(params[0], params[1], params[2], params[3], params[4], params[5], params[6])};
  q.Kp = qkAlign64(q.w.K);
  q.codeBits = q.w.bits;
  q.inUnits = 1.0f;
  if (q.w.element == QK_E2M1) {
    q.w.offset = 12;
    q.codeBits = 5;
    q.inUnits = 0.5f;
  } else if (q.w.element == QK_IQ4) {
    q.w.offset = 128;
    q.codeBits = 8;
  }
  q.actGroup = qkMin(params[7], q.w.K);
  q.unit = qkMin(q.actGroup, q.w.group);
  q.units = qkCeilDiv(q.w.K, q.unit);
  q.actGroups = qkCeilDiv(q.w.K, q.actGroup);
  q.sumGroups = qkCeilDiv(q.w.K, qkMin(params[8], q.w.K));
  return q;
}

/* One row of activations. */
typedef struct {
  const int8_t *codes;
  const float *scales;
  const int32_t *sums;
  const int32_t *starts; /* what the integer sum of each unit starts at, or null */
} Q8Row;

enum {
  MaxTile = 6,
  BlockRows = 96,
  BlockStarts = 8192, /* most of them at a time: 32 KiB of stack */
  BlockPanels = 32,
  UnpackColumns = 2048, /* wider matrices are unpacked as they are used: stack */
  Ahead = 4096          /* bytes between what is read and what is prefetched */
};

/* The codes of columns 4i .. 4i+3 of a chunk as unsigned integers. */
QK_INLINE v64b q8Quad(const Q8 *q, const QkChunk *chunk, int64_t i) {
  v64b quad = (v64b)qkQuad(&q->w, chunk, i);
  if (q->w.element == QK_E2M1)
    return vlookup8((v16b){12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0}, quad);
  if (q->w.element == QK_IQ4)
    return vlookup8((v16b){1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241},
                    quad);
  return quad;
}

/* Columns [column, column + columns), 32 at most, in whole chunks. */
QK_INLINE void dotColumns(const Q8 *q, const uint8_t *const codes[2], const Q8Row *rows,
                          int64_t column, int64_t columns, int tile, int np, int64_t ahead,
                          v16i acc[MaxTile][2]) {
  int narrow = q->codeBits < 8, dots = 0;
  narrowSum sum[MaxTile][2];
  QK_UNROLL for (int t = 0; t < tile; ++t) QK_UNROLL for (int p = 0; p < np; ++p) sum[t][p] =
      narrowBegin(acc[t][p]);
  QK_UNROLL for (int64_t k = 0; k < columns; k += q->w.chunkColumns) {
    QkChunk chunk[2];
    QK_UNROLL for (int p = 0; p < np; ++p) chunk[p] = qkChunk(&q->w, codes[p], column + k, ahead);
    QK_UNROLL for (int64_t i = 0; i < q->w.chunkColumns / 4; ++i) {
      if (narrow && dots == narrowDots(q->codeBits)) {
        QK_UNROLL for (int t = 0; t < tile; ++t) QK_UNROLL for (int p = 0; p < np; ++p) {
          acc[t][p] = narrowEnd(sum[t][p], acc[t][p]);
          sum[t][p] = narrowBegin(acc[t][p]);
        }
        dots = 0;
      }
      ++dots;
      v64b quad[2];
      QK_UNROLL for (int p = 0; p < np; ++p) quad[p] = q8Quad(q, &chunk[p], i);
      QK_UNROLL for (int t = 0; t < tile; ++t) {
        int32_t a;
        __builtin_memcpy(&a, rows[t].codes + column + k + i * 4, 4);
        QK_UNROLL for (int p = 0; p < np; ++p) {
          if (narrow)
            sum[t][p] = narrowDot(sum[t][p], quad[p], a);
          else
            acc[t][p] = dot4(acc[t][p], quad[p], a);
        }
      }
    }
  }
  if (narrow)
    QK_UNROLL for (int t = 0; t < tile; ++t) QK_UNROLL for (int p = 0; p < np; ++p) acc[t][p] =
        narrowEnd(sum[t][p], acc[t][p]);
}

/* What codes times activations are short of, for each unit of their sum. */
QK_INLINE int32_t biasOf(const Q8 *q) {
  if (q->w.element == QK_TRELLIS)
    return QkTrellisStart;
  return (int32_t)((q->codeBits == 8 ? QK_CODE_BIAS : 0) - (q->w.hasMin ? 0 : q->w.offset));
}

/* Columns [first, first + columns) of tcq panels, the activation of a column against all four
 * bytes. Columns go to several sums where there are few rows, so that latency is hidden. */
QK_INLINE void trellisColumns(const Q8 *q, const uint8_t *const panels[2], const Q8Row *rows,
                              int64_t first, int64_t columns, int tile, int np, int64_t ahead,
                              v16i acc[MaxTile][2]) {
  QkTrellis trellis = qkTrellis(q->w.K, q->w.offset);
  int chains = tile == 1 ? 4 : tile == 2 ? 2 : 1;
  v16i sum[MaxTile][2][4];
  QK_UNROLL for (int t = 0; t < tile; ++t) QK_UNROLL for (int p = 0; p < np; ++p)
      QK_UNROLL for (int c = 0; c < chains; ++c) sum[t][p][c] = c ? (v16i)0 : acc[t][p];
  int64_t end = first + columns, inner = qkMin(qkTrellisInner(&trellis), end), k = first;
  QK_NOUNROLL for (; k + 8 <= inner; k += 8) {
    int64_t from = qkTrellisPlace(&trellis, k).word * 64 + ahead;
    QK_UNROLL for (int p = 0; ahead && p < np; ++p) {
      __builtin_prefetch(panels[p] + from);
      __builtin_prefetch(panels[p] + from + 64);
    }
    QK_UNROLL for (int j = 0; j < 8; ++j) {
      QkTrellisPlace place = qkTrellisPlace(&trellis, k + j);
      v64b bytes[2];
      QK_UNROLL for (int p = 0; p < np; ++p) {
        const uint8_t *at = panels[p] + place.word * 64;
        bytes[p] = qkTrellisBytes(vloadu(at), vloadu(at + 64), place);
      }
      QK_UNROLL for (int t = 0; t < tile; ++t) QK_UNROLL for (int p = 0; p < np; ++p)
          sum[t][p][j & (chains - 1)] =
              dotSame(sum[t][p][j & (chains - 1)], bytes[p], rows[t].codes[k + j]);
    }
  }
  QK_NOUNROLL for (; k < end; ++k) QK_UNROLL for (int p = 0; p < np; ++p) {
    v64b bytes = qkTrellisBytesAt(&trellis, panels[p], k);
    QK_UNROLL for (int t = 0; t < tile; ++t) sum[t][p][0] =
        dotSame(sum[t][p][0], bytes, rows[t].codes[k]);
  }
  QK_UNROLL for (int t = 0; t < tile; ++t) QK_UNROLL for (int p = 0; p < np; ++p) {
    acc[t][p] = sum[t][p][0];
    QK_UNROLL for (int c = 1; c < chains; ++c) acc[t][p] += sum[t][p][c];
  }
}

/* The integer sums of unit u, zero point included. */
QK_INLINE void dotUnit(const Q8 *q, const uint8_t *const codes[2], const Q8Row *rows, int64_t u,
                       int tile, int np, int64_t ahead, v16i acc[MaxTile][2]) {
  int64_t K = q->w.K, first = u * q->unit;
  int64_t columns = K % q->unit == 0 ? q->unit : qkMin(q->unit, K - first);
  int32_t bias = biasOf(q);
  QK_UNROLL for (int t = 0; t < tile; ++t) {
    acc[t][0] = (v16i)(rows[t].starts ? rows[t].starts[u] : bias ? rows[t].sums[u] * bias : 0);
    acc[t][1] = acc[t][0];
  }
  if (q->w.element == QK_TRELLIS) {
    trellisColumns(q, codes, rows, first, columns, tile, np, ahead, acc);
    return;
  }
  /* The last columns of a row are padded to a whole chunk: activations with 0. */
  int64_t chunk = q->w.chunkColumns, done = 0;
  int64_t most = q->unit % 32 == 0 ? 32 : q->unit % 16 == 0 ? qkMax(16, chunk) : chunk;
  QK_NOUNROLL for (; done + most <= columns; done += most)
      dotColumns(q, codes, rows, first + done, most, tile, np, ahead, acc);
  QK_NOUNROLL for (; done < columns; done += chunk)
      dotColumns(q, codes, rows, first + done, chunk, tile, np, ahead, acc);
}

/* Units in the coarser of the two groups; 1 where both are the same. */
QK_INLINE int64_t q8Inside(const Q8 *q) {
  return qkCeilDiv(qkMax(q->actGroup, q->w.group), q->unit);
}
QK_INLINE int q8CoarseWeights(const Q8 *q) { return q->w.group > q->actGroup; }

/* The scales of a group for what is multiplied. */
QK_INLINE v16f q8Scale(const Q8 *q, const uint8_t *panel, int64_t group) {
  if (q->w.element == QK_TRELLIS)
    return qkTrellisScale(panel);
  v16f scale = qkScale(&q->w, panel, group);
  return q->inUnits != 1.0f ? scale * q->inUnits : scale;
}

/* Scales and mins of a panel for one unit, where they are applied to each unit. */
typedef struct {
  v16f scale, min;
} Q8Scales;

QK_INLINE Q8Scales q8ScalesOf(const Q8 *q, const uint8_t *panel, int64_t u, int64_t outer) {
  int coarse = q8CoarseWeights(q);
  int64_t group = coarse ? outer : u;
  Q8Scales s = {(v16f)1.0f, (v16f)0.0f};
  if (!coarse)
    s.scale = q8Scale(q, panel, group);
  if (q->w.hasMin)
    s.min = qkMinOf(&q->w, panel, group);
  return s;
}

/* Adds the integer sum of unit u, in the outer group `outer`, to the row's total or to
 * what has been summed of that group. */
QK_INLINE void q8Add(const Q8 *q, const Q8Row *row, int64_t u, int64_t outer, Q8Scales s, v16i sum,
                     v16f *total, v16f *part) {
  int coarse = q8CoarseWeights(q), single = q8Inside(q) == 1;
  v16f value = vtofloat(sum);
  float d = row->scales[coarse || single ? u : outer];
  if (coarse || single)
    value *= d;
  v16f *into = single ? total : part;
  *into = coarse ? *into + value : vfma(value, s.scale, *into);
  if (q->w.hasMin) {
    float activations = (float)row->sums[u];
    if (coarse)
      *total = vfma(s.min, (v16f)(d * activations), *total);
    else
      *into = vfma(s.min, (v16f)(single ? d * activations : activations), *into);
  }
}

/* Adds what was summed of an outer group of several units. */
QK_INLINE v16f q8AddGroup(const Q8 *q, const Q8Row *row, int64_t outer, v16f scale, v16f part,
                          v16f total) {
  return vfma(part, q8CoarseWeights(q) ? scale : (v16f)row->scales[outer], total);
}

/* The outputs of np panels for `tile` rows. */
QK_INLINE void q8Tile(const Q8 *q, const uint8_t *const panels[2], const uint8_t *const codes[2],
                      const Q8Row *rows, int tile, int np, int64_t ahead, v16f total[MaxTile][2]) {
  int64_t inside = q8Inside(q);
  int coarse = q8CoarseWeights(q);
  QK_UNROLL for (int t = 0; t < tile; ++t) total[t][0] = total[t][1] = (v16f)0.0f;
  QK_NOUNROLL for (int64_t o = 0; o * inside < q->units; ++o) {
    int64_t first = o * inside;
    int64_t end = q->units % inside == 0 ? first + inside : qkMin(first + inside, q->units);
    v16f part[MaxTile][2];
    QK_UNROLL for (int t = 0; t < tile; ++t) part[t][0] = part[t][1] = (v16f)0.0f;
    QK_NOUNROLL for (int64_t u = first; u < end; ++u) {
      v16i acc[MaxTile][2];
      dotUnit(q, codes, rows, u, tile, np, ahead, acc);
      QK_UNROLL for (int p = 0; p < np; ++p) {
        if (ahead && !coarse)
          __builtin_prefetch(panels[p] + u * q->w.scaleBytes + ahead);
        Q8Scales scales = q8ScalesOf(q, panels[p], u, o);
        QK_UNROLL for (int t = 0; t < tile; ++t)
            q8Add(q, &rows[t], u, o, scales, acc[t][p], &total[t][p], &part[t][p]);
      }
    }
    if (inside == 1)
      continue;
    QK_UNROLL for (int p = 0; p < np; ++p) {
      v16f scale = coarse ? q8Scale(q, panels[p], o) : (v16f)1.0f;
      QK_UNROLL for (int t = 0; t < tile; ++t) total[t][p] =
          q8AddGroup(q, &rows[t], o, scale, part[t][p], total[t][p]);
    }
  }
}

/* Rows of a product: row i reads activation row in[i], or i where `in` is null,
 * divided by inDivisor, and writes row in[i] or i. */
typedef struct {
  const int8_t *codes;
  const float *scales;
  const int32_t *sums;
  const int32_t *in;
  int64_t inDivisor;
} Q8Input;

/* Two neighbouring panels, or one. The second of a last single panel is the first:
 * it is computed twice and stored once. */
typedef struct {
  int64_t panel;
  int both;
  int64_t ahead;            /* see weightStep */
  const uint8_t *scales[2]; /* where the panels begin */
  const uint8_t *codes[2];
} Q8Panels;

QK_INLINE Q8Panels q8PanelsAt(const Q8 *q, const uint8_t *matrix, int64_t panel) {
  Q8Panels p = {.panel = panel, .both = q->w.panels % 2 == 0 || panel + 1 < q->w.panels};
  p.scales[0] = matrix + panel * q->w.panelBytes;
  p.scales[1] = p.both ? p.scales[0] + q->w.panelBytes : p.scales[0];
  p.codes[0] = p.scales[0] + q->w.codesAt;
  p.codes[1] = p.scales[1] + q->w.codesAt;
  return p;
}

/* Row i of the product as q8Tile reads it; `starts` as in Q8Row. */
QK_INLINE Q8Row q8Row(const Q8 *q, const Q8Input *x, int64_t slot, const int32_t *starts) {
  int64_t row = slot / x->inDivisor;
  Q8Row r = {x->codes + row * q->Kp, x->scales + row * q->actGroups, x->sums + row * q->sumGroups,
             starts};
  return r;
}

/* Rows [first, first + tile); `starts` (of the first) as in Q8Row. */
QK_INLINE void q8Rows(const Q8 *q, const Q8Panels *p, const Q8Input *x, const QkSink *sink,
                      int64_t first, const int32_t *starts, int tile, int np) {
  Q8Row rows[MaxTile];
  int64_t slots[MaxTile];
  v16f total[MaxTile][2];
  QK_UNROLL for (int t = 0; t < tile; ++t) {
    slots[t] = x->in ? x->in[first + t] : first + t;
    rows[t] = q8Row(q, x, slots[t], starts ? starts + t * q->units : 0);
  }
  q8Tile(q, p->scales, p->codes, rows, tile, np, p->ahead, total);
  QK_UNROLL for (int t = 0; t < tile; ++t) {
    qkSink(sink, slots[t], p->panel, total[t][0]);
    if (np == 2 && p->both)
      qkSink(sink, slots[t], p->panel + 1, total[t][1]);
  }
}

#include "trellis_q8.h"

/* What the sums of each row and unit start at: the zero point's share, made once for
 * all panels. starts[row - first][unit]. */
QK_INLINE void fillStarts(const Q8 *q, const Q8Input *x, int64_t first, int64_t last,
                          int32_t *starts) {
  int32_t bias = biasOf(q);
  for (int64_t row = first; row < last; ++row) {
    const int32_t *sums = x->sums + (x->in ? x->in[row] : row) / x->inDivisor * q->sumGroups;
    for (int64_t u = 0; u < q->units; ++u)
      starts[(row - first) * q->units + u] = sums[u] * bias;
  }
}

/* Columns [k, k + columns) of packed codes as steps of 8-bit codes. */
QK_INLINE void unpackColumns(const Q8 *q, const uint8_t *codes, int64_t k, int64_t columns,
                             uint8_t *out) {
  QK_NOUNROLL for (int64_t c = 0; c < columns; c += q->w.chunkColumns) {
    QkChunk chunk = qkChunk(&q->w, codes, k + c, 0);
    QK_UNROLL for (int64_t i = 0; i < q->w.chunkColumns / 4; ++i) {
      v64b quad = q8Quad(q, &chunk, i);
      __builtin_memcpy(out + c * 16 + i * 64, &quad, 64);
    }
  }
}

/* Whether codes are best unpacked once for a block of rows. */
QK_INLINE int q8Unpacks(const Q8 *q) {
  if (q->w.K > UnpackColumns)
    return 0;
  return q->w.sparse || (q->w.bits < 8 && (QK_UNPACK_NIBBLES || q->w.element != QK_U4));
}

/* The same product with weights that unpackColumns wrote. */
QK_INLINE Q8 q8Unpacked(const Q8 *q) {
  Q8 unpacked = *q;
  unpacked.w.element = QK_U8;
  unpacked.w.sparse = 0;
  unpacked.w.bits = 8;
  unpacked.w.stepColumns = unpacked.w.chunkColumns = 4;
  unpacked.w.stepBytes = 64;
  return unpacked;
}

#if defined(__AMX_INT8__)
#include "amx.h"
#else
/* Without AMX no unit has tiles. */
enum { AmxMostRows = MaxTile, AmxMostUnits = 0 };
QK_INLINE int64_t amxColumns(const Q8 *q) { return 0; }
QK_INLINE void amxBegin(const Q8 *q) {}
QK_INLINE void amxEnd(const Q8 *q) {}
QK_INLINE int64_t amxRows(const Q8 *q, const Q8Panels *p, const Q8Input *x, const QkSink *sink,
                          int64_t first, int64_t last, const int32_t *starts) {
  return 0;
}
#endif

/* A block of rows with two panels. Between tiles a slice of the next two panels is
 * prefetched, where `ahead` is set. */
QK_INLINE void q8BlockRows(const Q8 *q, const Q8Panels *p, const Q8Input *x, const QkSink *sink,
                           int64_t first, int64_t last, const int32_t *starts, int ahead) {
  int amx = amxColumns(q) != 0;
  int64_t tiles = qkCeilDiv(last - first, amx ? AmxMostRows : MaxTile);
  int64_t slice = q->w.panelBytes * 2 / tiles + 64;
  const uint8_t *next = p->scales[0] + q->w.panelBytes * 2;
  QK_NOUNROLL for (int64_t row = first; row < last;) {
    const int32_t *at = starts + (row - first) * q->units;
    if (ahead) {
      QK_NOUNROLL for (int64_t i = 0; i < slice; i += 64) __builtin_prefetch(next + i, 0, 2);
      next += slice;
    }
    if (amx && row + MaxTile < last) {
      row += amxRows(q, p, x, sink, row, last, at);
    } else if (row + MaxTile <= last) {
      q8Rows(q, p, x, sink, row, at, MaxTile, 2);
      row += MaxTile;
    } else if (row + 3 <= last) {
      q8Rows(q, p, x, sink, row, at, 3, 2);
      row += 3;
    } else {
      q8Rows(q, p, x, sink, row, at, 1, 2);
      row += 1;
    }
  }
}

/* Panels [begin, end) for many rows, in blocks: the activations of a block of rows and
 * the weights of a block of panels stay in the cache. */
QK_INLINE void q8Block(const Q8 *given, const uint8_t *matrix, const Q8Input *x, const QkSink *sink,
                       int64_t begin, int64_t end, int64_t firstRow, int64_t lastRow) {
  int unpack = q8Unpacks(given);
  Q8 q = unpack ? q8Unpacked(given) : *given;
  int64_t chunk = given->w.chunkColumns;
  int64_t bytes = unpack ? qkCeilDiv(q.w.K, chunk) * chunk * 16 : 64;
  uint8_t unpacked[2][bytes] __attribute__((aligned(64)));
  int64_t fit = BlockStarts / q.units / MaxTile * MaxTile;
  int64_t least = q.units <= AmxMostUnits ? AmxMostRows : MaxTile;
  int64_t blockRows = qkMin(BlockRows, qkMax(fit, least));
  if (amxColumns(&q) && blockRows > AmxMostRows)
    blockRows -= blockRows % AmxMostRows;
  int32_t starts[blockRows * q.units];
  amxBegin(&q);
  QK_NOUNROLL for (int64_t block = begin; block < end; block += BlockPanels) {
    int64_t stop = qkMin(block + BlockPanels, end);
    QK_NOUNROLL for (int64_t first = firstRow; first < lastRow; first += blockRows) {
      int64_t last = qkMin(first + blockRows, lastRow);
      fillStarts(&q, x, first, last, starts);
      QK_NOUNROLL for (int64_t panel = block; panel < stop; panel += 2) {
        Q8Panels p = q8PanelsAt(&q, matrix, panel);
        if (unpack)
          QK_UNROLL for (int i = 0; i < 2; ++i) {
            unpackColumns(given, p.codes[i], 0, q.w.K, unpacked[i]);
            p.codes[i] = unpacked[i];
          }
        q8BlockRows(&q, &p, x, sink, first, last, starts, first == firstRow);
      }
    }
  }
  amxEnd(&q);
}

/* Pairs [begin, end) of panels for rows [first, last). */
QK_INLINE void q8Product(const Q8 *q, const uint8_t *matrix, const Q8Input *x, const QkSink *sink,
                         int64_t begin, int64_t end, int64_t first, int64_t last) {
  int64_t stop = qkMin(end * 2, q->w.panels);
  if (last - first > 4 && q->w.element == QK_TRELLIS) {
    QK_NOUNROLL for (int64_t panel = begin * 2; panel < stop; panel += 2) {
      Q8Panels p = q8PanelsAt(q, matrix, panel);
      trellisBlock(q, &p, x, sink, first, last);
    }
    return;
  }
  if (last - first > 4) {
    q8Block(q, matrix, x, sink, begin * 2, stop, first, last);
    return;
  }
  QK_NOUNROLL for (int64_t panel = begin * 2; panel < stop;) {
    Q8Panels p = q8PanelsAt(q, matrix, panel);
    p.ahead = last - first == 1 ? Ahead : 2 * q->w.panelBytes;
    /* Pairs of tcq panels share the work of finding columns. */
    if (last - first == 1 && q->w.element == QK_TRELLIS) {
      q8Rows(q, &p, x, sink, first, 0, 1, 2);
      panel += 2;
      continue;
    }
    if (last - first == 1) {
      q8Rows(q, &p, x, sink, first, 0, 1, 1);
      panel += 1;
      continue;
    }
    if (last - first == 4)
      q8Rows(q, &p, x, sink, first, 0, 4, 2);
    else if (last - first == 3)
      q8Rows(q, &p, x, sink, first, 0, 3, 2);
    else if (last - first == 2)
      q8Rows(q, &p, x, sink, first, 0, 2, 2);
    panel += 2;
  }
}

QK_KERNEL(linear_q8) {
  Q8 q = q8Of(params);
  int64_t ldo = params[9], outColumn = params[10], rows = qkRows(args, params[14]);
  float *out = params[15] ? args->logits : (float *)buffers[3];
  QkSink sink = {out + outColumn,
                 params[12] ? (const float *)buffers[4] + outColumn : 0,
                 params[11] ? (const float *)weights[1] : 0,
                 ldo,
                 q.w.N,
                 (float)qkDouble(params[13])};
  Q8Input x = {(const int8_t *)buffers[0], (const float *)buffers[1], (const int32_t *)buffers[2],
               0, 1};
  QkRange pairs = qkPart(qkCeilDiv(q.w.panels, 2), index, count);
  q8Product(&q, weights[0], &x, &sink, pairs.begin, pairs.end, 0, rows);
}

QK_TASKS(linear_q8) {
  int64_t rows = qkRows(args, params[14]), work = params[0] * params[1] * rows;
  int64_t parts = rows > 8 ? threads * 4 : threads;
  return qkMax(1, qkMin(qkMin(qkCeilDiv(params[0], 32), parts), work / 131072));
}

/*===- Experts -------------------------------------------------------------===*/

/* An item is a run of pairs of one expert; items go round the parts. */
enum { ExpertPairs = 4 };

QK_KERNEL(linear_q8_experts) {
  Q8 q = q8Of(params);
  int64_t experts = params[12], topk = params[13], slotInput = params[14];
  const int32_t *offsets = (const int32_t *)buffers[4], *list = (const int32_t *)buffers[5];
  int64_t pairs = qkCeilDiv(q.w.panels, 2), runs = qkCeilDiv(pairs, ExpertPairs);
  for (int64_t item = index; item < experts * runs; item += count) {
    int64_t expert = item / runs, begin = item % runs * ExpertPairs;
    int64_t number = params[15] ? (int64_t)((const float *)weights[2])[expert] : expert;
    QkSink sink = {(float *)buffers[3] + params[10],
                   0,
                   params[11] ? (const float *)weights[1] + expert * q.w.N : 0,
                   params[9],
                   q.w.N,
                   1.0f};
    Q8Input x = {(const int8_t *)buffers[0], (const float *)buffers[1], (const int32_t *)buffers[2],
                 list, slotInput ? 1 : topk};
    q8Product(&q, weights[0] + expert * q.w.panels * q.w.panelBytes, &x, &sink, begin,
              qkMin(begin + ExpertPairs, pairs), offsets[number], offsets[number + 1]);
  }
}

QK_TASKS(linear_q8_experts) {
  int64_t work = params[0] * params[1] * args->tokens * params[13];
  int64_t items = params[12] * qkCeilDiv(qkCeilDiv(params[0], 32), ExpertPairs);
  return qkMax(1, qkMin(qkMin(items, threads * 4), work / 131072));
}
