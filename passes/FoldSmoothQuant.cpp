//===- FoldSmoothQuant.cpp - move activation outliers into weights --------===//
//
// Computes one factor for each input column of the sites that share an input;
// InputFold.h says where the division goes.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "passes/InputFold.h"
#include "passes/PassInputs.h"

#include <cmath>
#include <llvm/ADT/MapVector.h>

using namespace mlir;

namespace qplan {
#define GEN_PASS_DEF_FOLDSMOOTHQUANT
#include "passes/Passes.h.inc"
} // namespace qplan

using namespace qplan;

namespace {

/// Sites that read one value and are smoothed together.
struct Group {
  std::vector<Site> sites;
  double alpha = 0.5;
};

struct FoldSmoothQuantPass : qplan::impl::FoldSmoothQuantBase<FoldSmoothQuantPass> {
  using FoldSmoothQuantBase::FoldSmoothQuantBase;

  PassInputs inputs;
  OpenedInputs opened;

  void runOnOperation() override {
    llvm::Error error = openStatistics(statisticsFile, inputs, opened);
    if (!error)
      error = openWeights(checkpointPath, blobFolder, inputs, opened);
    if (error) {
      getOperation().emitError() << llvm::toString(std::move(error));
      return signalPassFailure();
    }
    llvm::MapVector<Value, Group> groups;
    for (const Site &site : collectSites(getOperation())) {
      auto text = site.op->getAttrOfType<StringAttr>(treatmentAttr);
      if (!text || !site.input())
        continue;
      auto treatment = parseTreatment(text.getValue());
      if (!treatment) {
        site.op->emitError() << llvm::toString(treatment.takeError());
        return signalPassFailure();
      }
      if (treatment->method != Method::SmoothQuant)
        continue;
      Group &group = groups[site.input()];
      group.alpha = treatment->parameter("alpha");
      group.sites.push_back(site);
    }
    for (auto &[input, group] : groups) {
      Operation *first = group.sites[0].op;
      if (auto error = smooth(group)) {
        first->emitError() << llvm::toString(std::move(error));
        return signalPassFailure();
      }
    }
  }

  llvm::Error smooth(Group &group) {
    if (!inputs.weights || !inputs.statistics)
      return usageError("site {}: smoothquant needs the ranges of its input; give a calibration "
                        "text (--calib) or statistics (--statistics)",
                        group.sites[0].name);
    auto factors = computeFactors(group);
    if (!factors)
      return factors.takeError();
    InputFold fold(std::move(group.sites));
    fold.legalize(*factors);
    ++(fold.folds() ? folded : explicitOps);
    return fold.apply(*factors, inputs.weights->blobs());
  }

  /// s[j] = a[j]^alpha / w[j]^(1 - alpha).
  llvm::Expected<std::vector<float>> computeFactors(const Group &group) {
    const std::string &name = group.sites[0].name;
    auto found = inputs.statistics->sites.find(name);
    if (found == inputs.statistics->sites.end())
      return inputError("site {}: the statistics do not hold it; make them again", name);
    const std::vector<float> &a = found->second.absMax;
    std::vector<float> w(a.size(), 0.0f), s(a.size(), 1.0f);
    for (const Site &site : group.sites) {
      if (size_t(site.columns) != a.size())
        return inputError("site {}: the statistics are of {} columns, the site has {}", site.name,
                          a.size(), site.columns);
      for (unsigned i = 0; i < site.weightCount; ++i)
        if (auto error = columnMaxima(site.weight(i), w))
          return std::move(error);
    }
    for (size_t j = 0; j < s.size(); ++j)
      if (a[j] > 0 && w[j] > 0)
        s[j] = float(std::clamp(std::pow(double(a[j]), group.alpha) /
                                    std::pow(double(w[j]), 1 - group.alpha),
                                1e-4, 1e4));
    return s;
  }

  llvm::Error columnMaxima(Value weight, std::vector<float> &w) {
    auto view = inputs.weights->open(weightUnder(weight).getSource());
    if (!view)
      return view.takeError();
    constexpr int64_t rowsAtOnce = 16;
    std::vector<float> rows(rowsAtOnce * w.size());
    for (int64_t first = 0; first < view->rows(); first += rowsAtOnce) {
      int64_t count = std::min(rowsAtOnce, view->rows() - first);
      if (auto error = view->readRows(first, count, rows.data()))
        return error;
      for (int64_t r = 0; r < count; ++r)
        for (size_t j = 0; j < w.size(); ++j)
          w[j] = std::max(w[j], std::fabs(rows[r * w.size() + j]));
    }
    return llvm::Error::success();
  }
};

} // namespace

std::unique_ptr<Pass> qplan::createFoldSmoothQuant(const PassInputs &inputs) {
  auto pass = std::make_unique<FoldSmoothQuantPass>();
  pass->inputs = inputs;
  return pass;
}
