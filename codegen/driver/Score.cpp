//===- Score.cpp - AutoQuantize: what each choice costs -------------------===//
//
// How much rounding hurts at a group of sites is measured once, as the KL divergence on
// the logits with the group's weights rounded by one treatment, the probe, and scaled for
// the candidates by the errors of outputs (Traces.h), of weights and of activations. The
// probe is always the same, so that scores serve any list of candidates. What no input
// tells about (the table of the embedding) is measured for each candidate; with `--score kl`
// everything is, by the candidate's own method. Everything is
// kept in the statistics as soon as it is known. Search.cpp decides.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/MomentPass.h"
#include "codegen/driver/PartialRuns.h"
#include "codegen/driver/ScoreGroups.h"
#include "codegen/driver/StatisticsKeeper.h"
#include "codegen/driver/Traces.h"
#include "codegen/weights/PackWeights.h"
#include "ir/Failure.h"
#include "passes/search/Exchange.h"

#include <llvm/ADT/MapVector.h>
#include <mlir/Pass/PassManager.h>

using namespace mlir;
using namespace qplan;

namespace {

/// Samples of the text from which second moments for traces come, at most.
constexpr uint64_t traceSamples = 32;

/// Their length at most: what one pass takes.
constexpr int64_t traceLength = 512;

/// Small enough for divergences far above those of the arithmetic, large enough for them to grow
/// as the errors do.
constexpr llvm::StringLiteral probeText = "int4_g32_asym@imatrix";

/// Whether what rounding does is told by the rows that enter the group.
bool hasTraces(const SiteGroup &group) {
  return llvm::all_of(group.sites, [](const Site &site) { return bool(site.input()); });
}

/// Measures divergences with one group rounded.
class Scorer {
public:
  Scorer(LiveModel &live, WeightStore &store, const Statistics &statistics, unsigned threads)
      : live(live), store(store), statistics(statistics), threads(threads),
        bySite(live.weightsBySite()) {}

  llvm::Error open(std::vector<std::vector<int32_t>> windows, ArrayRef<SiteGroup> groups) {
    std::vector<plan::WeightOp> entries;
    for (const SiteGroup &group : groups)
      for (const Site &site : group.sites)
        entries.push_back(bySite.lookup(site.name));
    auto made = PartialRuns::create(live, std::move(windows), entries);
    if (!made)
      return made.takeError();
    runs = std::move(*made);
    return llvm::Error::success();
  }

  /// KL with the weights of all sites of `group` rounded as `treatment` says, by their codec.
  llvm::Expected<double> measure(const SiteGroup &group, const Treatment &treatment) {
    llvm::MapVector<int64_t, std::pair<plan::WeightOp, std::vector<uint8_t>>> saved;
    auto restore = [&] {
      for (auto &[offset, kept] : saved)
        llvm::copy(kept.second, live.bytesOf(kept.first).begin());
    };
    int64_t first = runs->pass().launches();
    for (const Site &site : group.sites) {
      plan::WeightOp weight = bySite.lookup(site.name);
      first = std::min(first, runs->pass().readerOf(weight));
      auto packed = packTrial(weight, store, {treatment.weight, codecRounding(site, treatment, statistics)}, threads);
      if (!packed) {
        restore();
        return packed.takeError();
      }
      auto bytes = live.bytesOf(weight);
      saved.insert({int64_t(*weight.getOffset()), {weight, {bytes.begin(), bytes.end()}}});
      llvm::copy(*packed, bytes.begin());
    }
    auto kl = runs->divergence(first);
    restore();
    return kl;
  }

private:
  LiveModel &live;
  WeightStore &store;
  const Statistics &statistics;
  unsigned threads;
  const llvm::StringMap<plan::WeightOp> bySite;
  std::unique_ptr<PartialRuns> runs;
};

/// Groups whose candidates are measured in one go: their methods share a pass over the text.
constexpr size_t groupsAtOnce = 8;

/// Whether `statistics` hold the divergence of a group with `treatment` alone.
bool isMeasured(const Statistics &statistics, const std::string &group,
                const Treatment &treatment) {
  auto found = statistics.scores.find(group);
  return found != statistics.scores.end() && found->second.contains(printTreatment(treatment));
}

/// Said of statistics without a text that could fill them in.
llvm::Error lacksScore(const std::string &file, const Treatment &treatment,
                       const std::string &group) {
  return usageError("--statistics {}: holds no score of {} for {}; give --calib TEXT to measure it",
                    file, printTreatment(treatment), group);
}

/// The cells of `table` that `statistics` lack, by groups, in portions.
std::vector<std::vector<GroupChoice>> missingCells(const ScoreTable &table,
                                                   const Statistics &statistics) {
  std::vector<std::vector<GroupChoice>> portions;
  size_t groups = groupsAtOnce; // in the last portion
  for (auto [g, group] : llvm::enumerate(table.groups)) {
    bool counted = false;
    for (auto [c, score] : llvm::enumerate(group.scores)) {
      if (!score.allowed || isMeasured(statistics, group.name, table.candidates[c]))
        continue;
      if (!std::exchange(counted, true) && ++groups > groupsAtOnce) {
        portions.emplace_back();
        groups = 1;
      }
      portions.back().push_back({uint32_t(g), uint32_t(c)});
    }
  }
  return portions;
}

/// Scores that were all measured.
void takeScores(ScoredGroup &scored, ArrayRef<Treatment> candidates,
                const Statistics &statistics) {
  for (auto [score, treatment] : llvm::zip(scored.scores, candidates))
    if (score.allowed)
      score.kl = statistics.scores.at(scored.name).at(printTreatment(treatment));
}

/// The runs that `statistics` lack.
std::vector<Measurement> missingScores(ArrayRef<SiteGroup> groups, const ScoreTable &table,
                                       const Treatment &probe, const Statistics &statistics) {
  std::vector<Measurement> missing;
  for (auto [g, group] : llvm::enumerate(groups)) {
    auto want = [&](const Treatment &treatment) {
      if (!isMeasured(statistics, group.name, treatment))
        missing.push_back({&group, treatment});
    };
    if (hasTraces(group)) {
      want(probe);
      continue;
    }
    for (auto [c, score] : llvm::enumerate(table.groups[g].scores))
      if (score.allowed)
        want(table.candidates[c]);
  }
  return missing;
}

/// Scores of a group whose traces are known.
void scaleScores(ScoredGroup &scored, ArrayRef<Treatment> candidates, const Treatment &probe,
                 const Statistics &statistics) {
  auto traceOf = [&](const Treatment &treatment) {
    const std::string input = inputTraceName(treatment);
    double sum = 0;
    for (const ScoredSite &site : scored.sites) {
      const auto &traces = statistics.traces.at(site.name);
      sum += traces.at(weightTraceName(treatment));
      if (!input.empty())
        sum += traces.at(input);
    }
    return sum;
  };
  const double base = traceOf(probe);
  const double measured = statistics.scores.at(scored.name).at(printTreatment(probe));
  for (auto [score, treatment] : llvm::zip(scored.scores, candidates))
    if (score.allowed)
      score.kl = base > 0 ? measured * (traceOf(treatment) / base) : 0.0;
}

} // namespace

llvm::Error Compiler::measureTraces(ModuleOp module, ArrayRef<Treatment> treatments,
                                    const std::function<llvm::Error()> &keep) {
  auto scope = parseScope(options.sites);
  if (!scope)
    return scope.takeError();
  llvm::MapVector<Value, std::vector<Site>> byInput;
  for (const Site &site : collectSites(module)) {
    const auto &traces = statistics->traces[site.name];
    auto known = [&](const Treatment &treatment) {
      const std::string input = inputTraceName(treatment);
      return traces.contains(weightTraceName(treatment)) &&
             (input.empty() || traces.contains(input));
    };
    // Sites of one input are measured together: factors are for all of them.
    if (scope->contains(site) && site.input() && !llvm::all_of(treatments, known))
      byInput[site.input()].push_back(site);
  }
  if (byInput.empty())
    return llvm::Error::success();
  if (options.calibration.empty())
    return usageError("--statistics {}: holds no errors of all of these treatments; give --calib "
                      "TEXT to measure them",
                      options.statistics);
  auto windows =
      calibrationText(int64_t(std::min(statistics->key.samples, traceSamples)), traceLength);
  if (!windows)
    return windows.takeError();
  std::vector<MomentInput> inputs;
  std::vector<ArrayRef<Site>> sites;
  for (auto &[value, list] : byInput) {
    inputs.push_back({list[0].name, list[0].columns});
    sites.push_back(list);
  }
  TraceMeter meter(*weights, *statistics, options.threads);
  return visitMoments(inputs, *windows, sampledInputRows,
                      [&](size_t i, const InputMoments &moments, ArrayRef<float> rows) {
                        auto error = meter.measure(sites[i], treatments, moments, rows);
                        progress.update("traces", i + 1, inputs.size());
                        return error ? std::move(error) : keep();
                      });
}

llvm::Error Compiler::lowerExact(ModuleOp module, bool toPlan) {
  PassInputs inputs{weights.get(), statistics ? &*statistics : nullptr, nullptr};
  AssignTreatmentsOptions assigning;
  assigning.quant = "f32";
  return runPasses(module, "score", [&](OpPassManager &manager) {
    manager.addPass(createAssignTreatments(inputs, assigning));
    manager.addPass(createInsertQdq(inputs));
    if (toPlan)
      addPlanPasses(manager);
  });
}

llvm::Expected<std::unique_ptr<LiveModel>> Compiler::exactModel() {
  auto module = import("f32");
  if (!module)
    return module.takeError();
  if (auto error = lowerExact(**module, /*toPlan=*/true))
    return std::move(error);
  return LiveModel::create(std::move(*module), *weights, options.threads, progress);
}

llvm::Error Compiler::measureScores(ArrayRef<SiteGroup> groups, ArrayRef<Measurement> missing,
                                    const std::function<llvm::Error()> &keep) {
  if (options.calibration.empty())
    return lacksScore(options.statistics, missing[0].treatment, missing[0].group->name);
  auto windows = calibrationText(scoringWindows, scoringLength);
  if (!windows)
    return windows.takeError();
  auto live = exactModel();
  if (!live)
    return live.takeError();
  Scorer scorer(**live, *weights, *statistics, options.threads);
  if (auto error = scorer.open(std::move(*windows), groups))
    return error;
  for (auto [i, run] : llvm::enumerate(missing)) {
    auto kl = scorer.measure(*run.group, run.treatment);
    if (!kl)
      return kl.takeError();
    statistics->scores[run.group->name][printTreatment(run.treatment)] = *kl;
    progress.update("score", i + 1, missing.size());
    if (auto error = keep())
      return error;
  }
  return llvm::Error::success();
}

llvm::Error Compiler::measureCells(const ScoreTable &table,
                                   const std::function<llvm::Error()> &keep) {
  const auto portions = missingCells(table, *statistics);
  if (portions.empty())
    return llvm::Error::success();
  if (options.calibration.empty()) {
    const GroupChoice &cell = portions[0][0];
    return lacksScore(options.statistics, table.candidates[cell.candidate],
                      table.groups[cell.group].name);
  }
  auto judge = assemble(table);
  if (!judge)
    return judge.takeError();
  size_t all = 0, done = 0;
  for (const auto &portion : portions)
    all += portion.size();
  for (const auto &portion : portions) {
    auto found = (*judge)->alone(portion);
    if (!found)
      return found.takeError();
    for (auto [cell, kl] : llvm::zip(portion, *found))
      statistics->scores[table.groups[cell.group].name]
                        [printTreatment(table.candidates[cell.candidate])] = kl;
    done += portion.size();
    progress.update("score", done, all);
    if (auto error = keep())
      return error;
  }
  return llvm::Error::success();
}

llvm::Expected<ScoreTable> Compiler::scoreTable(ArrayRef<Treatment> candidates) {
  for (const Treatment &candidate : candidates)
    if (const MomentMethod *method = momentMethod(candidate))
      if (auto error = method->check(candidate))
        return usageError("--auto: {}: {}", printTreatment(candidate),
                          llvm::toString(std::move(error)));
  auto module = import("f32");
  if (!module)
    return module.takeError();
  auto groups = siteGroups(**module, options.sites, options.groups);
  if (!groups)
    return groups.takeError();
  auto table = sizedTable(*groups, candidates);
  if (!table)
    return table.takeError();
  const Treatment probe = llvm::cantFail(parseTreatment(probeText));
  StatisticsKeeper keeper(*statistics, options.statistics);
  auto keep = [&] { return keeper.keep(); };
  if (options.score == "kl") {
    if (auto error = measureCells(*table, keep))
      return std::move(error);
    for (ScoredGroup &scored : table->groups)
      takeScores(scored, candidates, *statistics);
    if (auto error = keeper.write())
      return std::move(error);
    return table;
  }
  std::vector<Treatment> traced = {probe};
  llvm::copy_if(candidates, std::back_inserter(traced),
                [&](const Treatment &candidate) { return candidate != probe; });
  if (auto error = measureTraces(**module, traced, keep))
    return std::move(error);
  const std::vector<Measurement> missing = missingScores(*groups, *table, probe, *statistics);
  if (!missing.empty())
    if (auto error = measureScores(*groups, missing, keep))
      return std::move(error);
  for (auto [group, scored] : llvm::zip(*groups, table->groups)) {
    if (hasTraces(group)) {
      scaleScores(scored, candidates, probe, *statistics);
      continue;
    }
    takeScores(scored, candidates, *statistics);
  }
  if (auto error = keeper.write())
    return std::move(error);
  return table;
}
