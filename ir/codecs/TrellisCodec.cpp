//===- TrellisCodec.cpp - the tcq formats ---------------------------------===//
//
// Decoding is stated in Trellis.h. Rows encoded by themselves come from a search with
// few survivors; passes/gptq feeds errors forward and searches longer.
//
//===----------------------------------------------------------------------===//
#include "ir/Failure.h"
#include "ir/codecs/Codecs.h"
#include "ir/codecs/Numbers.h"
#include "ir/codecs/Trellis.h"
#include <cmath>
#include <vector>

namespace qplan {

float trellisValue(uint16_t state) {
  const uint32_t product = static_cast<uint32_t>(state * 40503u) << 16;
  const float f = static_cast<float>(static_cast<int32_t>(product));
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  // Exponent and mantissa of f are the logarithm of the distance to the nearer end of the
  // distribution; its quantile is close to a cubic in that. Without sign and upper exponent bits
  // it is -2 in the middle, -16 at the ends, in units of 2^27.
  const float l = static_cast<float>(static_cast<int32_t>(bits << 4));
  float p = std::fma(-0x1.f68bf2p-91f, l, -0x1.048064p-58f);
  p = std::fma(p, l, -0x1.c442dap-28f);
  p = std::fma(p, l, -0x1.870fd8p+0f);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) ^ (bits & 0x80000000u));
}

const float *trellisValues() {
  static const std::vector<float> values = [] {
    std::vector<float> made(65536);
    for (uint32_t state = 0; state < 65536; ++state)
      made[state] = trellisValue(static_cast<uint16_t>(state));
    return made;
  }();
  return values.data();
}

namespace {

/// Survivors of a search for a row by itself: rows must be packed at the speed of reading
/// them, and a search of 128 gains a tenth of a bit more at most.
constexpr int plainSurvivors = 16;

class TrellisCodec final : public Codec {
public:
  using Codec::Codec;

  void decodeRow(const uint8_t *row, int64_t columns, float *x, TensorSide) const override {
    const TrellisRow layout = TrellisRow::of(columns, int64_t(bytesPerRow(columns)));
    const float scale = f32FromF16(trellisState(row, TrellisRow::scaleBits));
    const float *values = trellisValues();
    for (int64_t c = 0; c < columns; ++c)
      x[c] = scale * values[trellisState(row, layout.end(c))];
  }

protected:
  llvm::Error encode(const float *x, int64_t columns, const EncodeOptions &options,
                     uint8_t *out) const override {
    TrellisSearch search(TrellisRow::of(columns, int64_t(bytesPerRow(columns))), plainSurvivors);
    const float *weight = options.rule == ScaleRule::Mse ? options.importance : nullptr;
    if (search.run({x, weight, nullptr}, out))
      return llvm::Error::success();
    return inputError("{}: values of up to {} are too large for the f16 scale of {}; keep the "
                      "tensor in f32 or bf16, or use a format with f32 scales, e.g. int8",
                      subjectOf(options), largestMagnitude(x, columns), info.name);
  }
};

} // namespace

std::unique_ptr<Codec> makeTrellisCodec(const FormatInfo &info) {
  return std::make_unique<TrellisCodec>(info);
}

} // namespace qplan
