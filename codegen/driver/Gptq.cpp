//===- Gptq.cpp - weights of sites with method gptq -----------------------===//
//
// Runs the model in f32 with observers of x x^T, for as many inputs at a time as fit a
// bound on memory, rounds the sites that read them, and lets go of the moments before
// the next inputs. Results are blobs in the sites' formats. Inputs are those of the
// model as it was: not of one that is rounded up to there.
//
//===----------------------------------------------------------------------===//

#include "passes/gptq/Gptq.h"
#include "codegen/driver/Calibrator.h"
#include "codegen/lower/Passes.h"
#include "codegen/plan/Passes.h"
#include "ir/Failure.h"
#include "passes/Sites.h"

#include <llvm/ADT/MapVector.h>
#include <mlir/IR/Builders.h>
#include <mlir/Pass/PassManager.h>

using namespace mlir;
using namespace qplan;

namespace {

/// Bytes of second moments held at a time; one input may need more by itself.
constexpr int64_t momentBytes = 400 << 20;

/// A site to round, and how.
struct GptqSite {
  Site site;
  FormatId format;
  GptqOptions options;
};

/// Sites that read one value, observed under the name of the first.
struct GptqInput {
  std::string observer;
  int64_t columns = 0;
  std::vector<GptqSite> sites;
  int64_t bytes() const { return columns * columns * 8; }
};

GptqOptions optionsOf(const Treatment &treatment) {
  return {treatment.parameter("damp"), treatment.parameter("actorder") != 0,
          treatment.parameter("mse") != 0};
}

/// The sites of `module` with method gptq, by name.
llvm::Expected<llvm::MapVector<llvm::StringRef, GptqSite>> gptqSites(ArrayRef<Site> sites) {
  llvm::MapVector<llvm::StringRef, GptqSite> found;
  for (const Site &site : sites) {
    auto text = site.op->getAttrOfType<StringAttr>(treatmentAttr);
    if (!text)
      continue;
    auto treatment = parseTreatment(text.getValue());
    if (!treatment)
      return treatment.takeError();
    // What is stored in the format already is kept, as by every method.
    if (treatment->method == Method::Gptq && treatment->weight != site.stored)
      found.insert({site.name, {site, treatment->weight, optionsOf(*treatment)}});
  }
  return found;
}

/// The inputs of `wanted` in program order of `module`, which is the model as imported.
std::vector<GptqInput> inputsOf(ModuleOp module,
                                llvm::MapVector<llvm::StringRef, GptqSite> &wanted) {
  llvm::MapVector<Value, GptqInput> byValue;
  for (const Site &site : collectSites(module)) {
    auto found = wanted.find(site.name);
    if (found == wanted.end())
      continue;
    GptqInput &input = byValue[site.input()];
    if (input.observer.empty()) {
      input.observer = site.name;
      input.columns = site.columns;
    }
    input.sites.push_back(found->second);
  }
  std::vector<GptqInput> inputs;
  for (auto &[value, input] : byValue)
    inputs.push_back(std::move(input));
  return inputs;
}

void insertGramObservers(ModuleOp module, ArrayRef<GptqInput> inputs) {
  llvm::StringSet<> names;
  for (const GptqInput &input : inputs)
    names.insert(input.observer);
  for (const Site &site : collectSites(module))
    if (names.contains(site.name)) {
      OpBuilder builder(site.op);
      qp::ObserveOp::create(builder, site.op->getLoc(), site.input(), site.name, /*gram=*/true);
    }
}

/// Rounds every weight of a site; the operands become packed blobs.
llvm::Error roundSite(const GptqSite &wanted, const GptqFactor &factor, WeightStore &store,
                      unsigned threads) {
  const Site &site = wanted.site;
  for (unsigned i = 0; i < site.weightCount; ++i) {
    qp::WeightOp weight = weightUnder(site.weight(i));
    auto view = store.open(weight.getSource());
    if (!view)
      return view.takeError();
    auto read = [&](int64_t first, int64_t count, float *out) {
      return view->readRows(first, count, out);
    };
    auto rows = roundGptq(factor, wanted.format, site.rows, read, wanted.options, threads,
                          fmt::format("site {}: {}", site.name, view->text()));
    if (!rows)
      return rows.takeError();
    auto blob = store.blobs().put({site.rows, site.columns}, wanted.format, *rows);
    if (!blob)
      return blob.takeError();
    OpBuilder builder(site.op);
    auto shape = qp::shapeOf(site.weight(i).getType());
    auto packed = qp::PackedType::get(weight.getContext(), shape, formatName(wanted.format));
    Value stored = qp::WeightOp::create(builder, weight.getLoc(), packed, "blob:" + *blob);
    Value values = qp::DequantizeOp::create(
        builder, weight.getLoc(), RankedTensorType::get(shape, builder.getF32Type()), stored);
    site.op->setOperand(site.firstWeight + i, values);
  }
  return llvm::Error::success();
}

/// Rounds the sites of one input by the `gram` of its `count` rows.
llvm::Error roundInput(const GptqInput &input, ArrayRef<double> gram, uint64_t count,
                       WeightStore &store, unsigned threads) {
  std::vector<bool> done(input.sites.size(), false);
  for (size_t first = 0; first < input.sites.size(); ++first) {
    if (done[first])
      continue;
    // Sites differ in options only where a recipe says so.
    const GptqOptions &options = input.sites[first].options;
    auto factor = GptqFactor::create(gram, input.columns, count, options, threads,
                                     "site " + input.sites[first].site.name);
    if (!factor)
      return factor.takeError();
    for (size_t i = first; i < input.sites.size(); ++i) {
      const GptqOptions &other = input.sites[i].options;
      if (done[i] || other.damp != options.damp || other.actOrder != options.actOrder)
        continue;
      if (auto error = roundSite(input.sites[i], *factor, store, threads))
        return error;
      done[i] = true;
    }
  }
  return llvm::Error::success();
}

} // namespace

llvm::Error Compiler::roundWithGptq(ModuleOp module) {
  std::vector<Site> sites = collectSites(module);
  auto wanted = gptqSites(sites);
  if (!wanted)
    return wanted.takeError();
  if (wanted->empty())
    return llvm::Error::success();
  if (options.calibration.empty())
    return usageError("site {}: gptq needs the calibration text itself (a statistics file does not "
                      "hold second moments); give --calib TEXT",
                      wanted->front().second.site.name);
  auto windows =
      calibrationWindows(*source, options.calibration, options.samples, options.length, nullptr);
  if (!windows)
    return windows.takeError();
  auto imported = import("f32");
  if (!imported)
    return imported.takeError();
  std::vector<GptqInput> inputs = inputsOf(**imported, *wanted);
  for (size_t begin = 0, end; begin < inputs.size(); begin = end) {
    int64_t bytes = inputs[begin].bytes();
    for (end = begin + 1; end < inputs.size() && bytes + inputs[end].bytes() <= momentBytes; ++end)
      bytes += inputs[end].bytes();
    ArrayRef<GptqInput> batch = ArrayRef(inputs).slice(begin, end - begin);
    if (!*imported)
      imported = import("f32");
    if (!imported)
      return imported.takeError();
    insertGramObservers(**imported, batch);
    if (auto error = lowerForCalibration(**imported))
      return error;
    auto live = LiveModel::create(std::move(*imported), *weights, options.threads, progress);
    if (!live)
      return live.takeError();
    for (auto [i, window] : llvm::enumerate(*windows)) {
      if (auto error = (*live)->run(window, nullptr))
        return error;
      progress.update("calibrate", i + 1, windows->size());
    }
    llvm::StringMap<int64_t> offsets;
    for (Attribute attr : (*live)->program()->getAttrOfType<ArrayAttr>("observers")) {
      auto entry = cast<DictionaryAttr>(attr);
      offsets[entry.getAs<StringAttr>("site").getValue()] =
          entry.getAs<IntegerAttr>("offset").getInt();
    }
    for (auto [i, input] : llvm::enumerate(batch)) {
      const uint8_t *memory = (*live)->statistics() + offsets.lookup(input.observer);
      int64_t count = 0;
      std::memcpy(&count, memory + input.bytes(), sizeof count);
      ArrayRef<double> gram(reinterpret_cast<const double *>(memory),
                            size_t(input.columns * input.columns));
      if (auto error = roundInput(input, gram, uint64_t(count), *weights, options.threads))
        return error;
      progress.update("gptq", begin + i + 1, inputs.size());
    }
  }
  return dump(module, "gptq");
}
