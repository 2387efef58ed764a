//===- Score.cpp - AutoQuantize: a treatment for each site ----------------===//
//
// How much a treatment hurts at a group of sites is measured once, as the KL
// divergence on the logits with the group's weights rounded to the smallest
// candidate, and scaled for the other candidates by tr(dW H dW^T) with the
// diagonal of H (the mean squares of the inputs). The divergences of groups add up
// well enough to be a knapsack's values (anchors: within 10 %).
//
// The rounding of activations has no measured part: its term is the variance of a
// uniform rounding error at the scale that the ranges of the statistics give.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Calibrator.h"
#include "codegen/lower/Passes.h"
#include "codegen/plan/Passes.h"
#include "codegen/weights/PackWeights.h"
#include "ir/Failure.h"
#include "passes/Sites.h"
#include "passes/moments/MomentMethod.h"
#include "passes/search/BudgetSolver.h"

#include <cmath>
#include <llvm/ADT/MapVector.h>
#include <llvm/ADT/StringExtras.h>
#include <mlir/Pass/PassManager.h>

using namespace mlir;
using namespace qplan;

namespace {

/// What `--auto all` chooses among: one of ours for each size that CPUs run well.
constexpr llvm::StringLiteral allTreatments =
    "int4_g128@imatrix,int4_g64@imatrix,int4_g32@imatrix,int4_g32_asym@imatrix,int8,bf16";

/// Text on which divergences are measured: enough to rank sites, as short as that allows,
/// since it is run once for each group.
constexpr int64_t scoringWindows = 2, scoringLength = 256;

/// Sites that get one treatment.
struct SiteGroup {
  std::string name;
  std::vector<Site> sites;
};

/// "q", "k" and "v" are tied by "qkv"; "gate" and "up" by "gate_up".
std::string groupOf(llvm::StringRef site, llvm::ArrayRef<llvm::StringRef> ties) {
  auto [prefix, last] = site.rsplit('.');
  if (llvm::is_contained(ties, "qkv") && (last == "q" || last == "k" || last == "v"))
    return (prefix + ".qkv").str();
  if (llvm::is_contained(ties, "gate_up") && (last == "gate" || last == "up"))
    return (prefix + ".gate_up").str();
  return site.str();
}

/// Expected square of the rounding error of each input column.
std::vector<float> activationError(const Treatment &treatment, const SiteStatistics &site) {
  std::vector<float> error(site.absMax.size(), 0.0f);
  if (!treatment.activation)
    return error;
  const FormatInfo &info = formatInfo(*treatment.activation);
  if (!info.isInteger()) {
    // E4M3: relative rms error of a uniform mantissa of 3 bits.
    for (size_t j = 0; j < error.size(); ++j)
      error[j] = site.meanSquare[j] * float(1.0 / (16.0 * 16.0 * 3.0) * 0.5);
    return error;
  }
  size_t group = info.groupColumns ? info.groupColumns : error.size();
  // The largest value of a row is about half of the largest of the whole text.
  double share = info.isPerTensor() ? 1.0 : 0.5;
  for (size_t start = 0; start < error.size(); start += group) {
    size_t end = std::min(start + group, error.size());
    float top = *std::max_element(site.absMax.begin() + start, site.absMax.begin() + end);
    double step = share * top / 127.0;
    std::fill(error.begin() + start, error.begin() + end, float(step * step / 12.0));
  }
  return error;
}

class Scorer {
public:
  Scorer(LiveModel &live, WeightStore &store, Statistics &statistics, unsigned threads)
      : live(live), store(store), statistics(statistics), threads(threads) {
    for (plan::WeightOp weight : live.program().getWeights())
      if (auto sites = weight.getSites())
        for (Attribute site : *sites)
          bySite[cast<StringAttr>(site).getValue()] = weight;
  }

  llvm::Error reference(llvm::ArrayRef<std::vector<int32_t>> windows) {
    texts = windows;
    for (const auto &window : windows) {
      baseline.emplace_back();
      if (auto error = live.run(window, &baseline.back()))
        return error;
    }
    return llvm::Error::success();
  }

  /// KL with all sites of `group` rounded as `treatment` says.
  llvm::Expected<double> measure(const SiteGroup &group, const Treatment &treatment) {
    std::vector<std::pair<plan::WeightOp, std::vector<uint8_t>>> saved;
    auto restore = [&] {
      for (auto &[weight, bytes] : saved)
        std::copy(bytes.begin(), bytes.end(), live.bytesOf(weight).begin());
    };
    for (const Site &site : group.sites) {
      plan::WeightOp weight = bySite.lookup(site.name);
      auto packed = packTrial(weight, store, roundingOf(site, treatment), threads);
      if (!packed) {
        restore();
        return packed.takeError();
      }
      auto bytes = live.bytesOf(weight);
      saved.push_back({weight, std::vector<uint8_t>(bytes.begin(), bytes.end())});
      std::copy(packed->begin(), packed->end(), bytes.begin());
    }
    double sum = 0;
    for (auto [window, expected] : llvm::zip(texts, baseline)) {
      if (auto error = live.run(window, &scratch)) {
        restore();
        return std::move(error);
      }
      sum += live.divergence(expected, scratch);
    }
    restore();
    return sum / double(texts.size());
  }

  /// tr(dW H dW^T) of the weights, and of the activations' rounding through them.
  llvm::Expected<double> trace(const Site &site, const Treatment &treatment) {
    plan::WeightOp weight = bySite.lookup(site.name);
    const SiteStatistics &seen = statistics.sites.at(site.name);
    auto rounding = roundingError(weight, store, roundingOf(site, treatment), seen.meanSquare,
                                  threads);
    if (!rounding || !treatment.activation)
      return rounding;
    // The same sum with W in place of dW: rounding to nothing leaves W.
    std::vector<float> error = activationError(treatment, seen);
    auto view = store.open(weight.getSource());
    if (!view)
      return view.takeError();
    std::vector<float> row(size_t(view->columns()));
    for (int64_t r = 0; r < view->rows(); ++r) {
      if (auto failure = view->readRows(r, 1, row.data()))
        return std::move(failure);
      for (size_t j = 0; j < row.size(); ++j)
        *rounding += double(error[j]) * row[j] * row[j];
    }
    return rounding;
  }

private:
  TrialRounding roundingOf(const Site &site, const Treatment &treatment) {
    WeightRounding rounding;
    if (treatment.method == Method::Mse || treatment.method == Method::Imatrix)
      rounding.rule = ScaleRule::Mse;
    if (treatment.method == Method::Imatrix)
      rounding.importance = statistics.sites.at(site.name).meanSquare;
    return {treatment.weight, std::move(rounding)};
  }

  LiveModel &live;
  WeightStore &store;
  Statistics &statistics;
  unsigned threads;
  llvm::StringMap<plan::WeightOp> bySite;
  llvm::ArrayRef<std::vector<int32_t>> texts;
  std::vector<std::vector<float>> baseline;
  std::vector<float> scratch;
};

llvm::Expected<std::vector<Treatment>> candidatesOf(const CompileOptions &options) {
  std::string text = options.automatic == "all" ? allTreatments.str() : options.automatic;
  auto list = parseTreatmentList(text);
  if (!list)
    return list.takeError();
  std::vector<Treatment> kept;
  for (Treatment treatment : *list) {
    if (momentMethod(treatment))
      return usageError("--auto: this version cannot score {}; give {}@imatrix, save the recipe "
                        "(--save-recipe) and write @{} into it",
                        printTreatment(treatment), formatName(treatment.weight).str(),
                        methodName(treatment.method).str());
    bool plainFloat = formatInfo(treatment.weight).family == CodecFamily::Float;
    if (options.activations == "8" && options.automatic == "all" && !plainFloat)
      treatment.activation = FormatId::Int8Token;
    bool eight = treatment.activation.has_value();
    if (options.activations == "16" ? !eight : options.activations == "8" ? eight : true)
      kept.push_back(treatment);
  }
  if (kept.empty())
    return usageError("--activations {}: none of the treatments {} fits", options.activations, text);
  return kept;
}

} // namespace

llvm::Error Compiler::choose() {
  auto candidates = candidatesOf(options);
  if (!candidates)
    return candidates.takeError();
  auto scope = parseScope(options.sites);
  if (!scope)
    return scope.takeError();
  auto module = import("f32");
  if (!module)
    return module.takeError();

  llvm::SmallVector<llvm::StringRef> ties;
  llvm::StringRef(options.groups).split(ties, ',', -1, /*KeepEmpty=*/false);
  for (llvm::StringRef tie : ties)
    if (tie != "qkv" && tie != "gate_up")
      return usageError("--group {}: `{}` is none of qkv, gate_up", options.groups, tie.str());
  llvm::MapVector<llvm::StringRef, SiteGroup> byName;
  llvm::BumpPtrAllocator names;
  for (const Site &site : collectSites(**module)) {
    if (!scope->contains(site) || !site.input())
      continue;
    std::string name = groupOf(site.name, ties);
    SiteGroup &group = byName[llvm::StringRef(name).copy(names)];
    group.name = name;
    group.sites.push_back(site);
  }
  std::vector<SiteGroup> groups;
  for (auto &[name, group] : byName)
    groups.push_back(std::move(group));

  // Sites keep names and shapes; their ops go away with the lowering.
  if (auto error = runPasses(**module, "score",
                             [](OpPassManager &manager) { addPlanPasses(manager); }))
    return error;

  BudgetProblem problem;
  double elements = 0;
  auto costOf = [&](const Site &site, const Treatment &treatment) -> llvm::Expected<int64_t> {
    int64_t rows = site.rows * site.weightCount;
    if (options.modeloptBits) {
      auto bits = modeloptBits(treatment.weight, rows, site.columns);
      if (!bits)
        return bits.takeError();
      return int64_t(*bits * double(site.elements()));
    }
    auto bytes = bytesFor(treatment.weight, rows, site.columns);
    if (!bytes)
      return bytes.takeError();
    return int64_t(*bytes * 8);
  };
  // The candidate of fewest bits is the one that is measured.
  size_t smallest = 0;
  std::vector<int64_t> totals(candidates->size(), 0);
  for (const SiteGroup &group : groups) {
    problem.groups.emplace_back();
    for (auto [c, treatment] : llvm::enumerate(*candidates)) {
      BudgetCandidate candidate;
      for (const Site &site : group.sites) {
        auto cost = costOf(site, treatment);
        if (!cost)
          return usageError("site {}: {}", site.name, llvm::toString(cost.takeError()));
        candidate.cost += *cost;
      }
      totals[c] += candidate.cost;
      problem.groups.back().push_back(candidate);
    }
    for (const Site &site : group.sites)
      elements += double(site.elements());
  }
  for (size_t c = 1; c < totals.size(); ++c)
    if (totals[c] < totals[smallest])
      smallest = c;
  problem.budget = int64_t(options.effectiveBits * elements);

  const Treatment &measured = (*candidates)[smallest];
  std::string measuredName = printTreatment(measured);
  auto live = LiveModel::create(std::move(*module), *weights, options.threads, progress);
  if (!live)
    return live.takeError();
  Scorer scorer(**live, *weights, *statistics, options.threads);

  std::vector<std::vector<int32_t>> windows;
  bool complete = llvm::all_of(groups, [&](const SiteGroup &group) {
    auto found = statistics->scores.find(group.name);
    return found != statistics->scores.end() && found->second.contains(measuredName);
  });
  if (!complete) {
    if (options.calibration.empty())
      return usageError("--statistics {}: holds no scores for {}; give --calib TEXT to measure "
                        "them",
                        options.statistics, measuredName);
    auto all = calibrationWindows(*source, options.calibration, scoringWindows,
                                  std::min(options.length, scoringLength), nullptr);
    if (!all)
      return all.takeError();
    windows = std::move(*all);
    if (auto error = scorer.reference(windows))
      return error;
  }
  double predicted = 0;
  for (auto [g, group] : llvm::enumerate(groups)) {
    auto &scores = statistics->scores[group.name];
    if (!scores.contains(measuredName)) {
      auto kl = scorer.measure(group, measured);
      if (!kl)
        return kl.takeError();
      scores[measuredName] = *kl;
    }
    double base = 0;
    for (auto [c, treatment] : llvm::enumerate(*candidates)) {
      std::string name = printTreatment(treatment);
      double sum = 0;
      for (const Site &site : group.sites) {
        auto &traces = statistics->traces[site.name];
        if (!traces.contains(name)) {
          auto trace = scorer.trace(site, treatment);
          if (!trace)
            return trace.takeError();
          traces[name] = *trace;
        }
        sum += traces[name];
      }
      problem.groups[g][c].score = sum;
      // The measured run rounds weights only.
      if (c == smallest)
        base = sum;
    }
    double scale = base > 0 ? scores[measuredName] / base : 0.0;
    for (BudgetCandidate &candidate : problem.groups[g])
      candidate.score *= scale;
    progress.update("score", g + 1, groups.size());
  }
  if (!options.statistics.empty())
    if (auto error = writeStatistics(*statistics, options.statistics))
      return error;

  auto solution = solveBudget(problem);
  if (!solution) {
    llvm::consumeError(solution.takeError());
    double least = double(totals[smallest]) / elements;
    return usageError("--effective-bits {}: these treatments need at least {:.3f} bits a weight "
                      "({}); raise the budget or add a smaller treatment",
                      options.effectiveBits, least, measuredName);
  }
  std::vector<SiteTreatment> assignment;
  for (auto [g, group] : llvm::enumerate(groups)) {
    for (const Site &site : group.sites)
      assignment.push_back({site.name, (*candidates)[solution->choice[g]]});
    predicted += problem.groups[g][solution->choice[g]].score;
  }
  RecipeHeader header;
  header.modelHash = source->contentHash();
  llvm::SmallVector<llvm::StringRef> parts;
  llvm::StringRef(options.sites).split(parts, '+');
  for (llvm::StringRef part : parts)
    header.scopes.push_back(part.str());
  for (llvm::StringRef tie : ties)
    header.groups.push_back(tie.str());
  header.constraints = {{options.modeloptBits ? "effective-bits-modelopt" : "effective-bits",
                         fmt::format("{}", options.effectiveBits)}};
  header.statisticsHash = statisticsHash(*statistics);
  header.totals = {{"effective-bits", fmt::format("{:.4f}", double(solution->cost) / elements)},
                   {"predicted-kl", fmt::format("{:.6f}", predicted)}};
  auto made = recipeFor(std::move(header), assignment);
  if (!made)
    return made.takeError();
  recipe = std::move(*made);
  progress.note(fmt::format("auto: {:.4f} bits a weight, predicted KL {:.5f} nats",
                            double(solution->cost) / elements, predicted));
  return llvm::Error::success();
}
