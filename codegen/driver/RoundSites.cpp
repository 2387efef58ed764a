//===- RoundSites.cpp - run the methods over second moments ---------------===//
//
// Shows the second moments of each input (MomentPass.h) to the method of the sites that
// read it, folds the factors, and keeps the rows that were chosen as blobs. Inputs are
// taken from last to first, because factors of an input are divided out of the rows of
// the weight that produces it, which is rounded after that.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/MomentPass.h"
#include "codegen/driver/Traces.h"
#include "ir/Failure.h"
#include "passes/InputFold.h"
#include "passes/moments/MomentMethod.h"

#include <llvm/ADT/MapVector.h>
#include <mlir/IR/Builders.h>

using namespace mlir;
using namespace qplan;

namespace {

/// A site that a method changes.
struct MethodSite {
  Site site;
  Treatment treatment;
};

/// Sites that read one value, observed under the name of the first.
struct MethodInput {
  MomentInput observed;
  std::vector<MethodSite> sites;
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

/// The operand `i` of `site` becomes a packed blob.
void replaceByBlob(const Site &site, unsigned i, FormatId format, StringRef blob) {
  OpBuilder builder(site.op);
  Location loc = weightUnder(site.weight(i)).getLoc();
  auto shape = qp::shapeOf(site.weight(i).getType());
  auto packed = qp::PackedType::get(builder.getContext(), shape, formatName(format));
  Value stored = qp::WeightOp::create(builder, loc, packed, "blob:" + blob.str());
  Value values = qp::DequantizeOp::create(builder, loc,
                                          RankedTensorType::get(shape, builder.getF32Type()), stored);
  site.op->setOperand(site.firstWeight + i, values);
}

void markDone(const Site &site) {
  site.op->setAttr(methodDoneAttr, UnitAttr::get(site.op->getContext()));
}

/// Takes what was rounded before, and leaves in `wanted` what was not. Factors that are divided out
/// of the weight before an input change it: then everything is made anew.
void takeRounded(llvm::MapVector<llvm::StringRef, MethodSite> &wanted,
                 const RoundedSites &rounded) {
  if (llvm::any_of(wanted, [](auto &entry) { return hasFactors(entry.second.treatment); }))
    return;
  wanted.remove_if([&](auto &entry) {
    const auto &[site, treatment] = entry.second;
    auto found = rounded.find(roundedName(site, treatment));
    if (found == rounded.end() || found->second.blobs.empty())
      return false;
    for (unsigned i = 0; i < site.weightCount; ++i)
      replaceByBlob(site, i, treatment.weight, found->second.blobs[i]);
    markDone(site);
    return true;
  });
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
    if (input.sites.empty())
      input.observed = {site.name, site.columns};
    input.sites.push_back(found->second);
  }
  std::vector<MethodInput> inputs;
  for (auto &[value, input] : llvm::reverse(byValue))
    inputs.push_back(std::move(input));
  return inputs;
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
      keys.push_back(methodText(each.treatment) +
                     (each.treatment.hasOwnFactors() ? " " + each.site.name : ""));
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
    InputFold fold(std::move(places), sites[0].treatment.hasOwnFactors());
    auto legal = [&](std::vector<float> &factors) { fold.legalize(factors); };
    auto factors = method.factors(moments, weights, legal, threads);
    if (!factors)
      return factors.takeError();
    if (factors->empty())
      return roundPart(sites, moments, method);
    if (auto error = fold.apply(*factors, store.blobs()))
      return error;
    std::vector<double> gram;
    return roundPart(sites, dividedMoments(moments, *factors, gram), method);
  }

  llvm::Error roundPart(ArrayRef<MethodSite> sites, const InputMoments &moments,
                        const MomentMethod &method) {
    std::map<std::string, std::unique_ptr<MomentRounder>> rounders;
    for (const MethodSite &each : sites) {
      if (!method.rounds(each.treatment))
        continue;
      // Which columns come first depends on the family.
      const bool trellis = formatInfo(each.treatment.weight).family == CodecFamily::Trellis;
      auto &rounder = rounders[methodText(each.treatment) + (trellis ? " trellis" : "")];
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
      markDone(each.site);
    return llvm::Error::success();
  }

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
    replaceByBlob(site, i, format, *blob);
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
  takeRounded(*wanted, rounded);
  if (wanted->empty())
    return dump(module, "round");
  if (options.calibration.empty()) {
    const MethodSite &first = wanted->front().second;
    return usageError("site {}: {} needs the calibration text itself (a statistics file does not "
                      "hold second moments); give --calib TEXT",
                      first.site.name, methodName(first.treatment.method).str());
  }
  auto windows = calibrationText(options.samples);
  if (!windows)
    return windows.takeError();
  auto imported = import("f32");
  if (!imported)
    return imported.takeError();
  std::vector<MethodInput> inputs = inputsOf(**imported, *wanted);
  std::vector<MomentInput> observed;
  for (const MethodInput &input : inputs)
    observed.push_back(input.observed);
  InputRounder rounder(*weights, options.threads);
  auto round = [&](size_t i, const InputMoments &moments, ArrayRef<float>) {
    auto error = rounder.run(inputs[i], moments);
    progress.update("round", i + 1, inputs.size());
    return error;
  };
  if (auto error = visitMoments(observed, *windows, /*sampledRows=*/0, round))
    return error;
  return dump(module, "round");
}
