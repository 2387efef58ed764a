/*===- isa.h - what differs between instruction sets ----------------------===//
 *
 * The level is chosen by the compiler's feature macros. Each level supplies
 *   vfma          a * b + c (fused, where the hardware has it)
 *   vfromhalf     16 f16 -> f32;   vtohalf: the reverse, nearest even
 *   vlookup       table[index & 15]
 *   dot4          acc[r] += sum over i < 4 of code[4r+i] * activation[i], exact
 *   nibble sums   the same for codes below 16, where a level can save work by
 *                 adding in 16 bits: nibbleBegin, nibbleDot, nibbleEnd around at
 *                 most 32 columns (8 * 2 * 15 * 127 < 2^15)
 *
 * QK_UNPACK_NIBBLES: 1 where dot4 is as fast as the nibble sums, so that codes of 4
 * bits are best unpacked once for many rows.
 * QK_TILE(wide, narrow): the size of a register tile.
 * QK_CODE_BIAS: levels that multiply signed by signed see codes minus 128; dot4
 * then returns a sum that is short by 128 * sum of activations, which the caller
 * adds where it subtracts the zero point.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_KERNELS_ISA_H
#define QPLAN_KERNELS_ISA_H

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* Register tiles are chosen for 32 registers of 16 lanes, or for what equals 8. */
#if defined(__AVX512F__)
#define QK_TILE(wide, narrow) (wide)
#else
#define QK_TILE(wide, narrow) (narrow)
#endif

#if defined(__FMA__) || defined(__aarch64__)
QK_INLINE v16f vfma(v16f a, v16f b, v16f c) { return __builtin_elementwise_fma(a, b, c); }
#else
QK_INLINE v16f vfma(v16f a, v16f b, v16f c) { return a * b + c; }
#endif

/*===- f16 and bf16 --------------------------------------------------------===*/

#if defined(__F16C__) || defined(__aarch64__)
typedef _Float16 v16h __attribute__((ext_vector_type(16)));
QK_INLINE v16f vfromhalf(const void *p) {
  v16h h;
  __builtin_memcpy(&h, p, 32);
  return __builtin_convertvector(h, v16f);
}
QK_INLINE v16us vtohalf(v16f v) { return (v16us) __builtin_convertvector(v, v16h); }
#else
QK_INLINE v16f vfromhalf(const void *p) {
  v16us h;
  __builtin_memcpy(&h, p, 32);
  v16u bits = __builtin_convertvector(h, v16u);
  v16u sign = (bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
  /* Moved into place, the exponent is short by 112; a multiplication adds it and
   * makes subnormals right. Infinities and NaN need theirs set. */
  v16f value = (v16f)(magnitude << 13) * 0x1p112f;
  v16u special = magnitude >= 0x7c00u ? (v16u)0x7f800000u : (v16u)0u;
  return (v16f)((v16u)value | special | sign);
}
QK_INLINE v16us vtohalf(v16f v) {
  v16u bits = (v16u)v, sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  v16u normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  /* Below 2^-14: adding 0.5 leaves the rounded significand in the low bits. */
  v16u tiny = (v16u)((v16f)magnitude + 0.5f) - 0x3f000000u;
  v16u large = magnitude > 0x7f800000u ? (v16u)0x7e00u : (v16u)0x7c00u;
  v16u half = magnitude < 0x38800000u ? tiny : normal;
  half = magnitude >= 0x477ff000u ? large : half;
  return __builtin_convertvector(half | sign, v16us);
}
#endif

QK_INLINE v16f vfrombf16(const void *p) {
  v16us h;
  __builtin_memcpy(&h, p, 32);
  return (v16f)(__builtin_convertvector(h, v16u) << 16);
}
/* Nearest even; NaN stays NaN. */
QK_INLINE v16us vtobf16(v16f v) {
  v16u bits = (v16u)v;
  v16u rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  v16u quiet = (bits >> 16) | 0x40u;
  rounded = (bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded;
  return __builtin_convertvector(rounded, v16us);
}

/*===- Table look-up -------------------------------------------------------===*/

#if defined(__AVX512F__)
#define QK_HAS_LOOKUP 1
/* Bits above the fourth of an index are ignored. */
QK_INLINE v16f vlookup(v16f table, v16u index) {
  return (v16f)_mm512_permutexvar_ps((__m512i)index, (__m512)table);
}
#else
#define QK_HAS_LOOKUP 0
#endif

/*===- Integer dot products ------------------------------------------------===*/

#if defined(__AVX512VNNI__)

#define QK_CODE_BIAS 0
#define QK_UNPACK_NIBBLES 1
QK_INLINE v16i dot4(v16i acc, v64b codes, int32_t activations) {
  return (v16i)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)codes, _mm512_set1_epi32(activations));
}
typedef v16i nibbleSum;
QK_INLINE nibbleSum nibbleBegin(v16i acc) { return acc; }
QK_INLINE nibbleSum nibbleDot(nibbleSum sum, v64b codes, int32_t a) { return dot4(sum, codes, a); }
QK_INLINE v16i nibbleEnd(nibbleSum sum, v16i acc) {
  (void)acc;
  return sum;
}

#elif defined(__AVX512BW__)

#define QK_CODE_BIAS 0
/* Eight bits times eight do not fit 16: even and odd columns are widened. */
QK_INLINE v16i dot4(v16i acc, v64b codes, int32_t activations) {
  v32s a = (v32s)(v16i)activations;
  v32s even = (v32s)((v32us)codes & 0xff), odd = (v32s)((v32us)codes >> 8);
  acc += (v16i)_mm512_madd_epi16((__m512i)even, (__m512i)((a << 8) >> 8));
  return acc + (v16i)_mm512_madd_epi16((__m512i)odd, (__m512i)(a >> 8));
}
typedef v32s nibbleSum;
QK_INLINE nibbleSum nibbleBegin(v16i acc) {
  (void)acc;
  return (nibbleSum)0;
}
QK_INLINE nibbleSum nibbleDot(nibbleSum sum, v64b codes, int32_t a) {
  return sum + (v32s)_mm512_maddubs_epi16((__m512i)codes, _mm512_set1_epi32(a));
}
QK_INLINE v16i nibbleEnd(nibbleSum sum, v16i acc) {
  return acc + (v16i)_mm512_madd_epi16((__m512i)sum, _mm512_set1_epi16(1));
}

#elif defined(__AVX2__)

#define QK_CODE_BIAS 0
typedef int32_t v8i __attribute__((ext_vector_type(8)));
#define QK_HALVES(function, a, b)                                                                  \
  __builtin_shufflevector((v8i)function((__m256i)((v16i)(a)).lo, (__m256i)((v16i)(b)).lo),         \
                          (v8i)function((__m256i)((v16i)(a)).hi, (__m256i)((v16i)(b)).hi), 0, 1,   \
                          2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
/* Eight bits times eight do not fit 16: even and odd columns are widened. */
QK_INLINE v16i dot4(v16i acc, v64b codes, int32_t activations) {
  v32s a = (v32s)(v16i)activations;
  v32s even = (v32s)((v32us)codes & 0xff), odd = (v32s)((v32us)codes >> 8);
  acc += QK_HALVES(_mm256_madd_epi16, even, (a << 8) >> 8);
  return acc + QK_HALVES(_mm256_madd_epi16, odd, a >> 8);
}
typedef v32s nibbleSum;
QK_INLINE nibbleSum nibbleBegin(v16i acc) {
  (void)acc;
  return (nibbleSum)0;
}
QK_INLINE nibbleSum nibbleDot(nibbleSum sum, v64b codes, int32_t a) {
  return sum + (v32s)QK_HALVES(_mm256_maddubs_epi16, codes, (v16i)a);
}
QK_INLINE v16i nibbleEnd(nibbleSum sum, v16i acc) {
  return acc + QK_HALVES(_mm256_madd_epi16, sum, (v32s)1);
}

#elif defined(__ARM_FEATURE_DOTPROD)

#define QK_CODE_BIAS 128
typedef int8_t v64c __attribute__((ext_vector_type(64)));
QK_INLINE v16i signedDot(v16i acc, v64c codes, int32_t activations) {
  int32x4_t sums[4];
  int8x16_t parts[4];
  int8x16_t a = vreinterpretq_s8_s32(vdupq_n_s32(activations));
  __builtin_memcpy(sums, &acc, 64);
  __builtin_memcpy(parts, &codes, 64);
  for (int i = 0; i < 4; ++i)
    sums[i] = vdotq_s32(sums[i], parts[i], a);
  __builtin_memcpy(&acc, sums, 64);
  return acc;
}
QK_INLINE v16i dot4(v16i acc, v64b codes, int32_t activations) {
  return signedDot(acc, (v64c)(codes ^ 0x80), activations);
}
typedef v16i nibbleSum;
QK_INLINE nibbleSum nibbleBegin(v16i acc) { return acc; }
QK_INLINE nibbleSum nibbleDot(nibbleSum sum, v64b codes, int32_t a) {
  return signedDot(sum, (v64c)codes, a);
}
QK_INLINE v16i nibbleEnd(nibbleSum sum, v16i acc) {
  (void)acc;
  return sum;
}

#else

#define QK_CODE_BIAS 0
QK_INLINE v16i dot4(v16i acc, v64b codes, int32_t activations) {
  v16u words = (v16u)codes;
  acc += (v16i)(words & 0xffu) * (int32_t)(int8_t)activations;
  acc += (v16i)((words >> 8) & 0xffu) * (int32_t)(int8_t)(activations >> 8);
  acc += (v16i)((words >> 16) & 0xffu) * (int32_t)(int8_t)(activations >> 16);
  return acc + (v16i)(words >> 24) * (int32_t)(int8_t)(activations >> 24);
}
typedef v16i nibbleSum;
QK_INLINE nibbleSum nibbleBegin(v16i acc) { return acc; }
QK_INLINE nibbleSum nibbleDot(nibbleSum sum, v64b codes, int32_t a) { return dot4(sum, codes, a); }
QK_INLINE v16i nibbleEnd(nibbleSum sum, v16i acc) {
  (void)acc;
  return sum;
}

#endif

#ifndef QK_UNPACK_NIBBLES
#define QK_UNPACK_NIBBLES 0
#endif

#endif /* QPLAN_KERNELS_ISA_H */
