//===- FloatCodec.cpp - f32, f16 and bf16 ---------------------------------===//
//
// Plain floats: each value on its own, nearest even, NaN and infinity kept.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/Codecs.h"
#include "ir/codecs/Numbers.h"

namespace qplan {
namespace {

class FloatCodec final : public Codec {
public:
  using Codec::Codec;

  void decodeRow(const uint8_t *row, int64_t columns, float *x, TensorSide) const override {
    if (info.kind == ElementKind::F32)
      std::memcpy(x, row, columns * sizeof(float));
    else if (info.kind == ElementKind::F16)
      for (int64_t i = 0; i < columns; ++i)
        x[i] = f32FromF16(loadUnaligned<uint16_t>(row + 2 * i));
    else
      for (int64_t i = 0; i < columns; ++i)
        x[i] = f32FromBf16(loadUnaligned<uint16_t>(row + 2 * i));
  }

protected:
  llvm::Error encode(const float *x, int64_t columns, const EncodeOptions &,
                     uint8_t *out) const override {
    if (info.kind == ElementKind::F32)
      std::memcpy(out, x, columns * sizeof(float));
    else if (info.kind == ElementKind::F16)
      for (int64_t i = 0; i < columns; ++i)
        storeUnaligned(out + 2 * i, f16FromF32(x[i]));
    else
      for (int64_t i = 0; i < columns; ++i)
        storeUnaligned(out + 2 * i, bf16FromF32(x[i]));
    return llvm::Error::success();
  }
};

} // namespace

std::unique_ptr<Codec> makeFloatCodec(const FormatInfo &info) {
  return std::make_unique<FloatCodec>(info);
}

} // namespace qplan
