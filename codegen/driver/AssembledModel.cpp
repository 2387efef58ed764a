//===- AssembledModel.cpp - the divergence of a whole recipe --------------===//
//
// A model in f32 whose groups are rounded as a choice says: weights by their real methods,
// activations at the rows that enter. What it measures is the KL divergence of the QDQ
// form from the model as it was, on text that was used for nothing else. Rows that methods
// chose are kept for the plan (RoundSites.cpp).
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/MomentPass.h"
#include "codegen/driver/PartialRuns.h"
#include "codegen/driver/ScoreGroups.h"
#include "codegen/driver/Traces.h"
#include "codegen/weights/PackWeights.h"
#include "ir/Failure.h"
#include "passes/search/Exchange.h"

#include <llvm/ADT/MapVector.h>

using namespace mlir;
using namespace qplan;

namespace {

/// Windows of text on which choices are compared, at most, and bytes of their logits: in 8,000
/// tokens about 2 % of a divergence are chance.
constexpr int64_t togetherWindows = 32;
constexpr uint64_t togetherBytes = 1 << 30;

/// Shows the moments of inputs to a visitor: Compiler::visitMoments on the calibration text.
using MomentSource = std::function<llvm::Error(ArrayRef<MomentInput>, const MomentVisitor &)>;

using Windows = std::vector<std::vector<int32_t>>;

class AssembledModel final : public ChoiceJudge {
public:
  /// `module` is the imported model, which `groups` are of. Rows that methods choose are added
  /// to `rounded`.
  AssembledModel(OwningOpRef<ModuleOp> module, std::vector<SiteGroup> groups,
                 const ScoreTable &table, WeightStore &store, Statistics &statistics,
                 RoundedSites &rounded, unsigned threads, MomentSource source)
      : module(std::move(module)), groups(std::move(groups)), candidates(table.candidates),
        store(store), statistics(statistics), rounded(rounded), threads(threads),
        source(std::move(source)), current(this->groups.size()) {}

  /// Takes a model in f32, and text.
  llvm::Error open(std::unique_ptr<LiveModel> made, Windows windows);
  llvm::Expected<double> together(ArrayRef<uint32_t> choice) override;
  llvm::Expected<std::vector<double>> alone(ArrayRef<GroupChoice> choices) override;

private:
  llvm::Error prepare(ArrayRef<GroupChoice> choices);
  llvm::Error set(size_t group, std::optional<uint32_t> candidate);
  llvm::Error setRows(const Site &site, const Treatment &treatment,
                      const std::vector<float> &factors);
  llvm::Expected<std::unique_ptr<PartialRuns>> runsFrom(Windows windows,
                                                        ArrayRef<SiteGroup> entries);
  int64_t firstReader(const SiteGroup &group) const;
  std::vector<RowChange> changes() const;

  OwningOpRef<ModuleOp> module;
  const std::vector<SiteGroup> groups;
  const std::vector<Treatment> candidates;
  WeightStore &store;
  Statistics &statistics;
  RoundedSites &rounded;
  const unsigned threads;
  const MomentSource source;
  std::unique_ptr<LiveModel> live;
  llvm::StringMap<plan::WeightOp> bySite;
  std::unique_ptr<PartialRuns> aloneRuns; ///< from the exact model
  std::unique_ptr<PartialRuns> togetherRuns;
  std::vector<std::optional<uint32_t>> current; ///< candidate of each group; none: exact
  std::map<std::string, RowChange> rows;        ///< of sites whose activations are rounded
};

llvm::Error AssembledModel::open(std::unique_ptr<LiveModel> made, Windows windows) {
  live = std::move(made);
  bySite = live->weightsBySite();
  const uint64_t bytes = windows[0].size() * uint64_t(live->vocabulary()) * sizeof(float);
  const size_t most = std::max<size_t>(scoringWindows, togetherBytes / bytes);
  if (windows.size() > most)
    windows.erase(windows.begin(), windows.end() - int64_t(most));
  // What groups do alone is less noisy.
  const size_t few = std::min(windows.size(), size_t(scoringWindows));
  auto some = runsFrom({windows.begin(), windows.begin() + few}, groups);
  if (!some)
    return some.takeError();
  auto all = runsFrom(std::move(windows), {});
  if (!all)
    return all.takeError();
  aloneRuns = std::move(*some);
  togetherRuns = std::move(*all);
  return llvm::Error::success();
}

/// Runs that can begin where one of `entries` is read.
llvm::Expected<std::unique_ptr<PartialRuns>>
AssembledModel::runsFrom(Windows windows, ArrayRef<SiteGroup> entries) {
  std::vector<plan::WeightOp> weights;
  for (const SiteGroup &group : entries)
    for (const Site &site : group.sites)
      weights.push_back(bySite.lookup(site.name));
  return PartialRuns::create(*live, std::move(windows), weights);
}

/// The first launch that may compute something else when `group` is treated.
int64_t AssembledModel::firstReader(const SiteGroup &group) const {
  int64_t first = aloneRuns->pass().launches();
  for (const Site &site : group.sites)
    first = std::min(first, aloneRuns->pass().readerOf(bySite.lookup(site.name)));
  return first;
}

std::vector<RowChange> AssembledModel::changes() const {
  std::vector<RowChange> result;
  for (const auto &[site, change] : rows)
    result.push_back(change);
  return result;
}

llvm::Expected<double> AssembledModel::together(ArrayRef<uint32_t> choice) {
  std::vector<GroupChoice> wanted;
  for (auto [g, candidate] : llvm::enumerate(choice))
    wanted.push_back({uint32_t(g), candidate});
  if (auto error = prepare(wanted))
    return std::move(error);
  for (GroupChoice each : wanted)
    if (auto error = set(each.group, each.candidate))
      return std::move(error);
  return togetherRuns->divergence(0, changes());
}

llvm::Expected<std::vector<double>> AssembledModel::alone(ArrayRef<GroupChoice> choices) {
  if (auto error = prepare(choices))
    return std::move(error);
  const std::vector<std::optional<uint32_t>> before = current;
  auto setAll = [&](ArrayRef<std::optional<uint32_t>> wanted) -> llvm::Error {
    for (size_t g = 0; g < groups.size(); ++g)
      if (auto error = set(g, wanted[g]))
        return error;
    return llvm::Error::success();
  };
  if (auto error = setAll(std::vector<std::optional<uint32_t>>(groups.size())))
    return std::move(error);
  std::vector<double> result;
  for (GroupChoice each : choices) {
    if (auto error = set(each.group, each.candidate))
      return std::move(error);
    auto kl = aloneRuns->divergence(firstReader(groups[each.group]), changes());
    if (!kl)
      return kl.takeError();
    result.push_back(*kl);
    if (auto error = set(each.group, std::nullopt))
      return std::move(error);
  }
  if (auto error = setAll(before))
    return std::move(error);
  return result;
}

/// Runs the methods of `choices` over second moments, all in one pass over the calibration text.
llvm::Error AssembledModel::prepare(ArrayRef<GroupChoice> choices) {
  struct Wanted {
    std::vector<Site> sites;
    std::vector<Treatment> treatments; ///< of each
  };
  llvm::MapVector<Value, Wanted> byInput;
  for (GroupChoice choice : choices)
    for (const Site &site : groups[choice.group].sites) {
      const Treatment &treatment = candidates[choice.candidate];
      if (!needsPreparation(treatment) || !site.input() || treatment.weight == site.stored ||
          rounded.contains(roundedName(site, treatment)))
        continue;
      byInput[site.input()].sites.push_back(site);
      byInput[site.input()].treatments.push_back(treatment);
    }
  std::vector<MomentInput> inputs;
  std::vector<const Wanted *> wanted;
  for (auto &[value, want] : byInput) {
    inputs.push_back({want.sites[0].name, want.sites[0].columns});
    wanted.push_back(&want);
  }
  if (inputs.empty())
    return llvm::Error::success();
  TraceMeter meter(store, statistics, threads);
  return source(inputs, [&](size_t i, const InputMoments &moments,
                            ArrayRef<float>) -> llvm::Error {
    auto made = meter.round(wanted[i]->sites, wanted[i]->treatments, moments);
    if (!made)
      return made.takeError();
    for (auto [site, treatment, result] : llvm::zip(wanted[i]->sites, wanted[i]->treatments, *made))
      rounded[roundedName(site, treatment)] = std::move(result);
    return llvm::Error::success();
  });
}

/// Treats a group as `candidate` says, or leaves it exact.
llvm::Error AssembledModel::set(size_t group, std::optional<uint32_t> candidate) {
  if (current[group] == candidate)
    return llvm::Error::success();
  current[group] = candidate;
  for (const Site &site : groups[group].sites) {
    plan::WeightOp weight = bySite.lookup(site.name);
    TrialRounding trial{FormatId::F32, {}, {}, weight.getSource().str()};
    if (candidate && candidates[*candidate].weight != site.stored) {
      const Treatment &treatment = candidates[*candidate];
      trial = {treatment.weight, codecRounding(site, treatment, statistics)};
      if (auto found = rounded.find(roundedName(site, treatment)); found != rounded.end()) {
        trial.source = found->second.source;
        trial.factors = found->second.factors;
      }
    }
    auto packed = packTrial(weight, store, trial, threads);
    if (!packed)
      return packed.takeError();
    llvm::copy(*packed, live->bytesOf(weight).begin());
    rows.erase(site.name);
    if (candidate)
      if (auto error = setRows(site, candidates[*candidate], trial.factors))
        return error;
  }
  return llvm::Error::success();
}

llvm::Error AssembledModel::setRows(const Site &site, const Treatment &treatment,
                                    const std::vector<float> &factors) {
  if (!treatment.activation || !site.input())
    return llvm::Error::success();
  auto rounding = inputRounding(site, treatment, factors, statistics);
  if (!rounding)
    return rounding.takeError();
  rows[site.name] = {togetherRuns->pass().launchOf(site.name), std::move(*rounding)};
  return llvm::Error::success();
}

} // namespace

llvm::Expected<std::unique_ptr<ChoiceJudge>> Compiler::assemble(const ScoreTable &table) {
  const int64_t length = std::min(options.length, scoringLength);
  // Methods do better on the text that they saw; where all was seen, the last windows.
  const int64_t behind = (options.samples * options.length + length - 1) / length;
  auto windows = calibrationWindows(*source, options.calibration, behind + togetherWindows, length,
                                    nullptr);
  if (!windows)
    return windows.takeError();
  if (int64_t(windows->size()) > togetherWindows)
    windows->erase(windows->begin(), windows->end() - togetherWindows);
  auto module = import("f32");
  if (!module)
    return module.takeError();
  auto groups = siteGroups(**module, options.sites, options.groups);
  if (!groups)
    return groups.takeError();
  auto live = exactModel();
  if (!live)
    return live.takeError();
  MomentSource moments = [this](ArrayRef<MomentInput> inputs, const MomentVisitor &visit) {
    auto text = calibrationText(options.samples);
    return text ? visitMoments(inputs, *text, /*sampledRows=*/0, visit) : text.takeError();
  };
  auto made = std::make_unique<AssembledModel>(std::move(*module), std::move(*groups), table,
                                               *weights, *statistics, rounded, options.threads,
                                               std::move(moments));
  if (auto error = made->open(std::move(*live), std::move(*windows)))
    return std::move(error);
  return made;
}
