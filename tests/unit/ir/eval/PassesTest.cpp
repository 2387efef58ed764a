//===- PassesTest.cpp - what passes may do to numbers ---------------------===//
//
// Fusion changes nothing; smoothing without quantization changes nothing;
// quantization changes little. Over every architecture of the zoo.
//
//===----------------------------------------------------------------------===//

#include "EvalTesting.h"
#include "passes/Sites.h"

using namespace qplan;
using namespace qplan::test;

namespace {

class Passes : public testing::TestWithParam<std::string> {
protected:
  std::string path() const { return inputPath("zoo/" + GetParam()); }
};

/// Statistics of every observed site, as calibration gathers them.
Statistics observe(Model &model, const Sequences &ids) {
  Statistics statistics;
  model.apply(createInsertObservers());
  EvalOptions options;
  options.observe = [&](llvm::StringRef site, const EvalRows &rows) {
    SiteStatistics &own = statistics.sites[site.str()];
    own.rows = rows.rows;
    own.absMax.assign(rows.columns, 0);
    own.meanAbs = own.meanSquare = own.absMax;
    for (int64_t r = 0; r < rows.rows; ++r) {
      for (int64_t c = 0; c < rows.columns; ++c) {
        float magnitude = std::fabs(rows.row(r)[c]);
        own.absMax[c] = std::max(own.absMax[c], magnitude);
        own.meanAbs[c] += magnitude / rows.rows;
        own.meanSquare[c] += magnitude * magnitude / rows.rows;
      }
    }
  };
  model.run(ids, options);
  return statistics;
}

/// Sites that share an input share the statistics of the first.
void shareStatistics(Model &model, Statistics &statistics) {
  llvm::DenseMap<mlir::Value, std::string> first;
  for (const Site &site : collectSites(*model.module))
    if (mlir::Value input = site.input()) {
      auto [entry, inserted] = first.try_emplace(input, site.name);
      if (!inserted)
        statistics.sites[site.name] = statistics.sites[entry->second];
    }
}

} // namespace

TEST_P(Passes, ObserversSeeEverySiteAndChangeNothing) {
  Golden golden(GetParam());
  Model model(path());
  Statistics statistics = observe(model, golden.ids);
  EXPECT_TRUE(statistics.sites.contains("layers.0.attn.q"));
  EXPECT_TRUE(statistics.sites.contains("lm_head"));
  EXPECT_LE(distance(model.run(golden.ids).values, golden.logits), 1e-4);
}

TEST_P(Passes, FusionKeepsEveryNumber) {
  Golden golden(GetParam());
  for (const char *quant : {"f32", "bf16", "int4_g32", "int8a8", "q4_0", "int4_g32@mse"}) {
    Model model(path());
    model.quantize(quant, "layers+lm_head+embedding");
    EvalRows before = model.run(golden.ids);
    model.apply(createFuse());
    EXPECT_LE(distance(model.run(golden.ids).values, before.values), 1e-5) << quant;
  }
}

TEST_P(Passes, QuantizationStaysNearTheOriginal) {
  Golden golden(GetParam());
  struct {
    const char *quant;
    double least, most;
  } rows[] = {{"f16", 0, 0.05}, {"int8", 1e-5, 0.3}, {"int8a8", 1e-5, 0.5}, {"fp8", 1e-5, 1.0}};
  for (auto [quant, least, most] : rows) {
    Model model(path());
    model.quantize(quant);
    double found = distance(model.run(golden.ids).values, golden.logits);
    EXPECT_GE(found, least) << quant;
    EXPECT_LE(found, most) << quant;
  }
}

TEST_P(Passes, SmoothingAloneChangesNothing) {
  Golden golden(GetParam());
  Model model(path());
  Statistics statistics = observe(model, golden.ids);
  shareStatistics(model, statistics);
  PassInputs inputs{model.store.get(), &statistics, nullptr};
  AssignTreatmentsOptions options;
  options.quant = "int8a8@smoothquant";
  model.apply(createAssignTreatments(inputs, options), createFoldSmoothQuant(inputs));
  bool smoothed = false;
  model.module->walk([&](qp::WeightOp op) {
    smoothed |= op.getSource().contains("blob:") || op.getSource().contains("|scale_");
  });
  EXPECT_TRUE(smoothed);
  EXPECT_LE(distance(model.run(golden.ids).values, golden.logits), 1e-4);
}

TEST_P(Passes, RotationsAloneChangeNothing) {
  Golden golden(GetParam());
  for (const char *what : {"residual", "values", "down"}) {
    Model model(path());
    std::string said;
    mlir::ScopedDiagnosticHandler handler(&model.context, [&](mlir::Diagnostic &diagnostic) {
      said += diagnostic.str();
      return mlir::success();
    });
    mlir::PassManager manager(&model.context);
    manager.addPass(createRotate({model.store.get()}, {.what = what}));
    if (mlir::failed(manager.run(*model.module))) {
      // Layer norms mind, and there is no way around them.
      bool hasLayerNorms =
          model.module->walk([](qp::LayerNormOp) { return mlir::WalkResult::interrupt(); })
              .wasInterrupted();
      EXPECT_TRUE(hasLayerNorms && llvm::StringRef(what) == "residual") << what << ": " << said;
      EXPECT_NE(said.find("leave `residual` out"), std::string::npos) << said;
      continue;
    }
    bool rotated = false;
    model.module->walk([&](qp::WeightOp op) { rotated |= op.getSource().contains("|rotate_"); });
    EXPECT_TRUE(rotated) << what;
    EXPECT_LE(distance(model.run(golden.ids).values, golden.logits), 1e-4) << what;
  }
}

TEST(SingleExperts, ComputeWhatTheirBankDoes) {
  Golden golden("mixtral");
  std::string path = inputPath("zoo/mixtral");
  Model bank(path), single(path, "f32", /*singleExperts=*/true);
  AssignTreatmentsOptions options;
  options.quant = "int8a8";
  for (Model *model : {&bank, &single})
    model->apply(createAssignTreatments(PassInputs(), options), createInsertQdq(PassInputs()));
  EXPECT_EQ(single.run(golden.ids).values, bank.run(golden.ids).values);
  bank.apply(createFuse());
  single.apply(createFuse());
  EXPECT_EQ(single.run(golden.ids).values, bank.run(golden.ids).values);
  size_t ops = 0;
  single.module->walk([&](qp::ExpertLinearOp op) {
    EXPECT_FALSE(op.getOnto());
    ++ops;
  });
  EXPECT_EQ(ops, 6u); // gate, up and down of two layers
}

INSTANTIATE_TEST_SUITE_P(, Passes, testing::ValuesIn(zooFolders()),
                         [](const auto &info) { return info.param; });
