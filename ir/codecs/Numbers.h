//===- Numbers.h - conversions of small floats ------------------*- C++ -*-===//
//
// f32 to f16, bf16 and f8E4M3FN and back, rounding to nearest even, exact for
// subnormals. Written on bit patterns without branches, so that loops over them
// vectorise on any target and results are the same everywhere.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_CODECS_NUMBERS_H
#define QPLAN_IR_CODECS_NUMBERS_H

#include <bit>
#include <cstdint>
#include <cstring>

namespace qplan {

/// Nearest f16 of `x`; beyond 65519.99 infinity; NaN stays a (quiet) NaN.
inline uint16_t f16FromF32(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  // 0.5 has an ulp of 2^-24, the unit of f16 subnormals: the addition does the rounding.
  uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t rebased = magnitude - 0x38000000u;
  uint32_t normal = (rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13;
  uint32_t special = magnitude > 0x7f800000u ? 0x7e00u | ((magnitude >> 13) & 0x3ffu) : 0x7c00u;
  uint32_t result = magnitude < 0x38800000u ? subnormal : normal;
  result = magnitude >= 0x47800000u ? special : result;
  return static_cast<uint16_t>(sign | result);
}

/// The exact value of an f16.
inline float f32FromF16(uint16_t h) {
  uint32_t magnitude = (h & 0x7fffu) << 13, sign = (h & 0x8000u) << 16;
  float scaled = std::bit_cast<float>(magnitude) * 0x1p112f; // re-biases, subnormals included
  uint32_t bits = std::bit_cast<uint32_t>(scaled);
  bits = magnitude >= 0x0f800000u ? (magnitude | 0x7f800000u) : bits;
  return std::bit_cast<float>(bits | sign);
}

/// Nearest bf16 of `x`; NaN stays a (quiet) NaN.
inline uint16_t bf16FromF32(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  uint32_t quiet = (bits >> 16) | 64u;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

/// The exact value of a bf16.
inline float f32FromBf16(uint16_t b) {
  return std::bit_cast<float>(static_cast<uint32_t>(b) << 16);
}

/// Nearest f8E4M3FN of `x`; magnitudes beyond 448 become 448, NaN becomes 0x7f with x's sign.
inline uint8_t e4m3FromF32(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  uint32_t sign = (bits >> 24) & 0x80u, magnitude = bits & 0x7fffffffu;
  uint32_t clamped = magnitude < 0x43e00000u ? magnitude : 0x43e00000u; // 448
  // 2^14 has an ulp of 2^-9, the unit of the subnormals.
  uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(clamped) + 0x1p14f) - 0x46800000u;
  uint32_t rebased = clamped - 0x3c000000u;
  uint32_t normal = (rebased + 0x7ffffu + ((rebased >> 20) & 1u)) >> 20;
  uint32_t result = clamped < 0x3c800000u ? subnormal : normal;
  result = magnitude > 0x7f800000u ? 0x7fu : result;
  return static_cast<uint8_t>(sign | result);
}

/// The exact value of an f8E4M3FN; 0x7f and 0xff are NaN.
inline float f32FromE4m3(uint8_t code) {
  uint32_t magnitude = (code & 0x7fu) << 20, sign = static_cast<uint32_t>(code & 0x80u) << 24;
  float scaled = std::bit_cast<float>(magnitude) * 0x1p120f;
  uint32_t bits = std::bit_cast<uint32_t>(scaled);
  bits = (code & 0x7fu) == 0x7fu ? 0x7fc00000u : bits;
  return std::bit_cast<float>(bits | sign);
}

/// Little-endian access to unaligned bytes.
template <typename T>
inline T loadUnaligned(const uint8_t *from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <typename T>
inline void storeUnaligned(uint8_t *to, T value) {
  std::memcpy(to, &value, sizeof value);
}
static_assert(std::endian::native == std::endian::little, "stored formats are little-endian");

} // namespace qplan
#endif // QPLAN_IR_CODECS_NUMBERS_H
