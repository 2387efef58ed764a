//===- ChoiceCodec.cpp - rows in one of several formats -------------------===//
//
// A tensor's rows are all in the same one of a few formats whose rows are equally
// large; the number beside the tensor says which. SideObserver chooses it.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/Codecs.h"
#include <algorithm>
#include <array>

namespace qplan {
namespace {

class ChoiceCodec final : public Codec {
public:
  using Codec::Codec;

  void decodeRow(const uint8_t *row, int64_t columns, float *x, TensorSide tensor) const override {
    chosen(tensor).decodeRow(row, columns, x);
  }
  void gridRow(const uint8_t *row, int64_t columns, GridRow &out,
               TensorSide tensor) const override {
    chosen(tensor).gridRow(row, columns, out);
  }

protected:
  llvm::Error encode(const float *x, int64_t columns, const EncodeOptions &options,
                     uint8_t *out) const override {
    EncodeOptions own = options;
    own.tensor = {};
    return chosen(options.tensor).encodeRow(x, columns, own, out);
  }

private:
  /// Any number gives one of the formats: it may come from a damaged file.
  static const Codec &chosen(TensorSide tensor) {
    const float number = tensor.at(0), last = float(choiceOf().size() - 1);
    return codecFor(choiceOf()[number > 0 ? size_t(std::min(number, last)) : 0]);
  }
};

} // namespace

llvm::ArrayRef<FormatId> choiceOf() {
  static constexpr std::array<FormatId, 3> formats = {FormatId::Fp4E1M2, FormatId::Fp4E2M1,
                                                      FormatId::Fp4E3M0};
  return formats;
}

std::unique_ptr<Codec> makeChoiceCodec(const FormatInfo &info) {
  return std::make_unique<ChoiceCodec>(info);
}

} // namespace qplan
