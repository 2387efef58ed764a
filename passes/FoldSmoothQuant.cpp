//===- FoldSmoothQuant.cpp - move activation outliers into weights --------===//
//
// Computes one factor for each input column of the sites that share an input;
// InputFold.h says where the division goes.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "passes/InputFold.h"
#include "passes/PassInputs.h"
#include "passes/SmoothFactors.h"

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
      bool smoothed = treatment->method == Method::SmoothQuantPlus ||
                      (treatment->method == Method::SmoothQuant && !treatment->parameter("search"));
      if (!smoothed)
        continue;
      if (treatment->parameter("alpha") < 0) {
        site.op->emitError() << "site " << site.name << ": the alpha of smoothquantplus was not "
                             << "searched; give one, or run `qplan compile` with --calib";
        return signalPassFailure();
      }
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
    auto ranges = columnRanges(group.sites, *inputs.statistics, *inputs.weights);
    if (!ranges)
      return ranges.takeError();
    std::vector<float> factors = ranges->factors(group.alpha);
    InputFold fold(std::move(group.sites));
    fold.legalize(factors);
    ++(fold.folds() ? folded : explicitOps);
    return fold.apply(factors, inputs.weights->blobs());
  }
};

} // namespace

std::unique_ptr<Pass> qplan::createFoldSmoothQuant(const PassInputs &inputs) {
  auto pass = std::make_unique<FoldSmoothQuantPass>();
  pass->inputs = inputs;
  return pass;
}
