/*===- rope.c - rotary positions -------------------------------------------===//
 *
 * The angles are made once for each pass and shared by all layers. They are
 * reduced in f64, so that the last positions of a long context are as exact as
 * the first.
 *===----------------------------------------------------------------------===*/
#include "vmath.h"

QK_KERNEL(rope_table) {
  int64_t half = params[0];
  double scale = qkDouble(params[1]);
  const float *frequency = (const float *)weights[0];
  QkRange rows = qkPart(args->tokens, index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    float *out = (float *)buffers[0] + row * 2 * half;
    for (int64_t i = 0; i < half; i += 16) {
      v16d angle = __builtin_convertvector(vloadn(frequency + i, half - i), v16d);
      v16d sine, cosine;
      vsincos(angle * (double)args->positions[row], &sine, &cosine);
      vstoren(out + i, __builtin_convertvector(cosine * scale, v16f), half - i);
      vstoren(out + half + i, __builtin_convertvector(sine * scale, v16f), half - i);
    }
  }
}
QK_TASKS(rope_table) { return qkRowTasks(args->tokens, params[0] * 8, threads); }

/* Pairs are (i, i + half), sixteen at a time. */
QK_INLINE void rotateHalves(float *x, const float *table, int64_t half) {
  for (int64_t i = 0; i < half; i += 16) {
    int64_t left = half - i;
    v16f cosine = vloadn(table + i, left), sine = vloadn(table + half + i, left);
    v16f a = vloadn(x + i, left), b = vloadn(x + half + i, left);
    vstoren(x + i, vfma(a, cosine, -(b * sine)), left);
    vstoren(x + half + i, vfma(b, cosine, a * sine), left);
  }
}

/* Pairs are (2i, 2i + 1), eight at a time. */
QK_INLINE void rotateAdjacent(float *x, const float *table, int64_t half) {
  int64_t i = 0;
  for (; i + 8 <= half; i += 8) {
    v16f v = vload(x + 2 * i), swapped;
    v16f cosine = (v16f)0.0f, sine = (v16f)0.0f;
    __builtin_memcpy(&cosine, table + i, 32);
    __builtin_memcpy(&sine, table + half + i, 32);
    cosine =
        __builtin_shufflevector(cosine, cosine, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    sine = __builtin_shufflevector(sine, -sine, 16, 0, 17, 1, 18, 2, 19, 3, 20, 4, 21, 5, 22, 6, 23,
                                   7);
    swapped = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    vstore(x + 2 * i, vfma(v, cosine, swapped * sine));
  }
  for (; i < half; ++i) {
    v16f a = (v16f)x[2 * i], b = (v16f)x[2 * i + 1];
    x[2 * i] = vfma(a, (v16f)table[i], -(b * table[half + i]))[0];
    x[2 * i + 1] = vfma(b, (v16f)table[i], a * table[half + i])[0];
  }
}

QK_KERNEL(rope) {
  int64_t heads = params[0], headDim = params[1], half = params[2] / 2, column = params[3];
  int64_t ld = params[4];
  QkRange rows = qkPart(args->tokens, index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float *table = (const float *)buffers[1] + row * 2 * half;
    QK_NOUNROLL for (int64_t head = 0; head < heads; ++head) {
      float *x = (float *)buffers[0] + row * ld + column + head * headDim;
      if (params[5] == QK_ROPE_HALF)
        rotateHalves(x, table, half);
      else
        rotateAdjacent(x, table, half);
    }
  }
}
QK_TASKS(rope) { return qkRowTasks(args->tokens, params[0] * params[2], threads); }
