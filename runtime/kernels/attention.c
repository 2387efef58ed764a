/*===- attention.c - causal attention over paged keys and values ----------===//
 *
 * An item is a block of queries of one sequence for one key-value head, with all
 * query heads that share it: keys and values are loaded, converted and (keys)
 * transposed once a block of 64 positions, and used by up to 48 query rows. The
 * softmax is computed online in f32. A single query takes its keys as they lie. Per
 * item the blocks of keys come in order, so that the result does not depend on how
 * items are spread over the parts.
 *===----------------------------------------------------------------------===*/
#include "vmath.h"

/* Up to so many query heads that share a key-value head, a single query computes its
 * scores without transposing the keys. */
enum { FewRows = 8 };

typedef struct {
  int64_t column, ld, heads, kvHeads, headDim, layer, kvElement, pageTokens, window;
  float scale, softcap;
  int64_t group;   /* query heads that share a key-value head */
  int64_t padded;  /* headDim rounded up to 16 */
  int64_t keys;    /* positions in a block */
  int64_t queries; /* queries in a block */
  int64_t bytes;   /* of one key */
} Attention;

QK_INLINE Attention attentionOf(const int64_t *params) {
  Attention a = {.column = params[0],
                 .ld = params[1],
                 .heads = params[2],
                 .kvHeads = params[3],
                 .headDim = params[4],
                 .layer = params[5],
                 .kvElement = params[7],
                 .pageTokens = params[8],
                 .window = params[10]};
  a.scale = (float)qkDouble(params[9]);
  a.softcap = (float)qkDouble(params[11]);
  a.group = a.heads / a.kvHeads;
  a.padded = qkCeilDiv(a.headDim, 16) * 16;
  a.keys = a.padded <= 128 ? 64 : 32;
  a.queries = qkMax(1, 48 / a.group);
  a.bytes = a.headDim * (a.kvElement == QK_F32 ? 4 : 2);
  return a;
}

/* 16 elements of a key or value, of which n exist. */
QK_INLINE v16f loadElements(const uint8_t *p, int64_t n, int64_t element) {
  if (element == QK_F32)
    return vloadn((const float *)p, n);
  v16us bits = (v16us)0;
  __builtin_memcpy(&bits, p, n >= 16 ? 32 : (unsigned long)n * 2);
  return element == QK_F16 ? vfromhalf(&bits) : vfrombf16(&bits);
}

QK_INLINE const uint8_t *elementsAt(const Attention *a, const qplan_sequence_v1 *sequence,
                                    int64_t kvHead, int64_t part, int64_t position) {
  const uint8_t *page = (const uint8_t *)sequence->pages[position / a->pageTokens];
  int64_t slot = ((a->layer * 2 + part) * a->kvHeads + kvHead) * a->pageTokens;
  return page + (slot + position % a->pageTokens) * a->bytes;
}

/* 16 x 16 transposition in four rounds of interleaving. */
QK_INLINE void transpose16(v16f m[16]) {
  QK_UNROLL for (int round = 0; round < 4; ++round) {
    v16f n[16];
    QK_UNROLL for (int i = 0; i < 8; ++i) {
      n[2 * i] = __builtin_shufflevector(m[i], m[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21,
                                         6, 22, 7, 23);
      n[2 * i + 1] = __builtin_shufflevector(m[i], m[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28,
                                             13, 29, 14, 30, 15, 31);
    }
    QK_UNROLL for (int i = 0; i < 16; ++i) m[i] = n[i];
  }
}

/* Keys (part 0) or values (part 1) [first, first + n) as out[position][padded]. */
QK_INLINE void loadRows(const Attention *a, const qplan_sequence_v1 *sequence, int64_t kvHead,
                        int64_t part, int64_t first, int64_t n, float *out) {
  QK_NOUNROLL for (int64_t j = 0; j < n; ++j) {
    const uint8_t *from = elementsAt(a, sequence, kvHead, part, first + j);
    QK_UNROLL for (int64_t d = 0; d < a->padded; d += 16)
        vstore(out + j * a->padded + d, loadElements(from + d * (a->kvElement == QK_F32 ? 4 : 2),
                                                     a->headDim - d, a->kvElement));
  }
}

/* Keys [first, first + n) as keys[dim][a->keys]; n is rounded up to 16. */
QK_INLINE void loadTransposed(const Attention *a, const qplan_sequence_v1 *sequence, int64_t kvHead,
                              int64_t first, int64_t n, float *keys) {
  QK_NOUNROLL for (int64_t j = 0; j < n; j += 16) {
    const uint8_t *from[16];
    int64_t last = qkMin(16, n - j) - 1;
    QK_UNROLL for (int64_t i = 0; i < 16; ++i) from[i] =
        elementsAt(a, sequence, kvHead, 0, first + j + qkMin(i, last));
    QK_NOUNROLL for (int64_t d = 0; d < a->headDim; d += 16) {
      v16f m[16];
      QK_UNROLL for (int i = 0; i < 16; ++i) m[i] = loadElements(
          from[i] + d * (a->kvElement == QK_F32 ? 4 : 2), a->headDim - d, a->kvElement);
      transpose16(m);
      QK_UNROLL for (int i = 0; i < 16; ++i) vstore(keys + (d + i) * a->keys + j, m[i]);
    }
  }
}

/* Lane j of the result is the sum of the lanes of m[j]: neighbours are added four
 * times, each time halving the number of vectors. */
QK_INLINE v16f sumLanes(v16f m[16]) {
  QK_UNROLL for (int half = 8; half > 0; half /= 2) QK_UNROLL for (int i = 0; i < half; ++i) {
    v16f x = m[2 * i], y = m[2 * i + 1];
    m[i] =
        __builtin_shufflevector(x, y, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
        __builtin_shufflevector(x, y, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  }
  return m[0];
}

/* Scores of few rows with keys that are not transposed: transposing would cost more
 * than it saves. Columns past `present` are not computed. */
QK_INLINE void scoreFew(const Attention *a, const float *x, int64_t rows, const float *keys,
                        int64_t present, float *scores) {
  QK_NOUNROLL for (int64_t j = 0; j < present; j += 16)
      QK_NOUNROLL for (int64_t r = 0; r < rows; ++r) {
    v16f sum[16];
    QK_UNROLL for (int i = 0; i < 16; ++i) sum[i] = (v16f)0.0f;
    QK_UNROLL for (int64_t d = 0; d < a->padded; d += 16) {
      v16f q = vload(x + r * a->padded + d);
      QK_UNROLL for (int i = 0; i < 16; ++i) sum[i] =
          vfma(q, vload(keys + (j + i) * a->padded + d), sum[i]);
    }
    vstore(scores + r * a->keys + j, sumLanes(sum));
  }
}

enum { RowTile = QK_TILE(6, 2), MidTile = QK_TILE(2, 1), ColumnTile = QK_TILE(4, 2) };

/* out[r][0 .. 16 wide) = (or +=) sum over k < n of x[r][k] * m[k][..]. */
QK_INLINE void productTile(const float *x, int64_t ldx, const float *m, int64_t ldm, int64_t n,
                           float *out, int64_t ldo, int add, int rows, int wide) {
  v16f acc[RowTile][4];
  QK_UNROLL for (int r = 0; r < rows; ++r) QK_UNROLL for (int c = 0; c < wide; ++c) acc[r][c] =
      add ? vload(out + r * ldo + c * 16) : (v16f)0.0f;
  QK_NOUNROLL for (int64_t k = 0; k < n; ++k) {
    v16f b[4];
    QK_UNROLL for (int c = 0; c < wide; ++c) b[c] = vload(m + k * ldm + c * 16);
    QK_UNROLL for (int r = 0; r < rows; ++r) QK_UNROLL for (int c = 0; c < wide; ++c) acc[r][c] =
        vfma(b[c], (v16f)x[r * ldx + k], acc[r][c]);
  }
  QK_UNROLL for (int r = 0; r < rows; ++r) QK_UNROLL for (int c = 0; c < wide; ++c)
      vstore(out + r * ldo + c * 16, acc[r][c]);
}

QK_INLINE void productRows(const float *x, int64_t ldx, const float *m, int64_t ldm, int64_t n,
                           float *out, int64_t ldo, int add, int64_t rows, int wide) {
  int64_t r = 0;
  QK_NOUNROLL for (; r + RowTile <= rows; r += RowTile)
      productTile(x + r * ldx, ldx, m, ldm, n, out + r * ldo, ldo, add, RowTile, wide);
  QK_NOUNROLL for (; r + MidTile <= rows; r += MidTile)
      productTile(x + r * ldx, ldx, m, ldm, n, out + r * ldo, ldo, add, MidTile, wide);
  if (r < rows) /* where MidTile is 2 */
    productTile(x + r * ldx, ldx, m, ldm, n, out + r * ldo, ldo, add, 1, wide);
}

/* The product for `columns` (a multiple of 16) columns. */
QK_INLINE void product(const float *x, int64_t ldx, const float *m, int64_t ldm, int64_t n,
                       float *out, int64_t ldo, int add, int64_t rows, int64_t columns) {
  int64_t c = 0;
  if (ColumnTile == 4)
    QK_NOUNROLL for (; c + 64 <= columns; c += 64)
        productRows(x, ldx, m + c, ldm, n, out + c, ldo, add, rows, 4);
  QK_NOUNROLL for (; c + 32 <= columns; c += 32)
      productRows(x, ldx, m + c, ldm, n, out + c, ldo, add, rows, 2);
  if (c < columns)
    productRows(x, ldx, m + c, ldm, n, out + c, ldo, add, rows, 1);
}

/* The softmax of one row so far. Weights are powers of two times 2^-base: base is a
 * score of the row, not always the largest, and moves only when a score exceeds it
 * by 16, so that what was summed is rarely scaled again. */
typedef struct {
  v16f total; /* sums of weights, by lane */
  float base;
} Softmax;

/* Scores of one row to weights. Column j is position first + j, of which [from, to]
 * count. `sums` is what the row has of weighted values. */
QK_INLINE void softmaxRow(const Attention *a, float *scores, int64_t first, int64_t from,
                          int64_t to, Softmax *state, float *sums) {
  const v16i lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const float log2e = 0x1.715476p+0f;
  int whole = from <= first && to >= first + a->keys - 1;
  float factor = a->softcap != 0 ? log2e * a->softcap : a->scale * log2e;
  v16f t[4], best = (v16f)-__builtin_inff();
  QK_UNROLL for (int64_t j = 0; j < a->keys; j += 16) {
    v16f s = vload(scores + j);
    if (a->softcap != 0)
      s = vtanh(s * (a->scale / a->softcap));
    s *= factor;
    if (!whole) {
      v16i position = lane + (int32_t)(first + j);
      v16i counts = (position >= (int32_t)from) & (position <= (int32_t)to);
      s = counts ? s : (v16f)-__builtin_inff();
    }
    t[j / 16] = s;
    best = vmax(s, best);
  }
  if (__builtin_reduce_or(best > state->base + 16.0f)) {
    float base = vhmax(best);
    /* Nothing was summed while base was minus infinity: the factor is 0 then. */
    v16f shrink = vexp2((v16f)(state->base - base));
    state->base = base;
    state->total *= shrink;
    QK_UNROLL for (int64_t d = 0; d < a->padded; d += 16)
        vstore(sums + d, vload(sums + d) * shrink);
  }
  /* A row that has seen nothing yet has only weights of 0. */
  float base = state->base == -__builtin_inff() ? 0.0f : state->base;
  QK_UNROLL for (int64_t j = 0; j < a->keys; j += 16) {
    v16f p = vexp2(t[j / 16] - base);
    vstore(scores + j, p);
    state->total += p;
  }
}

/* Queries [first, first + n) of a sequence for `heads` query heads from `head` on. */
QK_INLINE void attend(const Attention *a, const qplan_sequence_v1 *sequence, const float *q,
                      float *out, int64_t first, int64_t n, int64_t head, int64_t heads) {
  int64_t rows = n * heads, width = a->padded, most = a->queries * a->group;
  float keys[width * a->keys] __attribute__((aligned(64)));
  float values[a->keys * width] __attribute__((aligned(64)));
  float x[most * width] __attribute__((aligned(64)));
  float sums[most * width] __attribute__((aligned(64)));
  float scores[most * a->keys] __attribute__((aligned(64)));
  Softmax softmax[most];
  QK_NOUNROLL for (int64_t r = 0; r < rows; ++r) {
    const float *from = q + (sequence->first_row + first + r / heads) * a->ld + a->column +
                        (head + r % heads) * a->headDim;
    QK_UNROLL for (int64_t d = 0; d < width; d += 16) {
      vstore(x + r * width + d, vloadn(from + d, a->headDim - d));
      vstore(sums + r * width + d, (v16f)0.0f);
    }
    softmax[r].base = -__builtin_inff();
    softmax[r].total = (v16f)0.0f;
  }
  int64_t position = sequence->past + first; /* of the first query */
  int64_t begin = a->window > 0 ? qkMax(0, position - a->window + 1) / a->keys * a->keys : 0;
  QK_NOUNROLL for (int64_t at = begin; at < position + n; at += a->keys) {
    int64_t present = qkMin(a->keys, position + n - at);
    /* Scores of columns past `present` may be anything: the mask drops them. */
    if (n == 1 && a->group <= FewRows) {
      loadRows(a, sequence, head / a->group, 0, at, present, keys);
      scoreFew(a, x, rows, keys, present, scores);
    } else {
      loadTransposed(a, sequence, head / a->group, at, present, keys);
      product(x, width, keys, a->keys, a->headDim, scores, a->keys, 0, rows, a->keys);
    }
    loadRows(a, sequence, head / a->group, 1, at, present, values);
    QK_NOUNROLL for (int64_t r = 0; r < rows; ++r) {
      int64_t to = position + r / heads, from = a->window > 0 ? to - a->window + 1 : 0;
      softmaxRow(a, scores + r * a->keys, at, from, to, &softmax[r], sums + r * width);
    }
    product(scores, a->keys, values, width, present, sums, width, 1, rows, width);
  }
  QK_NOUNROLL for (int64_t r = 0; r < rows; ++r) {
    float *to = out + ((sequence->first_row + first + r / heads) * a->heads + head + r % heads) *
                          a->headDim;
    float share = 1.0f / vsum(softmax[r].total);
    for (int64_t d = 0; d < a->headDim; d += 16)
      vstoren(to + d, vload(sums + r * width + d) * share, a->headDim - d);
  }
}

/* Items with all query heads of a key-value head each. */
QK_INLINE int64_t itemsOf(const Attention *a, const qplan_args_v1 *args) {
  int64_t items = 0;
  for (int64_t s = 0; s < args->sequences; ++s)
    items += qkCeilDiv(args->sequence[s].rows, a->queries) * a->kvHeads;
  return items;
}

/* Items go round the parts. Where there are fewer items than parts, an item is one
 * query head: keys are then loaded once for each, but all threads have work. */
QK_KERNEL(attention) {
  Attention a = attentionOf(params);
  int64_t split = itemsOf(&a, args) < count ? a.group : 1, heads = a.group / split, item = 0;
  QK_NOUNROLL for (int64_t s = 0; s < args->sequences; ++s) {
    const qplan_sequence_v1 *sequence = &args->sequence[s];
    int64_t blocks = qkCeilDiv(sequence->rows, a.queries), parts = a.kvHeads * split;
    int64_t items = blocks * parts;
    int64_t mine = (index - item % count + count) % count;
    QK_NOUNROLL for (int64_t i = mine; i < items; i += count) {
      /* The last queries see the most keys: they come first. */
      int64_t first = (blocks - 1 - i / parts) * a.queries;
      attend(&a, sequence, (const float *)buffers[0], (float *)buffers[1], first,
             qkMin(a.queries, sequence->rows - first), i % parts * heads, heads);
    }
    item += items;
  }
}

QK_TASKS(attention) {
  Attention a = attentionOf(params);
  int64_t items = itemsOf(&a, args), work = 0;
  for (int64_t s = 0; s < args->sequences; ++s)
    work += args->sequence[s].rows * (args->sequence[s].past + args->sequence[s].rows);
  work *= a.heads * a.headDim;
  if (work < 131072 || threads == 1)
    return 1;
  /* Loading keys and values costs about 1.5 times what a query head does with them:
   * the longer of the two schedules loses. */
  int64_t whole = qkCeilDiv(items, threads) * (3 + 2 * a.group);
  int64_t split = qkCeilDiv(items * a.group, threads) * 5;
  return whole <= split ? qkMin(items, threads * 8) : items * a.group;
}
