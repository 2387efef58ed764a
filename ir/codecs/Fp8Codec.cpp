//===- Fp8Codec.cpp - f8E4M3FN with one scale -----------------------------===//
//
// A row is [codes: 1 byte each][f32 scale], without the scale for per-tensor
// formats. value = scale * e4m3(code); scale = amax / 448, so that the largest
// magnitude is the largest finite code. Values beyond saturate.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/Codecs.h"
#include "ir/codecs/Numbers.h"
#include <array>

namespace qplan {
namespace {

/// Sum of weighted squared errors of x[n] at `scale`, in one fixed order.
double squaredError(const float *x, const float *weight, int64_t n, float scale) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    double error = static_cast<double>(scale * f32FromE4m3(e4m3FromF32(x[i] / scale))) - x[i];
    sum += error * error * (weight ? weight[i] : 1.0f);
  }
  return sum;
}

class Fp8Codec final : public Codec {
public:
  using Codec::Codec;

  void decodeRow(const uint8_t *row, int64_t columns, float *x, TensorScale tensor) const override {
    float scale = info.perTensor ? tensor.scale : loadUnaligned<float>(row + columns);
    for (int64_t i = 0; i < columns; ++i)
      x[i] = scale * f32FromE4m3(row[i]);
  }

  void storeRow(const RowParts &parts, int64_t columns, uint8_t *row) const override {
    std::memcpy(row, parts.codes, columns);
    if (!info.perTensor)
      storeUnaligned(row + columns, parts.scales[0]);
  }

protected:
  llvm::Error encode(const float *x, int64_t columns, const EncodeOptions &options,
                     uint8_t *out) const override {
    float scale = options.tensor.scale;
    if (!info.perTensor) {
      scale = rowScale(x, columns, options);
      storeUnaligned(out + columns, scale);
    }
    if (scale == 0)
      std::memset(out, 0, columns);
    else
      for (int64_t i = 0; i < columns; ++i)
        out[i] = e4m3FromF32(x[i] / scale);
    return llvm::Error::success();
  }

private:
  float rowScale(const float *x, int64_t columns, const EncodeOptions &options) const {
    float best = largestMagnitude(x, columns) / (0.5f * info.divisorHalves);
    if (options.rule == ScaleRule::Max || best == 0)
      return best;
    double bestError = squaredError(x, options.importance, columns, best);
    // The grid of a float repeats with every factor of two: one octave holds every choice
    // but saturation, which the factors below 1 offer.
    const float first = best;
    for (float factor : std::array{0.75f, 0.875f, 1.125f, 1.25f, 1.375f, 1.5f, 1.75f}) {
      double error = squaredError(x, options.importance, columns, first * factor);
      if (error < bestError) {
        bestError = error;
        best = first * factor;
      }
    }
    return best;
  }
};

} // namespace

std::unique_ptr<Codec> makeFp8Codec(const FormatInfo &info) {
  return std::make_unique<Fp8Codec>(info);
}

} // namespace qplan
