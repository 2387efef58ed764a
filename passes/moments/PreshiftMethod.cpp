//===- PreshiftMethod.cpp - @preshift -------------------------------------===//
//
// LLM-FP4 (arXiv:2310.16836) rounds activations to floats of 4 bits with a bias of the
// exponent for each channel, and moves the biases into the weights beforehand: columns of the
// input are divided by powers of two, those of the weights multiplied. An exponent of e bits
// gives room for 2^e - 1 binades; how many of them pay is told by the error of the outputs,
// since weights suffer from what activations gain.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/codecs/Elements.h"
#include "passes/moments/FactorSearch.h"
#include "passes/moments/Methods.h"

using namespace qplan;

namespace {

class PreshiftMethod final : public MomentMethod {
public:
  llvm::Error check(const Treatment &treatment) const override {
    if (formatInfo(treatment.weight).family == CodecFamily::Float)
      return usageError("preshift moves exponents into weights that are quantized, and {} is not; "
                        "leave out @preshift",
                        formatName(treatment.weight).str());
    if (treatment.activation && minifloatOf(formatInfo(*treatment.activation).kind))
      return llvm::Error::success();
    return usageError("preshift is for activations in small floats; write llm_fp4afp4@preshift, or "
                      "leave out @preshift");
  }

  llvm::Expected<std::vector<float>> factors(const InputMoments &moments,
                                             llvm::ArrayRef<MomentWeight> weights,
                                             const FactorRule &legal,
                                             unsigned threads) const override {
    const auto shape = minifloatOf(formatInfo(*weights[0].treatment.activation).kind);
    return binadeFactors({moments, weights, legal, ScaleRule::Max, threads},
                         (1 << shape->exponentBits) - 1);
  }

  bool rounds(const Treatment &) const override { return false; }
};

} // namespace

std::unique_ptr<MomentMethod> qplan::makePreshiftMethod() {
  return std::make_unique<PreshiftMethod>();
}
