//===- Codecs.h - makers of the codec families ------------------*- C++ -*-===//
//
// Private to ir/codecs: each family makes the codec of one row of the table, and
// shares the helpers below. Users include Codec.h.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_CODECS_CODECS_H
#define QPLAN_IR_CODECS_CODECS_H

#include "ir/codecs/Codec.h"
#include <bit>
#include <memory>

namespace qplan {

/// The codec of `info`.
std::unique_ptr<Codec> makeCodec(const FormatInfo &info);

/// Codec objects for `info`, whose family the name says.
std::unique_ptr<Codec> makeFloatCodec(const FormatInfo &info);
std::unique_ptr<Codec> makeAffineCodec(const FormatInfo &info);
std::unique_ptr<Codec> makeGridCodec(const FormatInfo &info);
std::unique_ptr<Codec> makeSparseCodec(const FormatInfo &info);
std::unique_ptr<Codec> makeGgmlBlockCodec(const FormatInfo &info);      ///< blocks of 32
std::unique_ptr<Codec> makeGgmlSuperblockCodec(const FormatInfo &info); ///< blocks of 256
std::unique_ptr<Codec> makeTrellisCodec(const FormatInfo &info);
std::unique_ptr<Codec> makeGgmlTableCodec(const FormatInfo &info);      ///< iq4_nl and iq4_xs
std::unique_ptr<Codec> makeChoiceCodec(const FormatInfo &info);
std::unique_ptr<Codec> makeMixedCodec(const FormatInfo &info);

/// The formats that llm_fp4 chooses from, by the number that SideData::Element holds.
llvm::ArrayRef<FormatId> choiceOf();

/// Writes x[256] as the block (info.blockBytes) of a K-quant that GGML's reference gives, with
/// `importance` [256] (null: its quantizer without). False when the scales do not fit f16.
bool encodeKQuant(const FormatInfo &info, const float *x, const float *importance,
                  uint8_t *block);

/// Rounds |v| < 2^22 to the nearest integer, ties to even, without a library call.
inline int32_t roundEven(float v) {
  constexpr float magic = 12582912.0f; // 1.5 * 2^23: the sum has no fraction bits left
  return std::bit_cast<int32_t>(v + magic) - std::bit_cast<int32_t>(magic);
}

/// v, or the end of [low, high] that it is beyond.
inline float clampTo(float v, float low, float high) {
  v = v > low ? v : low;
  return v < high ? v : high;
}

/// Writes x[n] = scale * (codes - offset), or scale * codes + min when hasMin.
void expandCodes(const uint8_t *codes, int64_t n, float scale, float min, int32_t offset,
                 bool hasMin, float *x);

/// Largest magnitude of x[n] (no NaN).
float largestMagnitude(const float *x, int64_t n);

/// Least and greatest value of x[n], n >= 1 (no NaN).
struct Range {
  float min, max;
};
Range valueRange(const float *x, int64_t n);

} // namespace qplan
#endif // QPLAN_IR_CODECS_CODECS_H
