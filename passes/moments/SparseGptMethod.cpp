//===- SparseGptMethod.cpp - @sparsegpt -----------------------------------===//
//
// 2:4 sparsity with reconstruction: GPTQ's rounding, columns from left to right, that
// also chooses which two of four columns a row loses (passes/gptq/Gptq.h).
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "passes/gptq/Gptq.h"
#include "passes/moments/Methods.h"

using namespace qplan;

namespace {

GptqOptions optionsOf(const Treatment &treatment) {
  return {treatment.parameter("damp"), /*actOrder=*/false, treatment.parameter("mse") != 0};
}

class SparseGptRounder final : public MomentRounder {
public:
  SparseGptRounder(GptqFactor factor, GptqOptions options, unsigned threads)
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

class SparseGptMethod final : public MomentMethod {
public:
  llvm::Error check(const Treatment &treatment) const override {
    if (formatInfo(treatment.weight).family == CodecFamily::Sparse)
      return llvm::Error::success();
    return usageError("sparsegpt chooses what sparse formats keep, and {} keeps everything; choose "
                      "f16_24, int8_24, int4_g64_24 or another of these",
                      formatName(treatment.weight).str());
  }

  bool rounds(const Treatment &) const override { return true; }

  llvm::Expected<std::unique_ptr<MomentRounder>>
  rounder(const InputMoments &moments, const Treatment &treatment,
          unsigned threads) const override {
    GptqOptions options = optionsOf(treatment);
    auto factor = GptqFactor::create(moments.gram, moments.columns, moments.count, options,
                                     threads, moments.subject);
    if (!factor)
      return factor.takeError();
    return std::make_unique<SparseGptRounder>(std::move(*factor), options, threads);
  }
};

} // namespace

std::unique_ptr<MomentMethod> qplan::makeSparseGptMethod() {
  return std::make_unique<SparseGptMethod>();
}
