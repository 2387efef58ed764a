//===- GgmlTables.cpp - GGML's blocks of table codes ----------------------===//
//
// iq4_nl (blocks of 32: f16 scale, 16 bytes) and iq4_xs (blocks of 256: f16 scale,
// 6-bit scales of 32 values with offset 32, 128 bytes), byte for byte as GGUF files
// hold them and as GGML's quantizers write them, without and with importance.
// Nibble arrays: byte j holds element j (low) and element j + 16 (high) of 32.
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

constexpr int64_t groupSize = 32;
constexpr int tries = 7; ///< candidates on each side of the first
constexpr float negligible = 1e-15f;

/// The code nearest to v by GGML's comparison, which decides ties and what f32 makes of them.
uint8_t nearestCode(const float *values, float v) {
  if (v <= values[0])
    return 0;
  if (v >= values[15])
    return 15;
  int low = 0, high = 15;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (v < values[middle] ? high : low) = middle;
  }
  return static_cast<uint8_t>(v - values[low] < values[high] - v ? low : high);
}

/// The scale of a group by least squares, for the best of 16 roundings. The sums are in f32 and in
/// the order of the values: they decide between candidates, so the order is part of the bytes.
float searchScale(const float *values, const float *x, const float *weight) {
  float largest = 0;
  for (int64_t i = 0; i < groupSize; ++i)
    if (std::abs(x[i]) > std::abs(largest))
      largest = x[i];
  if (std::abs(largest) < negligible)
    return 0;
  float scale = 0, best = 0;
  auto consider = [&](float inverse, bool isFirst) {
    float xq = 0, qq = 0;
    for (int64_t i = 0; i < groupSize; ++i) {
      const float q = values[nearestCode(values, inverse * x[i])];
      xq += weight[i] * q * x[i];
      qq += weight[i] * q * q;
    }
    if (isFirst ? qq > 0 : qq > 0 && xq * xq > best * qq) {
      scale = xq / qq;
      best = scale * xq;
    }
  };
  consider(1.0f / (-largest / values[0]), true);
  for (int step = -tries; step <= tries; ++step)
    consider((float(step) + values[0]) / largest, false);
  return scale;
}

class GgmlTableCodec final : public Codec {
public:
  explicit GgmlTableCodec(const FormatInfo &info)
      : Codec(info), values(elementValues(info.id).data()),
        groups(info.blockColumns / groupSize), codesAt(groups == 1 ? 2 : 8) {}

  void decodeRow(const uint8_t *row, int64_t columns, float *x, TensorSide) const override {
    uint8_t codes[256];
    for (int64_t b = 0; b < columns; b += info.blockColumns, row += info.blockBytes) {
      unpackCodes(row, codes);
      for (int64_t i = 0; i < info.blockColumns; ++i)
        x[b + i] = scaleOf(row, i / groupSize) * values[codes[i]];
    }
  }

  void gridRow(const uint8_t *row, int64_t columns, GridRow &out, TensorSide) const override {
    out.codes.resize(columns);
    out.scale.resize(columns / groupSize);
    out.min.clear();
    out.hasMin = false;
    out.group = groupSize;
    out.values = elementValues(info.id);
    for (int64_t b = 0; b < columns; b += info.blockColumns, row += info.blockBytes) {
      unpackCodes(row, out.codes.data() + b);
      for (int64_t g = 0; g < groups; ++g)
        out.scale[b / groupSize + g] = scaleOf(row, g);
    }
  }

  bool storesCodes() const override { return true; }
  void storeCodes(const uint8_t *codes, int64_t columns, uint8_t *row,
                  TensorSide) const override {
    for (int64_t b = 0; b < columns; b += info.blockColumns, row += info.blockBytes)
      packCodes(codes + b, row);
  }

protected:
  llvm::Error encode(const float *x, int64_t columns, const EncodeOptions &options,
                     uint8_t *out) const override {
    const bool weighted = options.rule == ScaleRule::Mse && options.importance;
    if (options.rule != ScaleRule::Max && !weighted)
      return usageError("{} is written by GGML's own rules, which have no search without "
                        "importance; use method max or imatrix",
                        info.name);
    for (int64_t b = 0; b < columns; b += info.blockColumns, out += info.blockBytes) {
      float scales[8];
      chooseScales(x + b, weighted ? options.importance + b : nullptr, scales);
      const uint16_t half = groups == 1 ? storeOne(x + b, scales[0], out)
                                        : storeMany(x + b, scales, out);
      if ((half & 0x7c00) == 0x7c00)
        return inputError("{}: columns {} to {} are too large for the f16 scales of {}; keep the "
                          "tensor in a float format or use int8",
                          subjectOf(options), b, b + info.blockColumns - 1, info.name);
      storeUnaligned(out, half);
    }
    return llvm::Error::success();
  }

private:
  /// The effective scale of group g of a block.
  float scaleOf(const uint8_t *block, int64_t g) const {
    const float scale = f32FromF16(loadUnaligned<uint16_t>(block));
    if (groups == 1)
      return scale;
    const int low = block[4 + g / 2] >> (4 * (g % 2)) & 15;
    const int high = loadUnaligned<uint16_t>(block + 2) >> (2 * g) & 3;
    return scale * static_cast<float>((low | high << 4) - 32);
  }

  void unpackCodes(const uint8_t *block, uint8_t *codes) const {
    const uint8_t *from = block + codesAt;
    for (int64_t g = 0; g < groups; ++g, from += 16, codes += groupSize)
      for (int64_t j = 0; j < 16; ++j) {
        codes[j] = from[j] & 15;
        codes[j + 16] = from[j] >> 4;
      }
  }

  void packCodes(const uint8_t *codes, uint8_t *block) const {
    uint8_t *to = block + codesAt;
    for (int64_t g = 0; g < groups; ++g, to += 16, codes += groupSize)
      for (int64_t j = 0; j < 16; ++j)
        to[j] = static_cast<uint8_t>(codes[j] | codes[j + 16] << 4);
  }

  /// The scale of each group, before it is rounded.
  void chooseScales(const float *x, const float *importance, float *scales) const {
    float spread = 0;
    for (int64_t i = 0; i < info.blockColumns; ++i)
      spread += x[i] * x[i];
    spread *= 2.0f / static_cast<float>(info.blockColumns);
    for (int64_t g = 0; g < groups; ++g) {
      const float *group = x + g * groupSize;
      float weight[groupSize];
      for (int64_t i = 0; i < groupSize; ++i) {
        const float square = group[i] * group[i];
        weight[i] = importance ? importance[g * groupSize + i] * std::sqrt(spread + square)
                               : square;
      }
      scales[g] = searchScale(values, group, weight);
    }
  }

  /// Codes of iq4_nl see the scale before it becomes f16, as GGML's. Returns that f16.
  uint16_t storeOne(const float *x, float scale, uint8_t *block) const {
    uint8_t codes[groupSize];
    const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    for (int64_t i = 0; i < groupSize; ++i)
      codes[i] = nearestCode(values, inverse * x[i]);
    packCodes(codes, block);
    return f16FromF32(scale);
  }

  /// The scale of largest magnitude becomes -32 times the block's.
  uint16_t storeMany(const float *x, const float *scales, uint8_t *block) const {
    float largest = 0;
    for (int64_t g = 0; g < groups; ++g)
      if (std::abs(scales[g]) > std::abs(largest))
        largest = scales[g];
    const float scale = -largest / 32.0f, inverse = scale != 0 ? 1.0f / scale : 0.0f;
    uint8_t codes[256];
    uint16_t high = 0;
    std::memset(block + 4, 0, 4);
    for (int64_t g = 0; g < groups; ++g) {
      const int step = std::clamp(nearestInt(inverse * scales[g]), -32, 31);
      const float own = scale * static_cast<float>(step);
      const float ownInverse = own != 0 ? 1.0f / own : 0.0f;
      for (int64_t i = g * groupSize; i < (g + 1) * groupSize; ++i)
        codes[i] = nearestCode(values, ownInverse * x[i]);
      const int stored = step + 32;
      block[4 + g / 2] |= static_cast<uint8_t>((stored & 15) << (4 * (g % 2)));
      high |= static_cast<uint16_t>((stored >> 4) << (2 * g));
    }
    storeUnaligned(block + 2, high);
    packCodes(codes, block);
    return f16FromF32(scale);
  }

  const float *values;  ///< by code
  int64_t groups;       ///< of 32 values in a block
  int64_t codesAt;      ///< byte of the codes in a block
};

} // namespace

std::unique_ptr<Codec> makeGgmlTableCodec(const FormatInfo &info) {
  return std::make_unique<GgmlTableCodec>(info);
}

} // namespace qplan
