//===- PreshiftMethod.cpp - @preshift -------------------------------------===//
//
// LLM-FP4 (arXiv:2310.16836) rounds activations to floats of 4 bits with a bias of the
// exponent for each channel, and moves the biases into the weights beforehand: columns of the
// input are divided by powers of two, those of the weights multiplied. With ratio r of a
// column's largest magnitude to that of the largest column, and m = 2^e - 1 the greatest
// exponent of e bits, the factor is 2^max(0, m + round(log2 r)): the channels of the highest
// m binades become equally large, which costs weights no more than m binades.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/codecs/Elements.h"
#include "passes/moments/Methods.h"

#include <algorithm>
#include <cmath>

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
                                             const FactorRule &legal, unsigned) const override {
    const auto shape = minifloatOf(formatInfo(*weights[0].treatment.activation).kind);
    const int most = (1 << shape->exponentBits) - 1;
    const float largest = *std::max_element(moments.absMax.begin(), moments.absMax.end());
    std::vector<float> factors(moments.absMax.size(), 1.0f);
    for (size_t j = 0; j < factors.size(); ++j)
      if (moments.absMax[j] > 0) {
        const double binades = std::round(std::log2(double(moments.absMax[j]) / largest));
        factors[j] = float(std::ldexp(1.0, std::max(0, most + int(std::max(binades, -1e3)))));
      }
    legal(factors);
    if (std::all_of(factors.begin(), factors.end(), [](float f) { return f == 1; }))
      factors.clear();
    return factors;
  }

  bool rounds(const Treatment &) const override { return false; }
};

} // namespace

std::unique_ptr<MomentMethod> qplan::makePreshiftMethod() {
  return std::make_unique<PreshiftMethod>();
}
