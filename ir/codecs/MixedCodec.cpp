//===- MixedCodec.cpp - groups of columns with different widths -----------===//
//
// EXL2's idea (exllamav2): inside one tensor, columns that matter have more bits. A
// row is [codes of each group, LSB first][E4M3 byte of each group][zeros]. With w bits
//
//   value = tensor scale * E4M3 scale * 2^(1-w) * (code - 2^(w-1))
//
// so that scales are near the largest magnitude at every width. The tensor's scale is a
// power of two, which makes every product here exact. Scales have signs: the end of
// the grid that has one level more lies where it serves the group. Every E4M3 number near the
// largest magnitude is tried, whatever the rule; rule Mse weighs errors.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/BitStream.h"
#include "ir/codecs/Codecs.h"
#include "ir/codecs/Elements.h"
#include "ir/codecs/MixedCodec.h"
#include "ir/codecs/MixedWidths.h"
#include "ir/codecs/Numbers.h"
#include "ir/codecs/VectorClones.h"
#include "ir/Failure.h"
#include <algorithm>
#include <cmath>
#include <llvm/ADT/SmallVector.h>

namespace qplan {
namespace {

/// Beyond it a scale times 448 might not fit f32.
constexpr float mostMagnitude = 0x1p118f;
/// The code of 0 in rows whose codes are put on one grid of 8 bits (GridRow).
constexpr int middle = 128;

/// The shares of the largest magnitude between which scales of a width are tried.
struct Span {
  float low, high;
};
Span spanOf(int width) {
  switch (width) {
  case 2:
    return {0.4f, mixedHeadroom};
  case 3:
    return {0.5f, 1.25f};
  case 4:
    return {0.6f, 1.13f};
  default:
    return {0.75f, 1.13f};
  }
}

/// The step of a group's codes.
float stepOf(uint8_t byte, int width, float tensorScale) {
  return f32FromE4m3(byte) * tensorScale * std::ldexp(1.0f, 1 - width);
}

/// Sum of weight[i] * (x[i] - step * q)^2 over 32 columns, q the nearest of -half .. half - 1.
QPLAN_VECTOR_CLONES float errorOf(const float *x, const float *weight, float step, float half) {
  constexpr float magic = 12582912.0f; // 1.5 * 2^23: adding it rounds to even
  constexpr int64_t lanes = 8;
  const float inverse = 1.0f / step;
  float sums[lanes] = {};
  for (int64_t i = 0; i < mixedColumns; i += lanes)
    for (int64_t j = 0; j < lanes; ++j) {
      float v = x[i + j] * inverse;
      v = v > -half ? v : -half;
      v = v < half - 1 ? v : half - 1;
      const float lost = x[i + j] - step * ((v + magic) - magic);
      sums[j] += lost * lost * weight[i + j];
    }
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

class MixedCodec final : public Codec {
public:
  using Codec::Codec;

  void decodeRow(const uint8_t *row, int64_t columns, float *x, TensorSide tensor) const override {
    Row at(info, columns, tensor);
    uint8_t codes[mixedColumns];
    for (int64_t g = 0; g < at.groups; ++g) {
      const int width = at.widths[g];
      const float step = stepOf(row[at.scales + g], width, tensor.scale());
      unpackBits(row + at.places[g], 0, mixedColumns, width, codes);
      expandCodes(codes, mixedColumns, step, 0, 1 << (width - 1), false, x + g * mixedColumns);
    }
  }

  void gridRow(const uint8_t *row, int64_t columns, GridRow &out,
               TensorSide tensor) const override {
    Row at(info, columns, tensor);
    out.codes.resize(columns);
    out.scale.resize(at.groups);
    out.min.clear();
    out.bits.assign(at.widths.begin(), at.widths.end());
    out.values = elementValues(info.id);
    out.group = mixedColumns;
    out.hasMin = false;
    for (int64_t g = 0; g < at.groups; ++g) {
      const int width = at.widths[g];
      out.scale[g] = stepOf(row[at.scales + g], width, tensor.scale());
      uint8_t *codes = out.codes.data() + g * mixedColumns;
      unpackBits(row + at.places[g], 0, mixedColumns, width, codes);
      for (int64_t i = 0; i < mixedColumns; ++i)
        codes[i] = uint8_t(codes[i] + middle - (1 << (width - 1)));
    }
  }

  bool storesCodes() const override { return true; }
  void storeCodes(const uint8_t *codes, int64_t columns, uint8_t *row,
                  TensorSide tensor) const override {
    Row at(info, columns, tensor);
    uint8_t own[mixedColumns];
    for (int64_t g = 0; g < at.groups; ++g) {
      const int width = at.widths[g];
      for (int64_t i = 0; i < mixedColumns; ++i)
        own[i] = uint8_t(codes[g * mixedColumns + i] - middle + (1 << (width - 1)));
      packBits(own, mixedColumns, width, row + at.places[g]);
    }
  }

protected:
  llvm::Error encode(const float *x, int64_t columns, const EncodeOptions &options,
                     uint8_t *out) const override {
    if (const float largest = largestMagnitude(x, columns); largest > mostMagnitude)
      return inputError("{}: values of up to {} are too large for {}; keep the tensor in f32 or bf16",
                        subjectOf(options), largest, info.name);
    Row at(info, columns, options.tensor);
    std::fill(out + at.scales, out + bytesPerRow(columns), uint8_t(0));
    const float *weight = options.rule == ScaleRule::Mse ? options.importance : nullptr;
    for (int64_t g = 0; g < at.groups; ++g) {
      const int width = at.widths[g];
      const float *values = x + g * mixedColumns;
      uint8_t &byte = out[at.scales + g];
      chooseMixedScale(values, weight ? weight + g * mixedColumns : nullptr, width,
                       options.tensor.scale(), byte);
      const float step = stepOf(byte, width, options.tensor.scale());
      const int half = 1 << (width - 1);
      uint8_t codes[mixedColumns];
      for (int64_t i = 0; i < mixedColumns; ++i) {
        const float v = step == 0 ? 0.0f : values[i] / step;
        codes[i] = uint8_t(roundEven(clampTo(v, float(-half), float(half - 1))) + half);
      }
      packBits(codes, mixedColumns, width, out + at.places[g]);
    }
    return llvm::Error::success();
  }

private:
  /// Where the parts of a row lie, in bytes from its start.
  struct Row {
    int64_t groups, scales = 0;
    llvm::SmallVector<uint8_t, 512> widths;
    llvm::SmallVector<int64_t, 512> places; ///< of each group's codes
    Row(const FormatInfo &info, int64_t columns, const TensorSide &tensor)
        : groups(columns / mixedColumns), widths(size_t(groups)), places(size_t(groups)) {
      readMixedWidths(tensor, groups, mixedWidthSum(columns, info.centiBits), widths.data());
      for (int64_t g = 0; g < groups; scales += widths[g++] * mixedColumns / 8)
        places[g] = scales;
    }
  };
};

} // namespace

float mixedTensorScale(float largest) {
  int exponent;
  std::frexp(largest * (mixedHeadroom / 448.0f), &exponent);
  // Products with the least scales stay normal numbers.
  return std::ldexp(1.0f, largest > 0 ? std::clamp(exponent, -100, 112) : 0);
}

double chooseMixedScale(const float *x, const float *weight, int width, float tensorScale,
                        uint8_t &byte) {
  static constexpr std::array<float, mixedColumns> ones = [] {
    std::array<float, mixedColumns> made{};
    made.fill(1.0f);
    return made;
  }();
  const float half = float(1 << (width - 1));
  const float largest = largestMagnitude(x, mixedColumns) / tensorScale;
  const Span span = spanOf(width);
  const uint8_t high = e4m3FromF32(largest * span.high);
  const uint8_t low = std::max<uint8_t>(e4m3FromF32(largest * span.low), 1);
  byte = 0;
  double best = -1;
  for (int candidate = high; candidate >= low; --candidate)
    for (uint8_t sign : {uint8_t(0x80), uint8_t(0)}) {
      const uint8_t tried = uint8_t(candidate) | sign;
      const float error =
          errorOf(x, weight ? weight : ones.data(), stepOf(tried, width, tensorScale), half);
      if (best < 0 || error < best) {
        best = error;
        byte = tried;
      }
    }
  if (best >= 0)
    return best;
  double sum = 0; // all are 0, or vanish beside the rest of the tensor
  for (int64_t i = 0; i < mixedColumns; ++i)
    sum += double(x[i]) * x[i] * (weight ? weight[i] : 1.0f);
  return sum;
}

std::unique_ptr<Codec> makeMixedCodec(const FormatInfo &info) {
  return std::make_unique<MixedCodec>(info);
}

} // namespace qplan
