//===- AssignTreatments.cpp - give every site its treatment ---------------===//
//
// Decides which sites a recipe or `--quant` reaches, what the others keep, and
// refuses what a site's shape cannot take.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/models/StoredInput.h"
#include "passes/Passes.h"
#include "passes/Sites.h"
#include "passes/moments/MomentMethod.h"

#include <mlir/IR/Builders.h>

using namespace mlir;

namespace qplan {
#define GEN_PASS_DEF_ASSIGNTREATMENTS
#include "passes/Passes.h.inc"
} // namespace qplan

using namespace qplan;

namespace {

bool isFloat(FormatId id) {
  return formatInfo(id).family == CodecFamily::Float;
}

/// What a site has when nothing is asked of it: the checkpoint's format, run with
/// the activations that the checkpoint names, or those that go with it.
llvm::Expected<Treatment> keptTreatment(const Site &site) {
  Treatment kept;
  kept.weight = site.stored;
  FormatId activation = formatInfo(site.stored).activation;
  if (activation != FormatId::F32 && site.input())
    kept.activation = activation;
  if (auto named = site.op->getAttrOfType<StringAttr>(storedInputAttr)) {
    auto format = parseFormat(named.getValue());
    if (!format)
      return format.takeError();
    kept.activation = *format;
  }
  return kept;
}

struct AssignTreatmentsPass : qplan::impl::AssignTreatmentsBase<AssignTreatmentsPass> {
  using AssignTreatmentsBase::AssignTreatmentsBase;
  PassInputs inputs;

  void runOnOperation() override {
    if (auto error = assign())
      fail(std::move(error));
  }

  void fail(llvm::Error error) {
    getOperation()->emitError() << llvm::toString(std::move(error));
    signalPassFailure();
  }

  llvm::Error assign() {
    std::vector<Site> sites = collectSites(getOperation());
    auto wanted = wantedTreatments(sites);
    if (!wanted)
      return wanted.takeError();
    for (auto [site, treatment] : llvm::zip(sites, *wanted)) {
      if (auto error = checkSite(site, treatment)) {
        if (fallback.empty())
          return error;
        std::string reason = llvm::toString(std::move(error));
        auto other = parseTreatment(fallback);
        if (!other)
          return other.takeError();
        if (auto still = checkSite(site, *other))
          return still;
        site.op->emitRemark() << reason << "; --fallback " << fallback << " is used";
        treatment = *other;
      }
      site.op->setAttr(treatmentAttr,
                       StringAttr::get(&getContext(), printTreatment(treatment)));
      ++treated;
    }
    record(sites);
    return checkTies(sites);
  }

  /// What was decided, for recipes and reports: later stages fuse the ops away.
  void record(llvm::ArrayRef<Site> sites) {
    SmallVector<Attribute> names;
    NamedAttrList treatments;
    for (const Site &site : sites) {
      names.push_back(StringAttr::get(&getContext(), site.name));
      treatments.set(site.name, site.op->getAttr(treatmentAttr));
    }
    getOperation()->setAttr("qp.sites", ArrayAttr::get(&getContext(), names));
    getOperation()->setAttr("qp.treatments", treatments.getDictionary(&getContext()));
  }

  llvm::Expected<std::vector<Treatment>> wantedTreatments(llvm::ArrayRef<Site> sites) {
    auto scope = parseScope(this->sites);
    if (!scope)
      return scope.takeError();
    std::vector<Treatment> wanted;
    for (const Site &site : sites) {
      auto kept = keptTreatment(site);
      if (!kept)
        return kept.takeError();
      wanted.push_back(std::move(*kept));
    }

    std::optional<Recipe> own;
    const Recipe *chosen = inputs.recipe;
    if (!chosen && !recipe.empty()) {
      auto read = readRecipe(recipe);
      if (!read)
        return read.takeError();
      own = std::move(*read);
      chosen = &*own;
    }
    if (chosen)
      return fromRecipe(*chosen, sites, *scope, std::move(wanted));
    if (quant.empty())
      return wanted;
    auto treatment = parseTreatment(quant);
    if (!treatment)
      return treatment.takeError();
    for (auto [site, slot] : llvm::zip(sites, wanted)) {
      // Plain floats are a precision of the whole model.
      if (isFloat(treatment->weight) || scope->contains(site)) {
        slot = *treatment;
        if (!site.input())
          slot.activation = std::nullopt;
      }
    }
    return wanted;
  }

  llvm::Expected<std::vector<Treatment>> fromRecipe(const Recipe &chosen,
                                                    llvm::ArrayRef<Site> sites, SiteScope scope,
                                                    std::vector<Treatment> wanted) {
    // The header of a recipe says what is in its scope.
    if (!chosen.header.scopes.empty()) {
      std::string joined;
      for (const std::string &part : chosen.header.scopes)
        joined += (joined.empty() ? "" : "+") + part;
      auto own = parseScope(joined);
      if (!own)
        return own.takeError();
      scope = *own;
    }
    std::vector<std::string> names;
    std::vector<size_t> places;
    for (auto [i, site] : llvm::enumerate(sites)) {
      if (scope.contains(site)) {
        names.push_back(site.name);
        places.push_back(i);
      }
    }
    auto resolved = chosen.resolve(names);
    if (!resolved)
      return resolved.takeError();
    for (auto [place, treatment] : llvm::zip(places, *resolved))
      wanted[place] = treatment;
    return wanted;
  }

  /// Whether the format has scales that the methods mse and imatrix can choose.
  llvm::Error checkScaleMethod(const Site &site, const Treatment &treatment) {
    const FormatInfo &info = formatInfo(treatment.weight);
    bool imatrix = treatment.method == Method::Imatrix;
    if (treatment.method == Method::Mse && info.family == CodecFamily::Ggml)
      return usageError("site {}: {} is written by GGML's own rule, which has no search; leave out "
                        "@mse, write @imatrix, or choose int8_g32, int4_g32 or another format of "
                        "ours",
                        site.name, info.name);
    if (imatrix && info.isPerTensor())
      return usageError("site {}: {} has one scale for all columns, from the largest magnitude; "
                        "leave out @imatrix",
                        site.name, info.name);
    if (imatrix && info.family == CodecFamily::Float)
      return usageError("site {}: {} has no scales to choose; leave out @imatrix", site.name,
                        info.name);
    if (imatrix && !site.input())
      return usageError("site {}: imatrix weighs errors by the rows that are multiplied, and here "
                        "rows are looked up; give it another method in a recipe",
                        site.name);
    return llvm::Error::success();
  }

  llvm::Error checkSite(const Site &site, const Treatment &treatment) {
    const FormatInfo &info = formatInfo(treatment.weight);
    if (!info.isWeight)
      return usageError("site {}: {} is no format for weights", site.name, info.name);
    // What is stored already need not be encoded.
    if (info.toleranceE5 == 0 && !isFloat(treatment.weight) && treatment.weight != site.stored)
      return usageError("site {}: weights can be read from {}, but this version does not "
                        "quantize to it; `qplan formats` lists those it does",
                        site.name, info.name);
    if (treatment.weight != site.stored)
      if (auto error = checkScaleMethod(site, treatment))
        return error;
    if (const MomentMethod *method = momentMethod(treatment);
        method && treatment.weight != site.stored) {
      if (auto error = method->check(treatment))
        return usageError("site {}: {}", site.name, llvm::toString(std::move(error)));
      if (!site.input())
        return usageError("site {}: {} weighs errors by the rows that are multiplied, and here "
                          "rows are looked up; give it another method in a recipe",
                          site.name, methodName(treatment.method).str());
    }
    if (treatment.method == Method::LlmInt8 && site.input() &&
        treatment.activation != FormatId::Int8Token)
      return usageError("site {}: llm_int8 takes outlier columns out of activations in int8 by "
                        "token; write {}a8@llm_int8",
                        site.name, info.name);
    if (auto bytes = rowBytes(treatment.weight, site.columns); !bytes)
      return usageError("site {}: {}", site.name, llvm::toString(bytes.takeError()));
    if (treatment.activation)
      if (auto bytes = rowBytes(*treatment.activation, site.columns); !bytes)
        return usageError("site {}: activations: {}", site.name,
                          llvm::toString(bytes.takeError()));
    return llvm::Error::success();
  }

  /// One tensor, one storage, unless the user unties.
  llvm::Error checkTies(llvm::ArrayRef<Site> sites) {
    llvm::StringMap<const Site *> byTensor;
    for (const Site &site : sites) {
      qp::WeightOp weight = weightUnder(site.weight());
      if (!weight)
        continue;
      auto [entry, inserted] = byTensor.try_emplace(weight.getSource(), &site);
      if (inserted || untie)
        continue;
      auto text = [](const Site &s) {
        return llvm::cantFail(
            parseTreatment(cast<StringAttr>(s.op->getAttr(treatmentAttr)).getValue()));
      };
      for (const Site *each : {&site, entry->second})
        if (Treatment treatment = text(*each); momentMethod(treatment))
          return usageError("sites {} and {} share the tensor `{}`, and {} changes it for one "
                            "input; give both another method, or store it twice with --untie",
                            entry->second->name, site.name, weight.getSource().str(),
                            methodName(treatment.method).str());
      if (text(site).weight != text(*entry->second).weight)
        return usageError("sites {} and {} share the tensor `{}` but have different formats ({} "
                          "and {}); put both in scope (--sites) or store it twice with --untie",
                          entry->second->name, site.name, weight.getSource().str(),
                          formatInfo(text(*entry->second).weight).name,
                          formatInfo(text(site).weight).name);
    }
    return llvm::Error::success();
  }
};

} // namespace

std::unique_ptr<Pass> qplan::createAssignTreatments(const PassInputs &inputs,
                                                    AssignTreatmentsOptions options) {
  auto pass = std::make_unique<AssignTreatmentsPass>(std::move(options));
  pass->inputs = inputs;
  return pass;
}
