//===- Ranges.cpp - ranges of static activations from histograms ----------===//
//
// Runs the model in f32 once more, for the treatments that ask for another range than
// the largest magnitude: the statistics tell the top of each histogram. Rows are those
// of the model as it was, divided by the factors of their sites.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Calibrator.h"
#include "ir/Failure.h"
#include "passes/InputFold.h"
#include "passes/moments/HistogramRange.h"

#include <llvm/ADT/MapVector.h>
#include <mlir/IR/Builders.h>

using namespace mlir;
using namespace qplan;

namespace {

/// A site whose range comes from a histogram.
struct RangedSite {
  Site site;
  Treatment treatment;
  std::vector<float> inverse; ///< of its factors; empty: none
  double top = 0;             ///< largest |x| after the division
};

llvm::Expected<RangedSite> rangedSite(const Site &site, Treatment treatment,
                                      const Statistics &statistics, BlobStore &blobs) {
  auto found = statistics.neededInputOf(site.name);
  if (!found)
    return found.takeError();
  RangedSite ranged{site, std::move(treatment), {}, 0};
  if (auto name = site.op->getAttrOfType<StringAttr>(factorsAttr)) {
    auto factors = blobs.floats(name.getValue());
    if (!factors)
      return factors.takeError();
    if (factors->size() != found->absMax.size())
      return inputError("site {}: the statistics are of {} columns, its factors of {}", site.name,
                        found->absMax.size(), factors->size());
    for (float factor : *factors)
      ranged.inverse.push_back(1.0f / factor);
  }
  for (auto [j, largest] : llvm::enumerate(found->absMax))
    ranged.top = std::max(ranged.top, double(ranged.inverse.empty()
                                                 ? largest
                                                 : largest * ranged.inverse[j]));
  return ranged;
}

/// Puts a histogram's observer before the site of each of `ranged` in the imported `module`.
llvm::Error insertHistograms(ModuleOp module, ArrayRef<RangedSite> ranged, BlobStore &blobs) {
  llvm::StringMap<const RangedSite *> byName;
  for (const RangedSite &each : ranged)
    byName[each.site.name] = &each;
  for (const Site &site : collectSites(module)) {
    const RangedSite *each = byName.lookup(site.name);
    if (!each)
      continue;
    OpBuilder builder(site.op);
    Location loc = site.op->getLoc();
    Value rows = site.input();
    if (!each->inverse.empty()) {
      auto blob = blobs.putFloats({int64_t(each->inverse.size())}, each->inverse);
      if (!blob)
        return blob.takeError();
      auto type = RankedTensorType::get({int64_t(each->inverse.size())}, builder.getF32Type());
      Value factors = qp::WeightOp::create(builder, loc, type, "blob:" + *blob);
      rows = qp::ScaleColumnsOp::create(builder, loc, rows.getType(), rows, factors);
    }
    qp::ObserveOp::create(builder, loc, rows, site.name, /*gram=*/false, /*histogram=*/true);
  }
  return llvm::Error::success();
}

Histogram histogramOf(const RangedSite &each, const uint8_t *memory) {
  Histogram histogram{each.top, std::vector<uint64_t>(histogramBins)};
  std::memcpy(histogram.counts.data(), memory + sizeof(double), histogramBins * sizeof(uint64_t));
  return histogram;
}

} // namespace

llvm::Error Compiler::chooseRanges(ModuleOp module) {
  std::vector<RangedSite> ranged;
  for (const Site &site : collectSites(module)) {
    auto text = site.op->getAttrOfType<StringAttr>(treatmentAttr);
    if (!text || !site.input())
      continue;
    auto treatment = parseTreatment(text.getValue());
    if (!treatment)
      return treatment.takeError();
    if (treatment->range() == RangeRule::Max)
      continue;
    if (!statistics || options.calibration.empty())
      return usageError("site {}: {} needs the calibration text itself (a statistics file does not "
                        "hold histograms); give --calib TEXT",
                        site.name, text.getValue().str());
    auto each = rangedSite(site, std::move(*treatment), *statistics, *blobs);
    if (!each)
      return each.takeError();
    if (each->top > 0) // else any range will do
      ranged.push_back(std::move(*each));
  }
  if (ranged.empty())
    return llvm::Error::success();
  auto windows = calibrationText(options.samples);
  if (!windows)
    return windows.takeError();
  auto imported = import("f32");
  if (!imported)
    return imported.takeError();
  if (auto error = insertHistograms(**imported, ranged, *blobs))
    return error;
  if (auto error = lowerForCalibration(**imported))
    return error;
  auto live = LiveModel::create(std::move(*imported), *weights, options.threads, progress);
  if (!live)
    return live.takeError();
  llvm::StringMap<int64_t> offsets;
  for (Attribute attr : (*live)->program()->getAttrOfType<ArrayAttr>("observers")) {
    auto entry = cast<DictionaryAttr>(attr);
    offsets[entry.getAs<StringAttr>("site").getValue()] =
        entry.getAs<IntegerAttr>("offset").getInt();
  }
  for (const RangedSite &each : ranged) {
    const double density = double(histogramBins) / each.top;
    std::memcpy((*live)->statistics() + offsets[each.site.name], &density, sizeof density);
  }
  for (auto [i, window] : llvm::enumerate(*windows)) {
    if (auto error = (*live)->run(window, nullptr))
      return error;
    progress.update("ranges", i + 1, windows->size());
  }
  for (const RangedSite &each : ranged) {
    Histogram histogram = histogramOf(each, (*live)->statistics() + offsets[each.site.name]);
    double range = rangeOf(histogram, each.treatment);
    each.site.op->setAttr(rangeAttr, FloatAttr::get(Float64Type::get(context.get()), range));
  }
  return dump(module, "ranges");
}
