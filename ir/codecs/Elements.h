//===- Elements.h - what numbers codes of up to 8 bits are ------*- C++ -*-===//
//
// Minifloats and code tables as data, and the one way in which values are rounded
// to them. Codecs, GPTQ, packings and tests all read the numbers here; integers
// are the codes less the format's offset.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_CODECS_ELEMENTS_H
#define QPLAN_IR_CODECS_ELEMENTS_H

#include "ir/Formats.h"
#include <array>
#include <bit>

namespace qplan {

/// A float of 1 sign bit, `exponentBits` >= 1 and `mantissaBits` (3 to 8 bits in all, the sign the
/// highest). Exponent 0 holds the subnormals, without mantissa 0 alone.
struct Minifloat {
  int exponentBits, mantissaBits, bias;
  uint8_t highest; ///< code of the greatest finite number; magnitudes above are no numbers
};

/// The parameters of a minifloat; none for other elements.
std::optional<Minifloat> minifloatOf(ElementKind kind);

/// The number of every code of the element of `id`, [2^elementBits]; NaN and infinity where a
/// code is no number. Formats that shift their grid by a stored number (FormatInfo::panelMin)
/// have the codes themselves. Empty for f32, f16 and bf16. Static storage.
llvm::ArrayRef<float> elementValues(FormatId id);

/// The greatest magnitude that an element of up to 8 bits has, e.g. 448 of E4M3. Of integers of
/// offset o: o - 1.
float largestElement(FormatId id);

/// Rounds v[n] (no NaN) to codes of a minifloat or table of 16. Minifloats: to the nearest, ties
/// to the even code, beyond the greatest to the greatest, zeros keep their sign. Tables: to the
/// nearest; in the middle between two, to the lower of NF4 and FP4 and to the higher of IQ4.
void roundToElement(ElementKind kind, const float *v, int64_t n, uint8_t *codes);

/// The map by which bitsandbytes stores scales of blocks in 8 bits (its create_dynamic_map):
/// +-10^(i-6) times the middles of 2^i equal parts of 0.1..1, i of 0..6, and 0 and 1; ascending.
const std::array<float, 256> &dynamicMap();

/// roundToElement for one number and a minifloat.
inline uint8_t minifloatFromF32(const Minifloat &shape, float v) {
  const int shift = 23 - shape.mantissaBits;
  const uint32_t bits = std::bit_cast<uint32_t>(v), magnitude = bits & 0x7fffffffu;
  const uint32_t top = (uint32_t(127 - shape.bias) << 23) + (uint32_t(shape.highest) << shift);
  const uint32_t clamped = magnitude < top ? magnitude : top;
  // The ulp of this power of two is the unit of the subnormals: the addition does the rounding.
  const uint32_t unit = uint32_t(127 + 1 - shape.bias + shift) << 23;
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(clamped) + std::bit_cast<float>(unit)) - unit;
  const uint32_t rebased = clamped - (uint32_t(127 - shape.bias) << 23);
  const uint32_t normal = (rebased + ((1u << (shift - 1)) - 1) + (rebased >> shift & 1)) >> shift;
  const uint32_t code = clamped < uint32_t(128 - shape.bias) << 23 ? subnormal : normal;
  return static_cast<uint8_t>((bits >> 31) << (shape.exponentBits + shape.mantissaBits) | code);
}

} // namespace qplan
#endif // QPLAN_IR_CODECS_ELEMENTS_H
