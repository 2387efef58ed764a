//===- GptqMethod.cpp - @gptq ---------------------------------------------===//
//
// One factorisation of an input's moments serves all weights that read it.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "passes/gptq/Gptq.h"
#include "passes/moments/FactorSearch.h"
#include "passes/moments/Methods.h"

using namespace qplan;

namespace {

GptqOptions optionsOf(const Treatment &treatment) {
  // The bits of a tcq row are in the order of columns.
  const bool ordered = formatInfo(treatment.weight).family == CodecFamily::Trellis;
  return {treatment.parameter("damp"), !ordered && treatment.parameter("actorder") != 0,
          treatment.parameter("mse") != 0, ordered ? 0 : int(treatment.parameter("sweeps")),
          int(treatment.parameter("beam"))};
}

class GptqRounder final : public MomentRounder {
public:
  GptqRounder(GptqFactor factor, GptqOptions options, unsigned threads)
      : factor(std::move(factor)), options(options), threads(threads) {}

  llvm::Expected<std::vector<uint8_t>> round(const MomentWeight &weight) const override {
    return roundGptq(factor, weight.treatment.weight, weight.rows, weight.read, options, threads,
                     weight.subject);
  }

private:
  GptqFactor factor;
  GptqOptions options;
  unsigned threads;
};

class GptqMethod final : public MomentMethod {
public:
  llvm::Error check(const Treatment &treatment) const override {
    if (treatment.parameter("awq") != 0 && treatment.parameter("smooth") != 0)
      return usageError("gptq takes the factors of awq or those of smoothquant; leave out awq=1 or "
                        "smooth=1");
    if (formatInfo(treatment.weight).family == CodecFamily::Sparse)
      return usageError(
          "gptq rounds what it is given, and {} must also choose what it keeps; write "
          "@sparsegpt",
          formatName(treatment.weight).str());
    if (canRoundGptq(treatment.weight))
      return llvm::Error::success();
    return usageError("gptq chooses codes whose scales are fixed, and those of {} are not; leave "
                      "out @gptq, or choose int8, int4_g64, tcq4 or another of these",
                      formatName(treatment.weight).str());
  }

  llvm::Expected<std::vector<float>> factors(const InputMoments &moments,
                                             llvm::ArrayRef<MomentWeight> weights,
                                             const FactorRule &legal,
                                             unsigned threads) const override {
    const Treatment &treatment = weights[0].treatment;
    ScaleRule rule = treatment.parameter("mse") != 0 ? ScaleRule::Mse : ScaleRule::Max;
    FactorProblem problem{moments, weights, legal, rule, threads};
    if (treatment.parameter("smooth") != 0)
      return smoothFactors(problem);
    if (treatment.parameter("awq") != 0)
      return awqFactors(problem);
    return std::vector<float>();
  }

  bool rounds(const Treatment &) const override { return true; }

  llvm::Expected<std::unique_ptr<MomentRounder>> rounder(const InputMoments &moments,
                                                         const Treatment &treatment,
                                                         unsigned threads) const override {
    GptqOptions options = optionsOf(treatment);
    auto factor = GptqFactor::create(moments.gram, moments.columns, moments.count, options, threads,
                                     moments.subject);
    if (!factor)
      return factor.takeError();
    return std::make_unique<GptqRounder>(std::move(*factor), options, threads);
  }
};

} // namespace

std::unique_ptr<MomentMethod> qplan::makeGptqMethod() { return std::make_unique<GptqMethod>(); }
