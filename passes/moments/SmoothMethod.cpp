//===- SmoothMethod.cpp - @smoothquant{search=1} --------------------------===//
//
// SmoothQuant whose alpha is searched for each input; with a given alpha it needs ranges
// alone and is the pass qp-fold-smooth-quant. Weights are rounded by their codec.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "passes/moments/FactorSearch.h"
#include "passes/moments/Methods.h"

using namespace qplan;

namespace {

class SmoothMethod final : public MomentMethod {
public:
  bool handles(const Treatment &treatment) const override {
    return treatment.parameter("search") != 0;
  }

  llvm::Error check(const Treatment &treatment) const override {
    const FormatInfo &info = formatInfo(treatment.weight);
    if (info.family == CodecFamily::Float)
      return usageError("smoothquant is for weights that are quantized, and {} is not; leave out "
                        "@smoothquant",
                        info.name);
    return llvm::Error::success();
  }

  llvm::Expected<std::vector<float>> factors(const InputMoments &moments,
                                             llvm::ArrayRef<MomentWeight> weights,
                                             const FactorRule &legal,
                                             unsigned threads) const override {
    return smoothFactors({moments, weights, legal, ScaleRule::Max, threads});
  }

  bool rounds(const Treatment &) const override { return false; }
};

} // namespace

std::unique_ptr<MomentMethod> qplan::makeSmoothMethod() {
  return std::make_unique<SmoothMethod>();
}
