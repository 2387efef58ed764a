/*===- attention.c - causal attention over paged keys and values ----------===//
 *
 * An item is a block of queries of one sequence for one key-value head, with all
 * query heads that share it: keys and values are loaded, converted and (keys)
 * transposed once a block of 64 positions, and used by up to 48 query rows. The
 * softmax is computed online in f32; blocks of keys come in order.
 *
 * A single query (decoding) takes its keys as they lie, in stretches of `splitKeys`
 * positions. Each stretch has a softmax of its own, and they are merged in order. Where
 * few sequences decode, stretches are items, whose states attention_merge merges: a few
 * heads then keep many threads busy. Either way the same sums are made, so that results
 * depend neither on threads nor on what else is in the batch.
 *===----------------------------------------------------------------------===*/
#include "kv.h"
#include "vmath.h"

/* Up to so many query heads that share a key-value head, a single query computes its
 * scores without transposing the keys. */
enum { FewRows = 8 };

typedef struct {
  QkCache cache;
  int64_t column, ld, heads, window;
  float scale, softcap;
  const float *scales; /* of the heads' keys, then values, where they are fixed */
  int64_t group;       /* query heads that share a key-value head */
  int64_t padded;      /* headDim rounded up to 16 */
  int64_t keys;        /* positions in a block */
  int64_t queries;     /* queries in a block */
  int64_t splitKeys;   /* positions of a stretch, a multiple of keys */
  int64_t splits;      /* most stretches of a sequence */
  int64_t splitRows;   /* most single queries whose stretches are items */
} Attention;

QK_INLINE Attention attentionOf(const int64_t *params, const uint8_t *const *weights) {
  Attention a = {.cache = qkCache(params + 3),
                 .column = params[0],
                 .ld = params[1],
                 .heads = params[2],
                 .window = params[14],
                 .splitKeys = params[16],
                 .splits = params[17],
                 .splitRows = params[18]};
  a.scale = (float)qkDouble(params[13]);
  a.softcap = (float)qkDouble(params[15]);
  a.scales = weights && a.cache.fixed ? (const float *)weights[0] : 0;
  a.group = a.heads / a.cache.kvHeads;
  a.padded = qkCeilDiv(a.cache.headDim, 16) * 16;
  a.keys = a.padded <= 128 ? 64 : 32;
  a.queries = qkMax(1, 48 / a.group);
  return a;
}

/* The fixed scale of a head's keys (part 0) or values (part 1). */
QK_INLINE float fixedScale(const Attention *a, int64_t kvHead, int64_t part) {
  return a->cache.fixed ? a->scales[part * a->cache.kvHeads + kvHead] : 0.0f;
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
  float given = fixedScale(a, kvHead, part);
  int64_t length = sequence->past + sequence->rows;
  QK_NOUNROLL for (int64_t j = 0; j < n; ++j) {
    if (first + j + a->keys < length)
      qkPrefetch(&a->cache, qkVectorAt(&a->cache, sequence, kvHead, part, first + j + a->keys));
    QkVector from = qkVectorAt(&a->cache, sequence, kvHead, part, first + j);
    QK_UNROLL for (int64_t d = 0; d < a->padded; d += 16)
        vstore(out + j * a->padded + d, qkCached(&a->cache, from, d, given));
  }
}

/* Keys [first, first + n) as keys[dim][a->keys]; n is rounded up to 16. */
QK_INLINE void loadTransposed(const Attention *a, const qplan_sequence_v1 *sequence, int64_t kvHead,
                              int64_t first, int64_t n, float *keys) {
  float given = fixedScale(a, kvHead, 0);
  QK_NOUNROLL for (int64_t j = 0; j < n; j += 16) {
    QkVector from[16];
    int64_t last = qkMin(16, n - j) - 1;
    QK_UNROLL for (int64_t i = 0; i < 16; ++i) from[i] =
        qkVectorAt(&a->cache, sequence, kvHead, 0, first + j + qkMin(i, last));
    QK_NOUNROLL for (int64_t d = 0; d < a->padded; d += 16) {
      v16f m[16];
      QK_UNROLL for (int i = 0; i < 16; ++i) m[i] = qkCached(&a->cache, from[i], d, given);
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
typedef struct {
  const qplan_sequence_v1 *sequence;
  int64_t first, n, head, heads;
} Item;

/* The query of row r of an item. */
QK_INLINE void loadQueries(const Attention *a, const Item *item, const float *q, float *x) {
  QK_NOUNROLL for (int64_t r = 0; r < item->n * item->heads; ++r) {
    int64_t row = item->sequence->first_row + item->first + r / item->heads;
    const float *from = q + row * a->ld + a->column +
                        (item->head + r % item->heads) * a->cache.headDim;
    QK_UNROLL for (int64_t d = 0; d < a->padded; d += 16)
        vstore(x + r * a->padded + d, vloadn(from + d, a->cache.headDim - d));
  }
}

QK_INLINE void beginRows(const Attention *a, int64_t rows, float *sums, Softmax *softmax) {
  QK_NOUNROLL for (int64_t r = 0; r < rows; ++r) {
    QK_UNROLL for (int64_t d = 0; d < a->padded; d += 16)
        vstore(sums + r * a->padded + d, (v16f)0.0f);
    softmax[r].base = -__builtin_inff();
    softmax[r].total = (v16f)0.0f;
  }
}

/* Adds positions [begin, end) to the rows of an item; begin is a multiple of a->keys. */
QK_INLINE void attend(const Attention *a, const Item *item, const float *x, int64_t begin,
                      int64_t end, float *sums, Softmax *softmax) {
  int64_t rows = item->n * item->heads, width = a->padded, most = a->queries * a->group;
  int64_t kvHead = item->head / a->group, position = item->sequence->past + item->first;
  float keys[width * a->keys] __attribute__((aligned(64)));
  float values[a->keys * width] __attribute__((aligned(64)));
  float scores[most * a->keys] __attribute__((aligned(64)));
  QK_NOUNROLL for (int64_t at = begin; at < end; at += a->keys) {
    int64_t present = qkMin(a->keys, end - at);
    /* Scores of columns past `present` may be anything: the mask drops them. */
    if (item->n == 1 && a->group <= FewRows) {
      loadRows(a, item->sequence, kvHead, 0, at, present, keys);
      scoreFew(a, x, rows, keys, present, scores);
    } else {
      loadTransposed(a, item->sequence, kvHead, at, present, keys);
      product(x, width, keys, a->keys, a->cache.headDim, scores, a->keys, 0, rows, a->keys);
    }
    loadRows(a, item->sequence, kvHead, 1, at, present, values);
    QK_NOUNROLL for (int64_t r = 0; r < rows; ++r) {
      int64_t to = position + r / item->heads, from = a->window > 0 ? to - a->window + 1 : 0;
      softmaxRow(a, scores + r * a->keys, at, from, to, &softmax[r], sums + r * width);
    }
    product(scores, a->keys, values, width, present, sums, width, 1, rows, width);
  }
}

QK_INLINE void finishRow(const Attention *a, const float *sums, float total, float *to) {
  float share = 1.0f / total;
  for (int64_t d = 0; d < a->cache.headDim; d += 16)
    vstoren(to + d, vload(sums + d) * share, a->cache.headDim - d);
}

/* The first position that query `position` sees, rounded down to a block. */
QK_INLINE int64_t firstSeen(const Attention *a, int64_t position) {
  return a->window > 0 ? qkMax(0, position - a->window + 1) / a->keys * a->keys : 0;
}

/* A block of queries, from the first key that one of them sees to the last. */
QK_INLINE void attendBlock(const Attention *a, const Item *item, const float *q, float *out) {
  int64_t rows = item->n * item->heads, width = a->padded, most = a->queries * a->group;
  float x[most * width] __attribute__((aligned(64)));
  float sums[most * width] __attribute__((aligned(64)));
  Softmax softmax[most];
  int64_t position = item->sequence->past + item->first;
  loadQueries(a, item, q, x);
  beginRows(a, rows, sums, softmax);
  attend(a, item, x, firstSeen(a, position), position + item->n, sums, softmax);
  QK_NOUNROLL for (int64_t r = 0; r < rows; ++r) {
    int64_t row = item->sequence->first_row + item->first + r / item->heads;
    finishRow(a, sums + r * width, vsum(softmax[r].total),
              out + (row * a->heads + item->head + r % item->heads) * a->cache.headDim);
  }
}

/*===- One query at a time -------------------------------------------------===*/

/* What one head has of weighted values after some stretches: sums[padded], then the base
 * and the total of its softmax. */
QK_INLINE int64_t stateFloats(const Attention *a) { return a->padded + 16; }

/* The stretches that the query at `past` sees. */
QK_INLINE QkRange stretchesOf(const Attention *a, int64_t past) {
  QkRange range = {firstSeen(a, past) / a->splitKeys, past / a->splitKeys + 1};
  return range;
}

/* States of the heads of an item after stretch number `stretch`. */
QK_INLINE void attendStretch(const Attention *a, const Item *item, const float *x, int64_t stretch,
                             float *states, int64_t stride) {
  int64_t width = a->padded, past = item->sequence->past;
  float sums[a->group * width] __attribute__((aligned(64)));
  Softmax softmax[a->group];
  beginRows(a, item->heads, sums, softmax);
  attend(a, item, x, qkMax(stretch * a->splitKeys, firstSeen(a, past)),
         qkMin((stretch + 1) * a->splitKeys, past + 1), sums, softmax);
  QK_NOUNROLL for (int64_t r = 0; r < item->heads; ++r) {
    float *state = states + r * stride;
    QK_UNROLL for (int64_t d = 0; d < width; d += 16)
        vstore(state + d, vload(sums + r * width + d));
    state[width] = softmax[r].base;
    state[width + 1] = vsum(softmax[r].total);
  }
}

/* Adds `next` to `state`. */
QK_INLINE void mergeState(const Attention *a, float *state, const float *next) {
  int64_t width = a->padded;
  float base = state[width] > next[width] ? state[width] : next[width];
  v16f keep = vexp2((v16f)(state[width] - base)), add = vexp2((v16f)(next[width] - base));
  QK_UNROLL for (int64_t d = 0; d < width; d += 16)
      vstore(state + d, vfma(vload(next + d), add, vload(state + d) * keep));
  state[width] = base;
  state[width + 1] = vfma((v16f)next[width + 1], add, (v16f)state[width + 1] * keep)[0];
}

/* All stretches of an item of one query, one after the other. */
QK_INLINE void attendSingle(const Attention *a, const Item *item, const float *q, float *out) {
  int64_t floats = stateFloats(a);
  float x[a->group * a->padded] __attribute__((aligned(64)));
  float states[2][a->group * floats] __attribute__((aligned(64)));
  loadQueries(a, item, q, x);
  QkRange range = stretchesOf(a, item->sequence->past);
  attendStretch(a, item, x, range.begin, states[0], floats);
  QK_NOUNROLL for (int64_t s = range.begin + 1; s < range.end; ++s) {
    attendStretch(a, item, x, s, states[1], floats);
    QK_NOUNROLL for (int64_t r = 0; r < item->heads; ++r)
        mergeState(a, states[0] + r * floats, states[1] + r * floats);
  }
  QK_NOUNROLL for (int64_t r = 0; r < item->heads; ++r)
      finishRow(a, states[0] + r * floats, states[0][r * floats + a->padded + 1],
                out + (item->sequence->first_row * a->heads + item->head + r) * a->cache.headDim);
}

/* Whether the stretches of single queries are items. */
QK_INLINE int isSplit(const Attention *a, const qplan_args_v1 *args) {
  int64_t singles = 0;
  for (int64_t s = 0; s < args->sequences; ++s)
    singles += args->sequence[s].rows == 1;
  return singles <= a->splitRows;
}

/* The state of a head after a stretch, of the single query number `single`. */
QK_INLINE float *stateOf(const Attention *a, float *states, int64_t single, int64_t head,
                         int64_t stretch) {
  return states + ((single * a->heads + head) * a->splits + stretch) * stateFloats(a);
}

/*===- Items ---------------------------------------------------------------===*/

/* Items of a sequence, where a block of queries is `parts` of them. */
QK_INLINE int64_t itemsOf(const Attention *a, const qplan_sequence_v1 *sequence, int split,
                          int64_t parts) {
  if (sequence->rows != 1)
    return qkCeilDiv(sequence->rows, a->queries) * parts;
  QkRange range = stretchesOf(a, sequence->past);
  return a->cache.kvHeads * (split ? range.end - range.begin : 1);
}

QK_INLINE int64_t allItems(const Attention *a, const qplan_args_v1 *args, int64_t parts) {
  int64_t items = 0;
  int split = isSplit(a, args);
  for (int64_t s = 0; s < args->sequences; ++s)
    items += itemsOf(a, &args->sequence[s], split, parts);
  return items;
}

/* Item i of a sequence of one query. */
QK_INLINE void runSingle(const Attention *a, const qplan_sequence_v1 *sequence, int split,
                         int64_t single, int64_t i, uint8_t *const *buffers) {
  const float *q = (const float *)buffers[0];
  Item item = {sequence, 0, 1, i % a->cache.kvHeads * a->group, a->group};
  if (!split) {
    attendSingle(a, &item, q, (float *)buffers[1]);
    return;
  }
  int64_t stretch = stretchesOf(a, sequence->past).begin + i / a->cache.kvHeads;
  float x[a->group * a->padded] __attribute__((aligned(64)));
  loadQueries(a, &item, q, x);
  attendStretch(a, &item, x, stretch, stateOf(a, (float *)buffers[2], single, item.head, stretch),
                a->splits * stateFloats(a));
}

/* Items go round the parts. Where there are fewer blocks of queries than parts, an item
 * is one query head: keys are then loaded once for each, but all threads have work. */
QK_KERNEL(attention) {
  Attention a = attentionOf(params, weights);
  int64_t cut = allItems(&a, args, a.cache.kvHeads) < count ? a.group : 1, heads = a.group / cut;
  int64_t parts = a.cache.kvHeads * cut, before = 0, single = 0;
  int split = isSplit(&a, args);
  QK_NOUNROLL for (int64_t s = 0; s < args->sequences; ++s) {
    const qplan_sequence_v1 *sequence = &args->sequence[s];
    int64_t items = itemsOf(&a, sequence, split, parts), blocks = items / parts;
    int64_t mine = (index - before % count + count) % count;
    QK_NOUNROLL for (int64_t i = mine; i < items; i += count) {
      if (sequence->rows == 1) {
        runSingle(&a, sequence, split, single, i, buffers);
        continue;
      }
      /* The last queries see the most keys: they come first. */
      int64_t first = (blocks - 1 - i / parts) * a.queries;
      Item item = {sequence, first, qkMin(a.queries, sequence->rows - first), i % parts * heads,
                   heads};
      attendBlock(&a, &item, (const float *)buffers[0], (float *)buffers[1]);
    }
    before += items;
    single += sequence->rows == 1;
  }
}

QK_TASKS(attention) {
  Attention a = attentionOf(params, 0);
  int64_t work = 0, longest = 0;
  for (int64_t s = 0; s < args->sequences; ++s) {
    work += args->sequence[s].rows * (args->sequence[s].past + args->sequence[s].rows);
    longest = qkMax(longest, args->sequence[s].rows);
  }
  work *= a.heads * a.cache.headDim;
  if (work < 131072 || threads == 1)
    return 1;
  int64_t items = allItems(&a, args, a.cache.kvHeads);
  /* Loading keys and values costs about 1.5 times what a query head does with them:
   * the longer of the two schedules loses. */
  int64_t whole = qkCeilDiv(items, threads) * (3 + 2 * a.group);
  int64_t cut = qkCeilDiv(items * a.group, threads) * 5;
  return longest == 1 || whole <= cut ? qkMin(items, threads * 8) : items * a.group;
}

/* Single queries whose stretches were items: all of their heads. */
QK_INLINE int64_t mergedHeads(const Attention *a, const qplan_args_v1 *args) {
  int64_t singles = 0;
  for (int64_t s = 0; s < args->sequences; ++s)
    singles += args->sequence[s].rows == 1;
  return singles <= a->splitRows ? singles * a->heads : 0;
}

QK_KERNEL(attention_merge) {
  Attention a = attentionOf(params, 0);
  QkRange part = qkPart(mergedHeads(&a, args), index, count);
  if (part.begin == part.end)
    return;
  int64_t single = 0;
  QK_NOUNROLL for (int64_t s = 0; s < args->sequences; ++s) {
    const qplan_sequence_v1 *sequence = &args->sequence[s];
    if (sequence->rows != 1)
      continue;
    QkRange range = stretchesOf(&a, sequence->past);
    int64_t begin = qkMax(part.begin - single * a.heads, 0);
    int64_t end = qkMin(part.end - single * a.heads, a.heads);
    QK_NOUNROLL for (int64_t head = begin; head < end; ++head) {
      float *state = stateOf(&a, (float *)buffers[0], single, head, range.begin);
      QK_NOUNROLL for (int64_t i = range.begin + 1; i < range.end; ++i)
          mergeState(&a, state, stateOf(&a, (float *)buffers[0], single, head, i));
      finishRow(&a, state, state[a.padded + 1],
                (float *)buffers[1] + (sequence->first_row * a.heads + head) * a.cache.headDim);
    }
    ++single;
  }
}
QK_TASKS(attention_merge) {
  Attention a = attentionOf(params, 0);
  int64_t stretches = 0;
  for (int64_t s = 0; s < args->sequences; ++s)
    stretches = qkMax(stretches, args->sequence[s].past / a.splitKeys + 1);
  return qkRowTasks(mergedHeads(&a, args), stretches * a.padded, threads);
}
