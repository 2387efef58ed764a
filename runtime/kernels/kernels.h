/*===- kernels.h - the contract between kernels and the compiler ----------===//
 *
 * A kernel is one always-inline C function over vector extensions, compiled to
 * bitcode once per instruction set (see Kernels.inc and isa.h) and embedded in
 * the compiler. Code generation makes one copy for each distinct `params`
 * (specialisation: the array is constant there, so sizes, formats and flags
 * fold away) and calls it for each launch of the plan.
 *
 *   void qk_NAME(const qplan_args_v1 *args, const int64_t *params,
 *                uint8_t *const *buffers, const uint8_t *const *weights,
 *                int64_t index, int64_t count);
 *   int64_t qk_NAME_tasks(const qplan_args_v1 *args, const int64_t *params,
 *                         int64_t threads);
 *
 * The first does part `index` of `count` of the work; parts may run at the same
 * time on different threads and must write disjoint memory. The result must not
 * depend on `count` (each output is reduced in one fixed order). The second says
 * into how many parts the work should be split (1 = run it on the caller).
 *
 * `params` are named per kernel in Kernels.inc, in that order; floats are stored
 * as the bits of a double. `buffers` point into the arena (activations,
 * row-major [tokens, width], 64-byte aligned), `weights` into weights.bin
 * (64-byte aligned). Kernels call nothing but memcpy and memset.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_KERNELS_H
#define QPLAN_KERNELS_H

#include "qplan/abi.h"

/* How the elements of a packed weight matrix lie (PanelLayout in
 * ir/packings/Panel16.h describes the bytes). */
enum qk_element {
  QK_F32 = 0,  /* 16 rows x 1 column of f32 a step (64 bytes) */
  QK_F16 = 1,  /* 16 rows x 1 column of f16 a step (32 bytes) */
  QK_BF16 = 2, /* 16 rows x 2 columns of bf16 a step (64 bytes) */
  QK_U4 = 3,   /* 16 rows x 8 columns of unsigned 4-bit codes a step (64 bytes) */
  QK_U8 = 4,   /* 16 rows x 4 columns of unsigned 8-bit codes a step (64 bytes) */
  QK_E4M3 = 5, /* as QK_U8, codes are f8E4M3FN bit patterns */
  /* Unsigned codes in planes of 4, 2 and 1 bits. */
  QK_U2 = 6,  /* 16 rows x 16 columns a step (64 bytes) */
  QK_U3 = 7,  /* 16 rows x 32 columns a step (192 bytes) */
  QK_U5 = 8,  /* 16 rows x 32 columns a step (320 bytes) */
  QK_U6 = 9,  /* 16 rows x 16 columns a step (192 bytes) */
  QK_U7 = 10, /* 16 rows x 32 columns a step (448 bytes) */
  /* Floats of 8 bits as QK_U8, of 6 as QK_U6: ExMy has x exponent and y mantissa bits. */
  QK_E5M2 = 11,
  QK_E3M4 = 12,
  QK_E2M5 = 13,
  QK_E3M2 = 14,
  QK_E2M3 = 15,
  /* As QK_U4, codes are indices of the tables in panel.h. */
  QK_E2M1 = 16,
  QK_NF4 = 17,
  QK_FP4 = 18,
  QK_IQ4 = 19,
  QK_TRELLIS = 20, /* 32 bits of the string of each of 16 tcq rows a step (64 bytes) */
  QK_MX8 = 21,     /* as QK_U8, codes less 128 count 1/64 */
  QK_E1M2 = 22,    /* as QK_E2M1 */
  QK_E3M0 = 23,
  QK_MIXED = 24,   /* groups of 32 columns as QK_U2 to QK_U6 or QK_U8, 64 bytes a bit */
  QK_TABLE4 = 25,  /* as QK_E2M1; the panel begins with what its codes stand for, 16 f32 */
  /* Added to F16, BF16, U4, U8 or E4M3: of each four columns at most two are stored. */
  QK_SPARSE24 = 64
};
/* Of 16 rows and a group of columns. The last two are of two levels: bytes of groups times
 * floats of rows. */
enum qk_scale {
  QK_SCALE_NONE = 0,
  QK_SCALE_F16 = 1,
  QK_SCALE_F32 = 2,
  QK_SCALE_E8M0 = 3, /* bytes: 2^(byte - 127) */
  QK_SCALE_E4M3 = 4, /* f8E4M3FN bytes, times one f32 of each row */
  QK_SCALE_SUPER = 6 /* signed bytes, times one f16 of each row and 256 columns */
};
/* What the codes of cached keys and values are (kv.h). */
enum qk_kv_element {
  QK_KV_F32 = 0,
  QK_KV_F16 = 1,
  QK_KV_BF16 = 2,
  QK_KV_I4 = 3,
  QK_KV_I8 = 4,
  QK_KV_E4M3 = 5,
  QK_KV_E2M1 = 6
};
/* Type of their stored scales, besides those of enum qk_scale. */
enum { QK_KV_SCALE_E4M3 = 4 };
enum qk_activation { QK_SILU = 0, QK_GELU_TANH = 1, QK_GELU_ERF = 2, QK_RELU = 3 };
enum qk_rope_style { QK_ROPE_HALF = 0, QK_ROPE_ADJACENT = 1 };

#endif /* QPLAN_KERNELS_H */
