//===- KvCacheTest.cpp - emitted attention over quantized caches ----------===//
//
// Compiled models against the evaluator, with caches of several formats. Both round keys and
// values once, when they are stored; a code on the edge of its interval may fall to
// either side, so that logits agree as closely as those of quantized activations do.
//
//===----------------------------------------------------------------------===//
#include "../../ir/eval/EvalTesting.h"
#include "codegen/driver/Calibrator.h"
#include "codegen/lower/Passes.h"
#include "ir/packings/KvPages.h"
#include "passes/Sites.h"

#include <mlir/Dialect/LLVMIR/LLVMDialect.h>

using namespace qplan;
using namespace qplan::test;

namespace {

/// Ranges of every cache of `module`, a different one for each column.
Statistics someRanges(mlir::ModuleOp module) {
  Statistics statistics;
  module->walk([&](qp::AttentionOp op) {
    for (const std::string &name : {keyCacheName(op), valueCacheName(op)}) {
      SiteStatistics &site = statistics.sites[name];
      for (int64_t c = 0; c < qp::widthOf(op.getKey().getType()); ++c)
        site.absMax.push_back(0.5f + 0.02f * float(c));
    }
  });
  return statistics;
}

/// A checkpoint of random weights in tests/Inputs/zoo with its cache in `format`.
class CachedModel {
public:
  CachedModel(const std::string &folder, llvm::StringRef format, unsigned threads = 2)
      : model(inputPath("zoo/" + folder), format.str()), golden(folder) {
    model.context.loadDialect<plan::PlanDialect, mlir::LLVM::LLVMDialect>();
    statistics = someRanges(*model.module);
    PassInputs inputs;
    inputs.statistics = &statistics;
    model.apply(createInsertQdq(inputs));
    mlir::OwningOpRef<mlir::ModuleOp> planned(model.module->clone());
    mlir::PassManager manager(&model.context);
    manager.addPass(createFuse());
    addPlanPasses(manager);
    EXPECT_TRUE(mlir::succeeded(manager.run(*planned)));
    auto made = LiveModel::create(std::move(planned), *model.store, threads, ProgressSink());
    EXPECT_TRUE(bool(made)) << llvm::toString(made.takeError());
    live = std::move(*made);
  }

  /// Logits of both golden sequences, as the evaluator gives them.
  std::vector<float> evaluated() { return model.run(golden.ids).values; }
  /// The same from compiled code.
  std::vector<float> compiled() {
    std::vector<float> all;
    for (const std::vector<int32_t> &ids : golden.ids) {
      std::vector<float> logits;
      llvm::cantFail(live->run(ids, &logits));
      all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
  }

  Model model;
  Golden golden;
  Statistics statistics;
  std::unique_ptr<LiveModel> live;
};

/// Root of the mean square of a - b, in standard deviations of b.
double rms(const std::vector<float> &a, const std::vector<float> &b) {
  if (a.size() != b.size() || b.empty())
    return HUGE_VAL;
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    sum += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
  return std::sqrt(sum / double(a.size())) / deviation(b);
}

} // namespace

TEST(KvCache, CompiledModelsAgreeWithTheEvaluator) {
  // Heads that share keys, windows and soft caps, as many heads as queries, wider heads.
  const std::pair<const char *, FormatId> cases[] = {
      {"llama_gqa", FormatId::F16},         {"llama_gqa", FormatId::Int8},
      {"llama_gqa", FormatId::Int4G32Asym}, {"llama_gqa", FormatId::Fp8E4M3Head},
      {"gemma2", FormatId::Int4G32},        {"mistral", FormatId::Fp8E4M3Tensor},
      {"gpt2", FormatId::NvFp4},            {"qwen3", FormatId::Int4G64Asym}};
  for (auto [folder, format] : cases) {
    SCOPED_TRACE(std::string(folder) + " " + formatName(format).str());
    CachedModel cached(folder, formatName(format));
    ASSERT_TRUE(cached.live);
    std::vector<float> expected = cached.evaluated();
    EXPECT_LE(rms(cached.compiled(), expected), 1e-2);
    // The cache does matter: coarse formats are further from f32 than that.
    if (formatInfo(format).elementBits == 4) {
      EXPECT_GE(rms(cached.golden.logits, expected), 1e-2);
    }
  }
}
