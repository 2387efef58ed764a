/*===- kernels_shapes.c - specialised kernels for the benchmark -----------===//
 *
 * Compiled once, with this machine's features, together with the kernels' own
 * sources: a constant params array makes the compiler specialise each call, as
 * code generation does with the bitcode.
 *===----------------------------------------------------------------------===*/
#include "runtime/kernels/attention.c"
#include "runtime/kernels/linear_f32.c"
/* Both files have these. */
#define ExpertPairs ExpertPairsQ8
#define Ahead AheadQ8
#define BlockRows BlockRowsQ8
#include "runtime/kernels/linear_q8.c"

typedef struct {
  const char *name;
  int64_t N, K;
  int quantized;
  const int64_t *params;
  void (*run)(const qplan_args_v1 *, uint8_t *const *, const uint8_t *const *, int64_t, int64_t);
} QkBenchShape;
typedef struct {
  const char *name;
  int64_t vectorBytes;
  void (*run)(const qplan_args_v1 *, uint8_t *const *, const uint8_t *const *, int64_t, int64_t);
} QkBenchCache;

#define ONE 0x3ff0000000000000
#define Q8_SHAPE(id, N, K, element, group, scale, offset, act)                                     \
  static const int64_t id##_params[] = {                                                           \
      N, K, element, group, scale, 0, offset, act, act < group ? act : group,                      \
      N, 0, 0,       0,     ONE,   0, 0};                                                          \
  static void id(const qplan_args_v1 *args, uint8_t *const *buffers,                               \
                 const uint8_t *const *weights, int64_t index, int64_t count) {                    \
    qk_linear_q8(args, id##_params, buffers, weights, index, count);                               \
  }
#define F32_SHAPE(id, N, K, element, group, scale, offset)                                         \
  static const int64_t id##_params[] = {N, K, element, group, scale, 0, offset, K,                 \
                                        N, 0, 0,       0,     ONE,   0, 0};                        \
  static void id(const qplan_args_v1 *args, uint8_t *const *buffers,                               \
                 const uint8_t *const *weights, int64_t index, int64_t count) {                    \
    qk_linear_f32(args, id##_params, buffers, weights, index, count);                              \
  }

/* name, N, K, element, group, scale, offset, actGroup */
#define Q8_SHAPES(X)                                                                               \
  X(qkv_u4_g32, 960, 576, QK_U4, 32, QK_SCALE_F16, 8, 32)                                          \
  X(o_u4_g32, 576, 576, QK_U4, 32, QK_SCALE_F16, 8, 32)                                            \
  X(gate_up_u4_g32, 3072, 576, QK_U4, 32, QK_SCALE_F16, 8, 32)                                     \
  X(down_u4_g32, 576, 1536, QK_U4, 32, QK_SCALE_F16, 8, 32)                                        \
  X(gate_up_u4_g64_token, 3072, 576, QK_U4, 64, QK_SCALE_F16, 8, 576)                              \
  X(gate_up_u3_g32, 3072, 576, QK_U3, 32, QK_SCALE_F16, 4, 32)                                     \
  X(gate_up_u5_g32, 3072, 576, QK_U5, 32, QK_SCALE_F16, 16, 32)                                    \
  X(gate_up_u6_g32, 3072, 576, QK_U6, 32, QK_SCALE_F16, 32, 32)                                    \
  X(gate_up_u8_g32, 3072, 576, QK_U8, 32, QK_SCALE_F16, 128, 32)                                   \
  X(gate_up_mxfp4, 3072, 576, QK_E2M1, 32, QK_SCALE_E8M0, 0, 32)                                   \
  X(gate_up_nvfp4, 3072, 576, QK_E2M1, 16, QK_SCALE_E4M3, 0, 32)                                   \
  X(gate_up_iq4_nl, 3072, 576, QK_IQ4, 32, QK_SCALE_F16, 0, 32)                                    \
  X(gate_up_u8_token, 3072, 576, QK_U8, 576, QK_SCALE_F32, 128, 576)                               \
  X(gate_up_u8_24_token, 3072, 576, QK_SPARSE24 + QK_U8, 576, QK_SCALE_F32, 128, 576)              \
  X(gate_up_u4_g64_24_token, 3072, 576, QK_SPARSE24 + QK_U4, 64, QK_SCALE_F16, 8, 576)             \
  X(down_u6_super, 576, 1536, QK_U6, 16, QK_SCALE_SUPER, 32, 256)                                  \
  X(down_u8_row_token, 576, 1536, QK_U8, 1536, QK_SCALE_F32, 128, 1536)                            \
  X(lm_head_u8_g32, 49152, 576, QK_U8, 32, QK_SCALE_F16, 128, 32)
#define F32_SHAPES(X)                                                                              \
  X(gate_up_f32_u3_g32, 3072, 576, QK_U3, 32, QK_SCALE_F16, 4)                                     \
  X(gate_up_f32_u4_g32, 3072, 576, QK_U4, 32, QK_SCALE_F16, 8)                                     \
  X(gate_up_f32_u5_g32, 3072, 576, QK_U5, 32, QK_SCALE_F16, 16)                                    \
  X(gate_up_f32_u6_g32, 3072, 576, QK_U6, 32, QK_SCALE_F16, 32)                                    \
  X(gate_up_f32_u8_g32, 3072, 576, QK_U8, 32, QK_SCALE_F16, 128)                                   \
  X(gate_up_f32_nf4, 3072, 576, QK_NF4, 64, QK_SCALE_F32, 0)                                       \
  X(gate_up_f32_mxfp4, 3072, 576, QK_E2M1, 32, QK_SCALE_E8M0, 0)                                   \
  X(gate_up_f32_nvfp4, 3072, 576, QK_E2M1, 16, QK_SCALE_E4M3, 0)                                   \
  X(gate_up_f32_iq4_nl, 3072, 576, QK_IQ4, 32, QK_SCALE_F16, 0)                                    \
  X(gate_up_f32_mxfp6, 3072, 576, QK_E3M2, 32, QK_SCALE_E8M0, 0)                                   \
  X(gate_up_f32_mxfp8, 3072, 576, QK_E4M3, 32, QK_SCALE_E8M0, 0)                                   \
  X(gate_up_f32_e4m3, 3072, 576, QK_E4M3, 576, QK_SCALE_F32, 0)                                    \
  X(gate_up_f32_bf16, 3072, 576, QK_BF16, 576, QK_SCALE_NONE, 0)                                   \
  X(gate_up_f32_f16, 3072, 576, QK_F16, 576, QK_SCALE_NONE, 0)                                     \
  X(gate_up_f32_u4_g64_24, 3072, 576, QK_SPARSE24 + QK_U4, 64, QK_SCALE_F16, 8)                    \
  X(gate_up_f32_u8_24, 3072, 576, QK_SPARSE24 + QK_U8, 576, QK_SCALE_F32, 128)                     \
  X(gate_up_f32_e4m3_24, 3072, 576, QK_SPARSE24 + QK_E4M3, 576, QK_SCALE_F32, 0)                   \
  X(gate_up_f32_bf16_24, 3072, 576, QK_SPARSE24 + QK_BF16, 576, QK_SCALE_NONE, 0)                  \
  X(gate_up_f32_f16_24, 3072, 576, QK_SPARSE24 + QK_F16, 576, QK_SCALE_NONE, 0)                    \
  X(gate_up_f32_f32, 3072, 576, QK_F32, 576, QK_SCALE_NONE, 0)

Q8_SHAPES(Q8_SHAPE)
F32_SHAPES(F32_SHAPE)

#define ROW_Q8(id, N, K, element, group, scale, offset, act) {#id, N, K, 1, id##_params, id},
#define ROW_F32(id, N, K, element, group, scale, offset) {#id, N, K, 0, id##_params, id},
const QkBenchShape qkBenchShapes[] = {Q8_SHAPES(ROW_Q8) F32_SHAPES(ROW_F32)};
const int64_t qkBenchShapeCount = sizeof(qkBenchShapes) / sizeof(qkBenchShapes[0]);

/* Bytes of one panel of a shape. */
int64_t qk_bench_panel_bytes(const QkBenchShape *shape) {
  const int64_t *p = shape->params;
  return qkPanels(p[0], p[1], p[2], p[3], p[4], p[5], p[6]).panelBytes;
}

/* 9 query heads, 3 key-value heads of 64; element, group, scale, zero, fixed of the cache and
 * the bytes of a vector; scale 1/8. */
#define CACHES(X)                                                                                  \
  X(f32, QK_KV_F32, 64, QK_SCALE_NONE, 0, 0, 256)                                                     \
  X(f16, QK_KV_F16, 64, QK_SCALE_NONE, 0, 0, 128)                                                     \
  X(int8, QK_KV_I8, 64, QK_SCALE_F32, 0, 0, 68)                                                       \
  X(int4, QK_KV_I4, 32, QK_SCALE_F16, 1, 0, 37)                                                       \
  X(fp8, QK_KV_E4M3, 64, QK_SCALE_NONE, 0, 1, 64)                                                  \
  X(nvfp4, QK_KV_E2M1, 16, QK_KV_SCALE_E4M3, 0, 1, 36)
#define DEFINE_CACHE(id, element, group, scale, zero, fixed, bytes)                                \
  static void attend_##id(const qplan_args_v1 *args, uint8_t *const *buffers,                      \
                          const uint8_t *const *weights, int64_t index, int64_t count) {           \
    static const int64_t params[] = {0,     960,  9,     3,  64, 0, 1, element, group,             \
                                     scale, zero, fixed, 64, 0x3fc0000000000000, 0, 0, 1024, 64, 0}; \
    qk_attention(args, params, buffers, weights, index, count);                                    \
  }
CACHES(DEFINE_CACHE)
#define ROW_CACHE(id, element, group, scale, zero, fixed, bytes) {#id, bytes, attend_##id},
const QkBenchCache qkBenchCaches[] = {CACHES(ROW_CACHE)};
const int64_t qkBenchCacheCount = sizeof(qkBenchCaches) / sizeof(qkBenchCaches[0]);

/* Sixteen sums are enough to hide the latency of any machine. */
double qk_bench_dot_peak(int64_t rounds) {
  v16i acc[16];
  v64b codes = (v64b)1;
  int32_t activations = 0x01010101;
  for (int i = 0; i < 16; ++i)
    acc[i] = (v16i)i;
  __asm__ volatile("" : "+m"(codes), "+r"(activations));
  QK_NOUNROLL for (int64_t r = 0; r < rounds; ++r) {
    QK_UNROLL for (int i = 0; i < 16; ++i) acc[i] = dot4(acc[i], codes, activations);
    __asm__ volatile("" : "+r"(activations));
  }
  v16i sum = acc[0];
  for (int i = 1; i < 16; ++i)
    sum += acc[i];
  __asm__ volatile("" : : "m"(sum));
  return (double)rounds * 16 * 64;
}
double qk_bench_fma_peak(int64_t rounds) {
  v16f acc[16], a = (v16f)0.5f, b = (v16f)0.25f;
  for (int i = 0; i < 16; ++i)
    acc[i] = (v16f)(float)i;
  __asm__ volatile("" : "+m"(a), "+m"(b));
  QK_NOUNROLL for (int64_t r = 0; r < rounds; ++r) QK_UNROLL for (int i = 0; i < 16; ++i) acc[i] =
      vfma(a, acc[i], b);
  v16f sum = acc[0];
  for (int i = 1; i < 16; ++i)
    sum += acc[i];
  __asm__ volatile("" : : "m"(sum));
  return (double)rounds * 16 * 16;
}
float qk_bench_read(const uint8_t *from, int64_t bytes) {
  v16u sum[8];
  for (int i = 0; i < 8; ++i)
    sum[i] = (v16u)0u;
  QK_NOUNROLL for (int64_t at = 0; at + 512 <= bytes; at += 512)
      QK_UNROLL for (int i = 0; i < 8; ++i) sum[i] ^= vloadu(from + at + i * 64);
  for (int i = 1; i < 8; ++i)
    sum[0] ^= sum[i];
  return (float)sum[0][3];
}
