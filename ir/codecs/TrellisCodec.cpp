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
