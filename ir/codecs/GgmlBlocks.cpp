//===- GgmlBlocks.cpp - GGML's blocks of 32 values ------------------------===//
//
// q4_0, q4_1, q5_0, q5_1 and q8_0 (and q8_0 as an activation format), byte for
// byte as GGUF files hold them and as GGML's reference quantizers write them,
// down to their reciprocal scales and roundings. Nibble arrays: byte j holds
// element j (low) and element j + 16 (high).
//
//===----------------------------------------------------------------------===//
#include "ir/Failure.h"
#include "ir/codecs/Codecs.h"
#include "ir/codecs/Elements.h"
#include "ir/codecs/KQuantSearch.h"
#include "ir/codecs/Numbers.h"
#include <algorithm>
#include <cmath>

namespace qplan {
namespace {

constexpr int blockSize = 32;

/// The grid of one block before it is rounded to f16.
struct BlockScale {
  float scale, inverse, min;
};

/// 1/scale as GGML takes it; 0 also where it would be infinite: such a scale is 0 in f16.
float reciprocal(float scale) {
  float inverse = scale == 0 ? 0.0f : 1.0f / scale;
  return (std::bit_cast<uint32_t>(inverse) & 0x7f800000u) == 0x7f800000u ? 0.0f : inverse;
}

/// Nearest integer, halves away from zero, |v| < 2^31.
inline int32_t roundAway(float v) {
  int32_t whole = static_cast<int32_t>(v);
  float rest = v - static_cast<float>(whole);
  return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

/// The value with the largest magnitude, the first of equals.
float signedMaximum(const float *x) {
  float best = x[0];
  float magnitude = best < 0 ? -best : best;
  for (int64_t i = 1; i < blockSize; ++i) {
    float candidate = x[i] < 0 ? -x[i] : x[i];
    if (candidate > magnitude) {
      magnitude = candidate;
      best = x[i];
    }
  }
  return best;
}

class GgmlBlockCodec final : public Codec {
public:
  explicit GgmlBlockCodec(const FormatInfo &info)
      : Codec(info), codesAt((info.panelMin ? 4 : 2) + (info.elementBits == 5 ? 4 : 0)) {}

  void decodeRow(const uint8_t *row, int64_t columns, float *x, TensorSide) const override {
    uint8_t codes[blockSize];
    for (int64_t b = 0; b < columns / blockSize; ++b, row += info.blockBytes) {
      unpackCodes(row, codes);
      expandCodes(codes, blockSize, scaleOf(row), minOf(row), info.offset, info.panelMin,
                  x + b * blockSize);
    }
  }

  void gridRow(const uint8_t *row, int64_t columns, GridRow &out, TensorSide) const override {
    const int64_t blocks = columns / blockSize;
    out.codes.resize(columns);
    out.scale.resize(blocks);
    out.min.resize(info.panelMin ? blocks : 0);
    out.group = blockSize;
    out.values = elementValues(info.id);
    out.hasMin = info.panelMin;
    for (int64_t b = 0; b < blocks; ++b, row += info.blockBytes) {
      unpackCodes(row, out.codes.data() + b * blockSize);
      out.scale[b] = scaleOf(row);
      if (out.hasMin)
        out.min[b] = minOf(row);
    }
  }

protected:
  llvm::Error encode(const float *x, int64_t columns, const EncodeOptions &options,
                     uint8_t *out) const override {
    const bool weighted = options.rule == ScaleRule::Mse && options.importance && info.isWeight;
    if (options.rule != ScaleRule::Max && !weighted)
      return usageError("{} is written by GGML's own rule, which has no search without importance; "
                        "use method max or imatrix, or int{}_g32 with mse",
                        info.name, info.elementBits == 5 ? 4 : info.elementBits);
    const bool searches = weighted && info.elementBits != 8; // q8_0 has one rule
    const float spread = searches ? meanSquare(x, columns) : 0.0f;
    for (int64_t b = 0; b < columns / blockSize; ++b, out += info.blockBytes, x += blockSize) {
      uint8_t codes[blockSize];
      BlockScale chosen =
          searches ? searchScale(x, options.importance + b * blockSize, spread, codes)
                   : chooseScale(x);
      uint16_t scale = f16FromF32(chosen.scale), min = f16FromF32(chosen.min);
      if ((scale & 0x7c00) == 0x7c00 || (min & 0x7c00) == 0x7c00)
        return inputError("{}: columns {} to {} are too large for the f16 scales of {}; keep the "
                          "tensor in a float format or use int8",
                          subjectOf(options), b * blockSize, b * blockSize + blockSize - 1,
                          info.name);
      storeUnaligned(out, scale);
      if (info.panelMin)
        storeUnaligned(out + 2, min);
      if (!searches)
        chooseCodes(x, chosen, codes);
      packCodes(codes, out);
    }
    return llvm::Error::success();
  }

private:
  float scaleOf(const uint8_t *block) const { return f32FromF16(loadUnaligned<uint16_t>(block)); }
  float minOf(const uint8_t *block) const {
    return info.panelMin ? f32FromF16(loadUnaligned<uint16_t>(block + 2)) : 0.0f;
  }

  /// Unsigned codes of a block in the order of its columns.
  void unpackCodes(const uint8_t *block, uint8_t *codes) const {
    const uint8_t *from = block + codesAt;
    if (info.elementBits == 8) {
      for (int64_t i = 0; i < blockSize; ++i)
        codes[i] = from[i] ^ 0x80; // signed to offset 128
      return;
    }
    for (int64_t j = 0; j < blockSize / 2; ++j) {
      codes[j] = from[j] & 15;
      codes[j + 16] = from[j] >> 4;
    }
    if (info.elementBits == 5) {
      uint32_t high = loadUnaligned<uint32_t>(from - 4);
      for (int64_t i = 0; i < blockSize; ++i)
        codes[i] |= static_cast<uint8_t>((high >> i & 1) << 4);
    }
  }

  BlockScale chooseScale(const float *x) const {
    if (info.panelMin) {
      Range range = valueRange(x, blockSize);
      float scale = (range.max - range.min) / static_cast<float>((1 << info.elementBits) - 1);
      return {scale, reciprocal(scale), range.min};
    }
    float scale = info.elementBits == 8 ? largestMagnitude(x, blockSize) / 127.0f
                                        : signedMaximum(x) / static_cast<float>(-info.offset);
    return {scale, reciprocal(scale), 0.0f};
  }

  static float meanSquare(const float *x, int64_t columns) {
    float sum = 0;
    for (int64_t i = 0; i < columns; ++i)
      sum += x[i] * x[i];
    return sum / static_cast<float>(columns);
  }

  /// The grid and the codes that GGML finds with an importance matrix; `spread` is the row's
  /// mean square.
  BlockScale searchScale(const float *x, const float *importance, float spread,
                         uint8_t *codes) const {
    float weight[blockSize];
    for (int64_t i = 0; i < blockSize; ++i)
      weight[i] = importance[i] * std::sqrt(spread + x[i] * x[i]);
    const WeightedGroup group{blockSize, x, weight};
    if (!info.panelMin)
      return {searchSigned(group, info.offset, codes), 0.0f, 0.0f};
    float minimum = 0;
    float scale = searchWithMinimum(group, (1 << info.elementBits) - 1, {-0.9f, 0.05f, 36}, codes,
                                    minimum);
    return {scale, 0.0f, -minimum};
  }

  /// Codes for a grid; of q8_0 the bytes themselves.
  void chooseCodes(const float *x, const BlockScale &chosen, uint8_t *codes) const {
    if (info.elementBits == 8) {
      for (int64_t i = 0; i < blockSize; ++i)
        codes[i] = static_cast<uint8_t>(roundAway(x[i] * chosen.inverse));
      return;
    }
    const float half = static_cast<float>(info.offset) + 0.5f;
    const int32_t highest = (1 << info.elementBits) - 1;
    for (int64_t i = 0; i < blockSize; ++i) {
      int32_t code = static_cast<int32_t>((x[i] - chosen.min) * chosen.inverse + half);
      code = code < highest ? code : highest;
      codes[i] = static_cast<uint8_t>(code > 0 ? code : 0);
    }
  }

  void packCodes(const uint8_t *codes, uint8_t *block) const {
    uint8_t *to = block + codesAt;
    if (info.elementBits == 8) {
      std::memcpy(to, codes, blockSize);
      return;
    }
    for (int64_t j = 0; j < blockSize / 2; ++j)
      to[j] = static_cast<uint8_t>((codes[j] & 15) | codes[j + 16] << 4);
    if (info.elementBits == 5) {
      uint32_t high = 0;
      for (int64_t i = 0; i < blockSize; ++i)
        high |= static_cast<uint32_t>(codes[i] >> 4) << i;
      storeUnaligned(to - 4, high);
    }
  }

  int64_t codesAt; ///< byte of the low bits in a block
};

} // namespace

std::unique_ptr<Codec> makeGgmlBlockCodec(const FormatInfo &info) {
  return std::make_unique<GgmlBlockCodec>(info);
}

} // namespace qplan
