//===- AssembledModel.cpp - the divergence of a whole recipe --------------===//
//
// See AssembledModel.h.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/AssembledModel.h"

#include "codegen/driver/MomentPass.h"
#include "codegen/driver/PartialRuns.h"
#include "codegen/driver/ScoreGroups.h"
#include "codegen/driver/Traces.h"
#include "codegen/weights/PackWeights.h"
#include "ir/Failure.h"

#include <llvm/ADT/MapVector.h>

using namespace mlir;
using namespace qplan;

namespace {

/// Shows the moments of inputs to a visitor: Compiler::visitMoments on the calibration text.
using MomentSource = std::function<llvm::Error(ArrayRef<MomentInput>, const MomentVisitor &)>;

class Assembled final : public AssembledModel {
public:
  /// `module` is the imported model, which `groups` are of.
  Assembled(OwningOpRef<ModuleOp> module, std::vector<SiteGroup> groups, const ScoreTable &table,
            WeightStore &store, Statistics &statistics, unsigned threads, MomentSource source)
      : module(std::move(module)), groups(std::move(groups)), candidates(table.candidates),
        store(store), statistics(statistics), threads(threads), source(std::move(source)) {}

  llvm::Error open(std::unique_ptr<LiveModel> made, std::vector<std::vector<int32_t>> windows) {
    live = std::move(made);
    for (plan::WeightOp weight : live->program().getWeights())
      if (auto sites = weight.getSites())
        for (Attribute site : *sites)
          bySite[cast<StringAttr>(site).getValue()] = weight;
    auto pass = LivePass::create(*live, int64_t(windows[0].size()));
    if (!pass)
      return pass.takeError();
    std::vector<int64_t> firsts;
    for (const SiteGroup &group : groups)
      for (const Site &site : group.sites)
        firsts.push_back((*pass)->readerOf(bySite.lookup(site.name)));
    auto opened = PartialRuns::create(*live, std::move(windows), firsts);
    if (!opened)
      return opened.takeError();
    runs = std::move(*opened);
    dirty = runs->pass().launches();
    return llvm::Error::success();
  }

  llvm::Error prepare(ArrayRef<GroupChoice> choices) override;
  llvm::Error set(GroupChoice choice) override;

  llvm::Expected<double> divergence() override {
    if (dirty == runs->pass().launches())
      return last;
    std::vector<RowChange> changes;
    for (const auto &[site, change] : rows)
      changes.push_back(change);
    auto kl = runs->divergence(dirty, changes, /*keep=*/true);
    if (!kl)
      return kl;
    dirty = runs->pass().launches();
    last = *kl;
    return kl;
  }

private:
  std::string keyOf(const Site &site, size_t candidate) const {
    return site.name + " " + printTreatment(candidates[candidate]);
  }
  llvm::Error setRows(const Site &site, const Treatment &treatment,
                      const std::vector<float> &factors);

  OwningOpRef<ModuleOp> module;
  const std::vector<SiteGroup> groups;
  const std::vector<Treatment> candidates;
  WeightStore &store;
  Statistics &statistics;
  const unsigned threads;
  const MomentSource source;
  std::unique_ptr<LiveModel> live;
  llvm::StringMap<plan::WeightOp> bySite;
  std::unique_ptr<PartialRuns> runs;
  std::map<std::string, RoundedSite> rounded; ///< by site and treatment
  std::map<std::string, RowChange> rows;      ///< of sites whose activations are rounded
  int64_t dirty = 0;                          ///< first launch that may compute something else
  double last = 0;
};

llvm::Error Assembled::prepare(ArrayRef<GroupChoice> choices) {
  struct Wanted {
    llvm::MapVector<size_t, std::vector<Site>> sites; ///< by candidate
  };
  llvm::MapVector<Value, Wanted> byInput;
  for (GroupChoice choice : choices)
    for (const Site &site : groups[choice.group].sites)
      if (needsPreparation(candidates[choice.candidate]) && site.input() &&
          !rounded.contains(keyOf(site, choice.candidate)))
        byInput[site.input()].sites[choice.candidate].push_back(site);
  std::vector<MomentInput> inputs;
  std::vector<const Wanted *> wanted;
  for (auto &[value, want] : byInput) {
    const Site &first = want.sites.front().second.front();
    inputs.push_back({first.name, first.columns});
    wanted.push_back(&want);
  }
  if (inputs.empty())
    return llvm::Error::success();
  TraceMeter meter(store, statistics, threads);
  return source(inputs, [&](size_t i, const InputMoments &moments,
                            ArrayRef<float>) -> llvm::Error {
    for (const auto &[candidate, sites] : wanted[i]->sites) {
      auto made = meter.round(sites, candidates[candidate], moments);
      if (!made)
        return made.takeError();
      for (auto [site, result] : llvm::zip(sites, *made))
        rounded[keyOf(site, candidate)] = std::move(result);
    }
    return llvm::Error::success();
  });
}

llvm::Error Assembled::set(GroupChoice choice) {
  const Treatment &treatment = candidates[choice.candidate];
  for (const Site &site : groups[choice.group].sites) {
    plan::WeightOp weight = bySite.lookup(site.name);
    TrialRounding trial = {treatment.weight, codecRounding(site, treatment, statistics)};
    if (treatment.weight == site.stored) {
      trial.source = weight.getSource().str();
    } else if (needsPreparation(treatment)) {
      auto found = rounded.find(keyOf(site, choice.candidate));
      if (found == rounded.end())
        return defectError("site {}: {} is not prepared", site.name, printTreatment(treatment));
      trial.source = found->second.source;
      trial.factors = found->second.factors;
    }
    auto packed = packTrial(weight, store, trial, threads);
    if (!packed)
      return packed.takeError();
    llvm::copy(*packed, live->bytesOf(weight).begin());
    dirty = std::min(dirty, runs->pass().readerOf(weight));
    if (auto error = setRows(site, treatment, trial.factors))
      return error;
  }
  return llvm::Error::success();
}

llvm::Error Assembled::setRows(const Site &site, const Treatment &treatment,
                               const std::vector<float> &factors) {
  rows.erase(site.name);
  if (!treatment.activation || !site.input())
    return llvm::Error::success();
  auto rounding = inputRounding(site, treatment, factors, statistics);
  if (!rounding)
    return rounding.takeError();
  rows[site.name] = {runs->pass().launchOf(site.name), std::move(*rounding)};
  return llvm::Error::success();
}

} // namespace

llvm::Expected<std::unique_ptr<AssembledModel>>
Compiler::assemble(const ScoreTable &table, int64_t firstWindow, int64_t count) {
  auto windows = calibrationWindows(*source, options.calibration, firstWindow + count,
                                    std::min(options.length, scoringLength), nullptr);
  if (!windows)
    return windows.takeError();
  // A text that is too short for windows of its own is used twice.
  if (int64_t(windows->size()) > firstWindow)
    windows->erase(windows->begin(), windows->begin() + firstWindow);
  auto module = import("f32");
  if (!module)
    return module.takeError();
  auto groups = siteGroups(**module, options.sites, options.groups);
  if (!groups)
    return groups.takeError();
  auto planned = import("f32");
  if (!planned)
    return planned.takeError();
  if (auto error = lowerExact(**planned))
    return std::move(error);
  auto live = LiveModel::create(std::move(*planned), *weights, options.threads, progress);
  if (!live)
    return live.takeError();
  MomentSource moments = [this](ArrayRef<MomentInput> inputs, const MomentVisitor &visit) {
    auto text =
        calibrationWindows(*source, options.calibration, options.samples, options.length, nullptr);
    return text ? visitMoments(inputs, *text, /*sampledRows=*/0, visit) : text.takeError();
  };
  auto made = std::make_unique<Assembled>(std::move(*module), std::move(*groups), table, *weights,
                                          *statistics, options.threads, std::move(moments));
  if (auto error = made->open(std::move(*live), std::move(*windows)))
    return std::move(error);
  return made;
}
