//===- PartialRunsTest.cpp - runs that begin in the middle ----------------===//
//
// Whatever weight changes, a run that is entered at its first reader gives the logits of
// a whole run to the bit: decoders of several shapes, experts, tied tables.
//
//===----------------------------------------------------------------------===//
#include "../../ir/eval/EvalTesting.h"
#include "codegen/driver/PartialRuns.h"
#include "codegen/lower/Passes.h"

#include <cstring>
#include <mlir/Dialect/LLVMIR/LLVMDialect.h>

using namespace qplan;
using namespace qplan::test;

namespace {

/// A checkpoint of tests/Inputs/zoo in f32, with its golden sequences.
class Live {
public:
  explicit Live(const std::string &folder, bool singleExperts = false)
      : model(inputPath("zoo/" + folder), "f32", singleExperts), golden(folder) {
    model.context.loadDialect<plan::PlanDialect, mlir::LLVM::LLVMDialect>();
    mlir::OwningOpRef<mlir::ModuleOp> planned(model.module->clone());
    mlir::PassManager manager(&model.context);
    addPlanPasses(manager);
    EXPECT_TRUE(mlir::succeeded(manager.run(*planned)));
    auto made = LiveModel::create(std::move(planned), *model.store, 2, ProgressSink());
    EXPECT_TRUE(bool(made)) << llvm::toString(made.takeError());
    live = std::move(*made);
    // Windows have one length.
    size_t length = SIZE_MAX;
    for (const auto &ids : golden.ids)
      length = std::min(length, ids.size());
    for (const auto &ids : golden.ids)
      windows.emplace_back(ids.begin(), ids.begin() + int64_t(length));
    for (plan::WeightOp weight : live->program().getWeights())
      if (weight.getSites())
        weights.push_back(weight);
    auto runsMade = PartialRuns::create(*live, windows, weights);
    EXPECT_TRUE(bool(runsMade)) << llvm::toString(runsMade.takeError());
    runs = std::move(*runsMade);
    for (plan::WeightOp weight : weights)
      firsts.push_back(runs->pass().readerOf(weight));
  }

  /// Multiplies the f32 values of a weight.
  void scale(plan::WeightOp weight, float factor) {
    auto bytes = live->bytesOf(weight);
    for (size_t i = 0; i + 4 <= bytes.size(); i += 4) {
      float value;
      std::memcpy(&value, bytes.data() + i, 4);
      value *= factor;
      std::memcpy(bytes.data() + i, &value, 4);
    }
  }

  /// Logits of a whole run of the last window.
  std::vector<float> whole() {
    std::vector<float> logits;
    llvm::cantFail(live->run(windows.back(), &logits));
    return logits;
  }

  Model model;
  Golden golden;
  std::unique_ptr<LiveModel> live;
  std::vector<std::vector<int32_t>> windows;
  std::vector<plan::WeightOp> weights;
  std::vector<int64_t> firsts;
  std::unique_ptr<PartialRuns> runs;
};

} // namespace

TEST(PartialRuns, AreWholeRunsToTheBit) {
  for (const char *folder : {"llama_gqa", "mixtral", "gemma2", "gpt2"}) {
    SCOPED_TRACE(folder);
    Live model(folder);
    ASSERT_TRUE(model.runs);
    EXPECT_EQ(llvm::cantFail(model.runs->divergence(0)), 0.0);
    for (auto [weight, first] : llvm::zip(model.weights, model.firsts)) {
      model.scale(weight, 0.5f);
      const double kl = llvm::cantFail(model.runs->divergence(first));
      EXPECT_EQ(model.runs->logits(), model.whole());
      EXPECT_GT(kl, 0.0);
      model.scale(weight, 2.0f);
    }
    // Runs that are entered late skip most of the launches.
    EXPECT_GT(model.runs->pass().entryFor(model.firsts.back()), 0);
  }
}

TEST(PartialRuns, EnterChainsOfExperts) {
  Live bank("mixtral"), model("mixtral", /*singleExperts=*/true);
  ASSERT_TRUE(bank.runs && model.runs);
  EXPECT_EQ(model.whole(), bank.whole());
  EXPECT_GT(model.weights.size(), bank.weights.size());
  for (auto [weight, first] : llvm::zip(model.weights, model.firsts)) {
    model.scale(weight, 0.5f);
    llvm::cantFail(model.runs->divergence(first));
    EXPECT_EQ(model.runs->logits(), model.whole());
    model.scale(weight, 2.0f);
  }
}

TEST(PartialRuns, ChangeRowsForOneLaunch) {
  Live model("llama_gqa");
  ASSERT_TRUE(model.runs);
  // A site whose input is zero is a site whose weights are zero; q, k and v read one value.
  const llvm::StringRef site = "layers.0.attn.k";
  auto found = llvm::find_if(model.weights, [&](plan::WeightOp weight) {
    return llvm::is_contained(weight.getSites()->getAsRange<mlir::StringAttr>(),
                              mlir::StringAttr::get(weight.getContext(), site));
  });
  ASSERT_NE(found, model.weights.end());
  const int64_t launch = model.runs->pass().launchOf(site);
  const RowChange clear = {launch, [](float *row, int64_t columns) {
                             std::fill(row, row + columns, 0.0f);
                             return llvm::Error::success();
                           }};
  const double cleared = llvm::cantFail(model.runs->divergence(launch, clear));
  std::vector<float> logits = model.runs->logits();
  model.scale(*found, 0.0f);
  EXPECT_EQ(llvm::cantFail(model.runs->divergence(launch)), cleared);
  EXPECT_EQ(model.runs->logits(), logits);
}
