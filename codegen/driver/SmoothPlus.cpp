//===- SmoothPlus.cpp - one alpha for the whole model ---------------------===//
//
// SmoothQuant+ (arXiv:2312.03788): the alpha of SmoothQuant's factors that makes the whole
// model's loss least, with all weights of the method rounded. The loss is the KL
// divergence from the model as it is, on the beginning of the calibration text; the model
// runs in f32 with round(w * s) / s in place of w, which is what smoothing computes. The
// alpha that was found becomes part of the treatments, for recipes to repeat it.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Calibrator.h"
#include "codegen/weights/PackWeights.h"
#include "ir/Failure.h"
#include "passes/SmoothFactors.h"

#include <llvm/ADT/MapVector.h>
#include <mlir/Pass/PassManager.h>

using namespace mlir;
using namespace qplan;

namespace {

/// Text on which losses are compared, and how finely.
constexpr int64_t lossWindows = 4, lossLength = 256, alphaSteps = 20;

/// Sites that read one value, and the ranges of its columns.
struct SmoothedInput {
  std::vector<Site> sites;
  std::vector<FormatId> formats; ///< of each site
  ColumnRanges ranges;
};

class LossSearch {
public:
  LossSearch(LiveModel &live, WeightStore &store, unsigned threads)
      : live(live), store(store), threads(threads), bySite(live.weightsBySite()) {}

  llvm::Error setText(ArrayRef<std::vector<int32_t>> windows) {
    texts = windows;
    for (const auto &window : windows)
      if (auto error = live.run(window, &baseline.emplace_back()))
        return error;
    return llvm::Error::success();
  }

  /// Leaves the weights of `inputs` as they are at `alpha`.
  llvm::Expected<double> loss(ArrayRef<SmoothedInput> inputs, double alpha) {
    for (const SmoothedInput &input : inputs) {
      std::vector<float> factors = input.ranges.factors(alpha);
      for (auto [site, format] : llvm::zip(input.sites, input.formats)) {
        plan::WeightOp weight = bySite.lookup(site.name);
        auto packed = packTrial(weight, store, {format, {}, factors}, threads);
        if (!packed)
          return packed.takeError();
        llvm::copy(*packed, live.bytesOf(weight).begin());
      }
    }
    double sum = 0;
    for (auto [window, expected] : llvm::zip(texts, baseline)) {
      if (auto error = live.run(window, &scratch))
        return std::move(error);
      sum += live.divergence(expected, scratch);
    }
    return sum / double(texts.size());
  }

private:
  LiveModel &live;
  WeightStore &store;
  unsigned threads;
  llvm::StringMap<plan::WeightOp> bySite;
  ArrayRef<std::vector<int32_t>> texts;
  std::vector<std::vector<float>> baseline;
  std::vector<float> scratch;
};

/// Writes `alpha` into the treatments of the sites of `inputs`, and into the module's record.
void recordAlpha(ModuleOp module, ArrayRef<SmoothedInput> inputs, double alpha) {
  NamedAttrList record(module->getAttrOfType<DictionaryAttr>("qp.treatments"));
  for (const SmoothedInput &input : inputs)
    for (const Site &site : input.sites) {
      auto text = site.op->getAttrOfType<StringAttr>(treatmentAttr);
      Treatment treatment = llvm::cantFail(parseTreatment(text.getValue()));
      treatment.parameters["alpha"] = alpha;
      auto found = StringAttr::get(module.getContext(), printTreatment(treatment));
      site.op->setAttr(treatmentAttr, found);
      record.set(site.name, found);
    }
  module->setAttr("qp.treatments", record.getDictionary(module.getContext()));
}

} // namespace

llvm::Error Compiler::searchSmoothPlus(ModuleOp module) {
  llvm::MapVector<Value, SmoothedInput> byValue;
  for (const Site &site : collectSites(module)) {
    auto text = site.op->getAttrOfType<StringAttr>(treatmentAttr);
    if (!text || !site.input())
      continue;
    auto treatment = parseTreatment(text.getValue());
    if (!treatment)
      return treatment.takeError();
    if (treatment->method != Method::SmoothQuantPlus || treatment->parameter("alpha") >= 0)
      continue;
    if (!statistics || options.calibration.empty())
      return usageError("site {}: smoothquantplus needs the calibration text itself to compare "
                        "losses; give --calib TEXT, or its alpha",
                        site.name);
    if (formatInfo(treatment->weight).side != SideData::None)
      return usageError("site {}: smoothquantplus is for weights with scales of rows or groups, and "
                        "{} keeps numbers for the whole tensor; choose int4_g128",
                        site.name, formatName(treatment->weight).str());
    SmoothedInput &input = byValue[site.input()];
    input.sites.push_back(site);
    input.formats.push_back(treatment->weight);
  }
  if (byValue.empty())
    return llvm::Error::success();
  std::vector<SmoothedInput> inputs;
  for (auto &[value, input] : byValue) {
    auto ranges = columnRanges(input.sites, *statistics, *weights);
    if (!ranges)
      return ranges.takeError();
    input.ranges = std::move(*ranges);
    inputs.push_back(std::move(input));
  }
  auto windows = calibrationText(lossWindows, lossLength);
  if (!windows)
    return windows.takeError();
  auto imported = import("f32");
  if (!imported)
    return imported.takeError();
  if (auto error = runPasses(**imported, "score", [](OpPassManager &m) { addPlanPasses(m); }))
    return error;
  auto live = LiveModel::create(std::move(*imported), *weights, options.threads, progress);
  if (!live)
    return live.takeError();
  LossSearch search(**live, *weights, options.threads);
  if (auto error = search.setText(*windows))
    return error;
  double best = 0, alpha = 0;
  for (int64_t step = 0; step <= alphaSteps; ++step) {
    const double tried = double(step) / double(alphaSteps);
    auto loss = search.loss(inputs, tried);
    if (!loss)
      return loss.takeError();
    if (step == 0 || *loss < best) {
      best = *loss;
      alpha = tried;
    }
    progress.update("smoothquantplus", uint64_t(step + 1), uint64_t(alphaSteps + 1));
  }
  recordAlpha(module, inputs, alpha);
  progress.note(fmt::format("smoothquantplus: alpha {}, KL {:.5f} nats", alpha, best));
  return llvm::Error::success();
}
