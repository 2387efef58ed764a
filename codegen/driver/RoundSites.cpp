//===- RoundSites.cpp - run the methods over second moments ---------------===//
//
// Runs the model in f32 with observers of x x^T, for as many inputs at a time as fit a
// bound on memory, shows each input to the method of the sites that read it, folds the
// factors, keeps the rows that were chosen as blobs, and lets go of the moments before
// the next inputs. Moments are those of the model as it was: not of one that is rounded
// up to there. Inputs are taken from last to first, because factors of an input are
// divided out of the rows of the weight that produces it, which is rounded after that.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Calibrator.h"
#include "codegen/lower/Passes.h"
#include "codegen/plan/Passes.h"
#include "ir/Failure.h"
#include "passes/InputFold.h"
#include "passes/moments/MomentMethod.h"

#include <cmath>
#include <llvm/ADT/MapVector.h>
#include <mlir/IR/Builders.h>
#include <mlir/Pass/PassManager.h>

using namespace mlir;
using namespace qplan;

namespace {

/// Bytes of second moments held at a time; one input may need more by itself.
constexpr int64_t momentBytes = 400 << 20;

/// A site that a method changes.
struct MethodSite {
  Site site;
  Treatment treatment;
};

/// Sites that read one value, observed under the name of the first.
struct MethodInput {
  std::string observer;
  int64_t columns = 0;
  std::vector<MethodSite> sites;
  int64_t bytes() const { return columns * columns * 8; }
};

/// The sites of the module with a method over second moments, by name.
llvm::Expected<llvm::MapVector<llvm::StringRef, MethodSite>> methodSites(ArrayRef<Site> sites) {
  llvm::MapVector<llvm::StringRef, MethodSite> found;
  for (const Site &site : sites) {
    auto text = site.op->getAttrOfType<StringAttr>(treatmentAttr);
    if (!text)
      continue;
    auto treatment = parseTreatment(text.getValue());
    if (!treatment)
      return treatment.takeError();
    // What is stored in the format already is kept, as by every method.
    if (momentMethod(*treatment) && treatment->weight != site.stored)
      found.insert({site.name, {site, std::move(*treatment)}});
  }
  return found;
}

/// The inputs of `wanted`, the last of the program first. `module` is the model as imported.
std::vector<MethodInput> inputsOf(ModuleOp module,
                                  llvm::MapVector<llvm::StringRef, MethodSite> &wanted) {
  llvm::MapVector<Value, MethodInput> byValue;
  for (const Site &site : collectSites(module)) {
    auto found = wanted.find(site.name);
    if (found == wanted.end())
      continue;
    MethodInput &input = byValue[site.input()];
    if (input.observer.empty()) {
      input.observer = site.name;
      input.columns = site.columns;
    }
    input.sites.push_back(found->second);
  }
  std::vector<MethodInput> inputs;
  for (auto &[value, input] : llvm::reverse(byValue))
    inputs.push_back(std::move(input));
  return inputs;
}

void insertMomentObservers(ModuleOp module, ArrayRef<MethodInput> inputs) {
  llvm::StringSet<> names;
  for (const MethodInput &input : inputs)
    names.insert(input.observer);
  for (const Site &site : collectSites(module))
    if (names.contains(site.name)) {
      OpBuilder builder(site.op);
      for (bool gram : {false, true})
        qp::ObserveOp::create(builder, site.op->getLoc(), site.input(), site.name, gram,
                              /*histogram=*/false);
    }
}

/// What the observers of `program` found of `input`. Borrows their memory.
llvm::Expected<InputMoments> momentsOf(LiveModel &live, const MethodInput &input) {
  InputMoments moments;
  moments.subject = "site " + input.observer;
  moments.columns = input.columns;
  for (Attribute attr : live.program()->getAttrOfType<ArrayAttr>("observers")) {
    auto entry = cast<DictionaryAttr>(attr);
    if (entry.getAs<StringAttr>("site").getValue() != input.observer)
      continue;
    uint8_t *memory = live.statistics() + entry.getAs<IntegerAttr>("offset").getInt();
    if (entry.getAs<UnitAttr>("gram")) {
      auto *gram = reinterpret_cast<double *>(memory);
      for (int64_t i = 0; i < input.columns; ++i) // observers fill the lower triangle
        for (int64_t j = 0; j < i; ++j)
          gram[j * input.columns + i] = gram[i * input.columns + j];
      moments.gram = ArrayRef(gram, size_t(input.columns * input.columns));
      std::memcpy(&moments.count, memory + input.bytes(), sizeof moments.count);
    } else {
      SiteStatistics ranges = readObserver(memory, input.columns);
      moments.absMax = std::move(ranges.absMax);
      moments.meanAbs = std::move(ranges.meanAbs);
    }
  }
  for (int64_t j = 0; j < input.columns; ++j)
    if (!std::isfinite(moments.gram[size_t(j * input.columns + j)]))
      return inputError("{}: column {} of its input becomes NaN or infinite on the calibration "
                        "text; the weights are broken or overflow f32",
                        moments.subject, j);
  return moments;
}

/// Shows one input after the other to its methods.
class InputRounder {
public:
  InputRounder(WeightStore &store, unsigned threads) : store(store), threads(threads) {}

  /// `input`'s sites of one method after those of another, each with its own factors.
  llvm::Error run(const MethodInput &input, const InputMoments &moments) {
    llvm::MapVector<StringRef, std::vector<MethodSite>> parts;
    std::vector<std::string> keys;
    for (const MethodSite &each : input.sites)
      keys.push_back(methodText(each.treatment));
    for (auto [key, each] : llvm::zip(keys, input.sites))
      parts[key].push_back(each);
    for (auto &[key, sites] : parts)
      if (auto error = runPart(sites, moments))
        return error;
    return llvm::Error::success();
  }

private:
  /// What sites must agree in to be one input to a method.
  static std::string methodText(const Treatment &treatment) {
    Treatment key{FormatId::F32, {}, treatment.method, treatment.parameters};
    return printTreatment(key);
  }

  llvm::Expected<MomentWeight> weightOf(const MethodSite &each, unsigned i) {
    auto view = store.open(weightUnder(each.site.weight(i)).getSource());
    if (!view)
      return view.takeError();
    MomentWeight weight;
    weight.treatment = each.treatment;
    weight.rows = each.site.rows;
    weight.subject = fmt::format("site {}: {}", each.site.name, view->text());
    weight.read = [view = std::move(*view)](int64_t first, int64_t count, float *out) {
      return view.readRows(first, count, out);
    };
    return weight;
  }

  llvm::Error runPart(ArrayRef<MethodSite> sites, const InputMoments &moments) {
    const MomentMethod &method = *momentMethod(sites[0].treatment);
    std::vector<MomentWeight> weights;
    std::vector<Site> places;
    for (const MethodSite &each : sites) {
      places.push_back(each.site);
      for (unsigned i = 0; i < each.site.weightCount; ++i) {
        auto weight = weightOf(each, i);
        if (!weight)
          return weight.takeError();
        weights.push_back(std::move(*weight));
      }
    }
    InputFold fold(std::move(places));
    auto legal = [&](std::vector<float> &factors) { fold.legalize(factors); };
    auto factors = method.factors(moments, weights, legal, threads);
    if (!factors)
      return factors.takeError();
    if (factors->empty())
      return roundPart(sites, moments, method);
    if (auto error = fold.apply(*factors, store.blobs()))
      return error;
    std::vector<double> gram;
    return roundPart(sites, divided(moments, *factors, gram), method);
  }

  /// The moments after the division by `factors`, kept in `gram`.
  static InputMoments divided(const InputMoments &moments, ArrayRef<float> factors,
                              std::vector<double> &gram) {
    InputMoments out = moments;
    const int64_t n = moments.columns;
    gram.resize(size_t(n * n));
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        gram[i * n + j] = moments.gram[i * n + j] / (double(factors[i]) * double(factors[j]));
    out.gram = gram;
    for (int64_t j = 0; j < n; ++j) {
      out.absMax[j] /= factors[j];
      out.meanAbs[j] /= factors[j];
    }
    return out;
  }

  llvm::Error roundPart(ArrayRef<MethodSite> sites, const InputMoments &moments,
                        const MomentMethod &method) {
    std::map<std::string, std::unique_ptr<MomentRounder>> rounders;
    for (const MethodSite &each : sites) {
      if (!method.rounds(each.treatment))
        continue;
      auto &rounder = rounders[methodText(each.treatment)];
      if (!rounder) {
        auto made = method.rounder(moments, each.treatment, threads);
        if (!made)
          return made.takeError();
        rounder = std::move(*made);
      }
      for (unsigned i = 0; i < each.site.weightCount; ++i)
        if (auto error = roundWeight(each, i, *rounder))
          return error;
    }
    for (const MethodSite &each : sites)
      each.site.op->setAttr(methodDoneAttr, UnitAttr::get(each.site.op->getContext()));
    return llvm::Error::success();
  }

  /// The operand becomes a packed blob.
  llvm::Error roundWeight(const MethodSite &each, unsigned i, const MomentRounder &rounder) {
    auto weight = weightOf(each, i);
    if (!weight)
      return weight.takeError();
    auto rows = rounder.round(*weight);
    if (!rows)
      return rows.takeError();
    const Site &site = each.site;
    FormatId format = each.treatment.weight;
    auto blob = store.blobs().put({site.rows, site.columns}, format, *rows);
    if (!blob)
      return blob.takeError();
    OpBuilder builder(site.op);
    Location loc = weightUnder(site.weight(i)).getLoc();
    auto shape = qp::shapeOf(site.weight(i).getType());
    auto packed = qp::PackedType::get(builder.getContext(), shape, formatName(format));
    Value stored = qp::WeightOp::create(builder, loc, packed, "blob:" + *blob);
    Value values = qp::DequantizeOp::create(
        builder, loc, RankedTensorType::get(shape, builder.getF32Type()), stored);
    site.op->setOperand(site.firstWeight + i, values);
    return llvm::Error::success();
  }

  WeightStore &store;
  unsigned threads;
};

} // namespace

llvm::Error Compiler::roundSites(ModuleOp module) {
  std::vector<Site> sites = collectSites(module);
  auto wanted = methodSites(sites);
  if (!wanted)
    return wanted.takeError();
  if (wanted->empty())
    return llvm::Error::success();
  if (options.calibration.empty()) {
    const MethodSite &first = wanted->front().second;
    return usageError("site {}: {} needs the calibration text itself (a statistics file does not "
                      "hold second moments); give --calib TEXT",
                      first.site.name, methodName(first.treatment.method).str());
  }
  auto windows =
      calibrationWindows(*source, options.calibration, options.samples, options.length, nullptr);
  if (!windows)
    return windows.takeError();
  auto imported = import("f32");
  if (!imported)
    return imported.takeError();
  std::vector<MethodInput> inputs = inputsOf(**imported, *wanted);
  InputRounder rounder(*weights, options.threads);
  for (size_t begin = 0, end; begin < inputs.size(); begin = end) {
    int64_t bytes = inputs[begin].bytes();
    for (end = begin + 1; end < inputs.size() && bytes + inputs[end].bytes() <= momentBytes; ++end)
      bytes += inputs[end].bytes();
    ArrayRef<MethodInput> batch = ArrayRef(inputs).slice(begin, end - begin);
    if (!*imported)
      imported = import("f32");
    if (!imported)
      return imported.takeError();
    insertMomentObservers(**imported, batch);
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
    for (auto [i, input] : llvm::enumerate(batch)) {
      auto moments = momentsOf(**live, input);
      if (!moments)
        return moments.takeError();
      if (auto error = rounder.run(input, *moments))
        return error;
      progress.update("round", begin + i + 1, inputs.size());
    }
  }
  return dump(module, "round");
}
