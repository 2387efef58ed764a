/*===- simd.h - sixteen-lane vectors for the kernels ----------------------===//
 *
 * Every kernel works on logical vectors of 16 lanes. They are clang extended
 * vectors, which the code generator legalises to one zmm, two ymm or four NEON
 * registers, so that the kernels are written once. What plain vector code cannot
 * express well (integer dot products, table look-ups, f16) is in isa.h.
 *
 * Multiply-add is always spelled vfma, and contraction is off: each output is
 * then rounded in the same way in every tile size, so that results do not depend
 * on how the work is split.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_KERNELS_SIMD_H
#define QPLAN_KERNELS_SIMD_H

#include "kernels.h"

#include <stdint.h>

#define QK_INLINE static inline __attribute__((always_inline))
#define QK_UNROLL _Pragma("clang loop unroll(full)")
#define QK_NOUNROLL _Pragma("clang loop unroll(disable)")

/* Symbols carry the level's name in native builds, where several are linked. */
#ifdef QK_LEVEL
#define QK_PASTE_(a, b) a##_##b
#define QK_PASTE(a, b) QK_PASTE_(a, b)
#define QK_SYMBOL(name) QK_PASTE(name, QK_LEVEL)
#else
#define QK_SYMBOL(name) name
#endif
/* All kernels share one signature; few use all of it. */
#pragma clang diagnostic ignored "-Wunused-parameter"
#define QK_KERNEL(name)                                                                            \
  __attribute__((always_inline)) void QK_SYMBOL(qk_##name)(                                        \
      const qplan_args_v1 *args, const int64_t *params, uint8_t *const *buffers,                   \
      const uint8_t *const *weights, int64_t index, int64_t count)
#define QK_TASKS(name)                                                                             \
  __attribute__((always_inline)) int64_t QK_SYMBOL(qk_##name##_tasks)(                             \
      const qplan_args_v1 *args, const int64_t *params, int64_t threads)

typedef float v16f __attribute__((ext_vector_type(16)));
typedef int32_t v16i __attribute__((ext_vector_type(16)));
typedef uint32_t v16u __attribute__((ext_vector_type(16)));
typedef int16_t v16s __attribute__((ext_vector_type(16)));
typedef uint16_t v16us __attribute__((ext_vector_type(16)));
typedef int8_t v16c __attribute__((ext_vector_type(16)));
typedef double v16d __attribute__((ext_vector_type(16)));
typedef int64_t v16l __attribute__((ext_vector_type(16)));
typedef uint8_t v16b __attribute__((ext_vector_type(16)));
typedef uint8_t v64b __attribute__((ext_vector_type(64)));
typedef int16_t v32s __attribute__((ext_vector_type(32)));
typedef uint16_t v32us __attribute__((ext_vector_type(32)));

/* A double stored in a param by its bits. */
QK_INLINE double qkDouble(int64_t bits) {
  double value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}
QK_INLINE int64_t qkMin(int64_t a, int64_t b) { return a < b ? a : b; }
QK_INLINE int64_t qkMax(int64_t a, int64_t b) { return a > b ? a : b; }
QK_INLINE int64_t qkCeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
QK_INLINE int64_t qkAlign64(int64_t n) { return (n + 63) / 64 * 64; }

/* Rows of a launch: see `rows` in Kernels.inc. */
QK_INLINE int64_t qkRows(const qplan_args_v1 *args, int64_t rows) {
  return rows == 0 ? args->tokens : rows == 1 ? args->logit_rows : args->tokens * rows;
}

/* The part [begin, end) of n items that belongs to part `index` of `count`. */
typedef struct {
  int64_t begin, end;
} QkRange;
QK_INLINE QkRange qkPart(int64_t n, int64_t index, int64_t count) {
  QkRange range = {n * index / count, n * (index + 1) / count};
  return range;
}

/* Parts for n rows of `cost` scalar operations each: none is worth less than the
 * few microseconds that it takes to wake a thread. */
QK_INLINE int64_t qkRowTasks(int64_t n, int64_t cost, int64_t threads) {
  return qkMax(1, qkMin(qkMin(n, threads), n * cost / 32768));
}

QK_INLINE v16f vload(const void *p) {
  v16f v;
  __builtin_memcpy(&v, p, 64);
  return v;
}
QK_INLINE void vstore(void *p, v16f v) { __builtin_memcpy(p, &v, 64); }
QK_INLINE v16u vloadu(const void *p) {
  v16u v;
  __builtin_memcpy(&v, p, 64);
  return v;
}
QK_INLINE v16u vfrombytes(const void *p) {
  v16b v;
  __builtin_memcpy(&v, p, 16);
  return __builtin_convertvector(v, v16u);
}
/* The first n (at most 16) floats; the other lanes are 0. */
QK_INLINE v16f vloadn(const float *p, int64_t n) {
  if (n >= 16)
    return vload(p);
  v16f v = (v16f)0.0f;
  __builtin_memcpy(&v, p, (unsigned long)n * 4);
  return v;
}
QK_INLINE void vstoren(float *p, v16f v, int64_t n) {
  if (n >= 16)
    vstore(p, v);
  else
    __builtin_memcpy(p, &v, (unsigned long)n * 4);
}

QK_INLINE v16f vmax(v16f a, v16f b) { return a > b ? a : b; }
QK_INLINE v16f vmin(v16f a, v16f b) { return a < b ? a : b; }
QK_INLINE v16f vabs(v16f a) { return (v16f)((v16u)a & 0x7fffffffu); }
/* Nearest even, for |a| < 2^22. */
QK_INLINE v16f vround(v16f a) { return (a + 12582912.0f) - 12582912.0f; }
QK_INLINE v16i vtoint(v16f a) { return __builtin_convertvector(a, v16i); }
QK_INLINE v16f vtofloat(v16i a) { return __builtin_convertvector(a, v16f); }

/* Horizontal reductions, always in the same order: halves are added. */
#define QK_REDUCE(name, type, scalar, op)                                                          \
  QK_INLINE scalar name(type v) {                                                                  \
    v = op(v, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13,    \
                                      14, 15));                                                    \
    v = op(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7));      \
    v = op(v, __builtin_shufflevector(v, v, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3));      \
    return op(v,                                                                                   \
              __builtin_shufflevector(v, v, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1))[0];   \
  }
#define QK_ADD(a, b) ((a) + (b))
QK_REDUCE(vsum, v16f, float, QK_ADD)
QK_REDUCE(vsumi, v16i, int32_t, QK_ADD)
QK_REDUCE(vsumd, v16d, double, QK_ADD)
QK_REDUCE(vhmax, v16f, float, vmax)
#undef QK_REDUCE
#undef QK_ADD

#include "isa.h"

#endif /* QPLAN_KERNELS_SIMD_H */
