/*===- isa.h - what differs between instruction sets ----------------------===//
 *
 * The level is chosen by the compiler's feature macros. Each level supplies
 *   vfma          a * b + c (fused, where the hardware has it)
 *   vfromhalf     16 f16 -> f32;   vtohalf: the reverse, nearest even
 *   vlookup       table look-ups, see there
 *   dot4          acc[r] += sum over i < 4 of code[4r+i] * activation[i], exact
 *   dotSame       acc[r] += activation * sum over i < 4 of code[4r+i]
 *   dot2          acc[r] += code[2r] * activation[0] + code[2r+1] * activation[1], of 16 bits
 *   narrow sums   dot4 for codes of 7 bits at most, where a level can save work by
 *                 adding in 16 bits: narrowBegin, narrowDot, narrowEnd around at
 *                 most narrowDots(bits) of them (n * 2 * (2^bits - 1) * 127 < 2^15)
 *
 * QK_UNPACK_NIBBLES: 1 where dot4 is as fast as the narrow sums, so that codes of 4
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

/* vlookup: the entry of a table of 16 f32 at the low 4 bits of each lane. vlookup32: of two
 * tables, at the low 5 bits. vlookup8: the byte of a table of 16 at each byte, which is below
 * 16. vshuffle8: in each 16 bytes, the byte of them at each index; 0 where that is 128 or more.
 * QK_HAS_LOOKUP: the first two are one instruction. */
#if defined(__AVX512BW__)
#define QK_HAS_LOOKUP 1
QK_INLINE v16f vlookup(v16f table, v16u index) {
  return (v16f)_mm512_permutexvar_ps((__m512i)index, (__m512)table);
}
QK_INLINE v16f vlookup32(v16f low, v16f high, v16u index) {
  return (v16f)_mm512_permutex2var_ps((__m512)low, (__m512i)index, (__m512)high);
}
QK_INLINE v64b vlookup8(v16b table, v64b index) {
  return (v64b)_mm512_shuffle_epi8(_mm512_broadcast_i32x4((__m128i)table), (__m512i)index);
}
QK_INLINE v64b vshuffle8(v64b bytes, v64b index) {
  return (v64b)_mm512_shuffle_epi8((__m512i)bytes, (__m512i)index);
}
#elif defined(__AVX2__)
#define QK_HAS_LOOKUP 0
typedef float v8f __attribute__((ext_vector_type(8)));
typedef uint32_t v8u __attribute__((ext_vector_type(8)));
QK_INLINE v8f vlookupHalf(v16f table, v8u index) {
  __m256 low = _mm256_permutevar8x32_ps((__m256)table.lo, (__m256i)index);
  __m256 high = _mm256_permutevar8x32_ps((__m256)table.hi, (__m256i)index);
  return (v8f)_mm256_blendv_ps(low, high, (__m256)(index << 28));
}
QK_INLINE v16f vlookup(v16f table, v16u index) {
  return __builtin_shufflevector(vlookupHalf(table, index.lo), vlookupHalf(table, index.hi), 0, 1,
                                 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
QK_INLINE v64b vlookup8(v16b table, v64b index) {
  __m256i wide = _mm256_broadcastsi128_si256((__m128i)table), parts[2];
  __builtin_memcpy(parts, &index, 64);
  parts[0] = _mm256_shuffle_epi8(wide, parts[0]);
  parts[1] = _mm256_shuffle_epi8(wide, parts[1]);
  __builtin_memcpy(&index, parts, 64);
  return index;
}
QK_INLINE v64b vshuffle8(v64b bytes, v64b index) {
  __m256i from[2], parts[2];
  __builtin_memcpy(from, &bytes, 64);
  __builtin_memcpy(parts, &index, 64);
  parts[0] = _mm256_shuffle_epi8(from[0], parts[0]);
  parts[1] = _mm256_shuffle_epi8(from[1], parts[1]);
  __builtin_memcpy(&index, parts, 64);
  return index;
}
#elif defined(__aarch64__)
#define QK_HAS_LOOKUP 0
QK_INLINE v16f vlookup(v16f table, v16u index) {
  uint8x16x4_t bytes;
  __builtin_memcpy(&bytes, &table, 64);
  v16u at = (index & 15u) * 0x04040404u + 0x03020100u; /* of the four bytes of each entry */
  uint8x16_t parts[4];
  __builtin_memcpy(parts, &at, 64);
  for (int i = 0; i < 4; ++i)
    parts[i] = vqtbl4q_u8(bytes, parts[i]);
  v16f value;
  __builtin_memcpy(&value, parts, 64);
  return value;
}
QK_INLINE v64b vlookup8(v16b table, v64b index) {
  uint8x16_t parts[4];
  __builtin_memcpy(parts, &index, 64);
  for (int i = 0; i < 4; ++i)
    parts[i] = vqtbl1q_u8((uint8x16_t)table, parts[i]);
  __builtin_memcpy(&index, parts, 64);
  return index;
}
QK_INLINE v64b vshuffle8(v64b bytes, v64b index) {
  uint8x16_t from[4], parts[4];
  __builtin_memcpy(from, &bytes, 64);
  __builtin_memcpy(parts, &index, 64);
  for (int i = 0; i < 4; ++i)
    parts[i] = vqtbl1q_u8(from[i], parts[i]);
  __builtin_memcpy(&index, parts, 64);
  return index;
}
#else
#define QK_HAS_LOOKUP 0
QK_INLINE v16f vlookup(v16f table, v16u index) {
  float entries[16];
  __builtin_memcpy(entries, &table, 64);
  v16f value;
  for (int i = 0; i < 16; ++i)
    value[i] = entries[index[i] & 15u];
  return value;
}
QK_INLINE v64b vlookup8(v16b table, v64b index) {
  uint8_t entries[16];
  __builtin_memcpy(entries, &table, 16);
  for (int i = 0; i < 64; ++i)
    index[i] = entries[index[i] & 15];
  return index;
}
QK_INLINE v64b vshuffle8(v64b bytes, v64b index) {
  uint8_t from[64];
  __builtin_memcpy(from, &bytes, 64);
  for (int i = 0; i < 64; ++i)
    index[i] = index[i] < 128 ? from[i / 16 * 16 + index[i] % 16] : 0;
  return index;
}
#endif

/*===- Integer dot products ------------------------------------------------===*/

/* Dots that one narrow sum of codes of `bits` bits can hold. */
QK_INLINE int narrowDots(int64_t bits) { return (int)(32767 / (2 * 127 * ((1 << bits) - 1))); }

#if defined(__AVX512VNNI__)

#define QK_CODE_BIAS 0
#define QK_UNPACK_NIBBLES 1
QK_INLINE v16i dot4(v16i acc, v64b codes, int32_t activations) {
  return (v16i)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)codes, _mm512_set1_epi32(activations));
}
QK_INLINE v16i dot2(v16i acc, v32s codes, int32_t activations) {
  return (v16i)_mm512_dpwssd_epi32((__m512i)acc, (__m512i)codes, _mm512_set1_epi32(activations));
}
typedef v16i narrowSum;
QK_INLINE narrowSum narrowBegin(v16i acc) { return acc; }
QK_INLINE narrowSum narrowDot(narrowSum sum, v64b codes, int32_t a) { return dot4(sum, codes, a); }
QK_INLINE v16i narrowEnd(narrowSum sum, v16i acc) {
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
QK_INLINE v16i dot2(v16i acc, v32s codes, int32_t activations) {
  return acc + (v16i)_mm512_madd_epi16((__m512i)codes, _mm512_set1_epi32(activations));
}
typedef v32s narrowSum;
QK_INLINE narrowSum narrowBegin(v16i acc) {
  (void)acc;
  return (narrowSum)0;
}
QK_INLINE narrowSum narrowDot(narrowSum sum, v64b codes, int32_t a) {
  return sum + (v32s)_mm512_maddubs_epi16((__m512i)codes, _mm512_set1_epi32(a));
}
QK_INLINE v16i narrowEnd(narrowSum sum, v16i acc) {
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
QK_INLINE v16i dot2(v16i acc, v32s codes, int32_t activations) {
  return acc + QK_HALVES(_mm256_madd_epi16, codes, (v16i)activations);
}
typedef v32s narrowSum;
QK_INLINE narrowSum narrowBegin(v16i acc) {
  (void)acc;
  return (narrowSum)0;
}
QK_INLINE narrowSum narrowDot(narrowSum sum, v64b codes, int32_t a) {
  return sum + (v32s)QK_HALVES(_mm256_maddubs_epi16, codes, (v16i)a);
}
QK_INLINE v16i narrowEnd(narrowSum sum, v16i acc) {
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
typedef v16i narrowSum;
QK_INLINE narrowSum narrowBegin(v16i acc) { return acc; }
QK_INLINE narrowSum narrowDot(narrowSum sum, v64b codes, int32_t a) {
  return signedDot(sum, (v64c)codes, a);
}
QK_INLINE v16i narrowEnd(narrowSum sum, v16i acc) {
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
typedef v16i narrowSum;
QK_INLINE narrowSum narrowBegin(v16i acc) { return acc; }
QK_INLINE narrowSum narrowDot(narrowSum sum, v64b codes, int32_t a) { return dot4(sum, codes, a); }
QK_INLINE v16i narrowEnd(narrowSum sum, v16i acc) {
  (void)acc;
  return sum;
}

#endif

#if !defined(__AVX512BW__) && !defined(__AVX2__)
QK_INLINE v16i dot2(v16i acc, v32s codes, int32_t activations) {
  v16i words = (v16i)codes;
  acc += ((words << 16) >> 16) * (int32_t)(int16_t)activations;
  return acc + (words >> 16) * (activations >> 16);
}
#endif

/* dot4 with one activation for all four codes. */
QK_INLINE v16i dotSame(v16i acc, v64b codes, int8_t activation) {
#if defined(__AVX512VNNI__)
  return (v16i)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)codes, _mm512_set1_epi8(activation));
#else
  return dot4(acc, codes, (int32_t)((uint8_t)activation * 0x01010101u));
#endif
}

#ifndef QK_UNPACK_NIBBLES
#define QK_UNPACK_NIBBLES 0
#endif

#endif /* QPLAN_KERNELS_ISA_H */
