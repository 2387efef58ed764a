//===- Score.cpp - AutoQuantize: what each choice costs -------------------===//
//
// How much a treatment hurts at a group of sites is measured once, as the KL
// divergence on the logits with the group's weights rounded to the smallest
// candidate, and scaled for the other candidates by tr(dW H dW^T) with the
// diagonal of H (the mean squares of the inputs). Search.cpp decides.
//
// The rounding of activations has no measured part: its term is the variance of a
// uniform rounding error at the scale that the ranges of the statistics give.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/Calibrator.h"
#include "codegen/driver/ScoreGroups.h"
#include "codegen/lower/Passes.h"
#include "codegen/plan/Passes.h"
#include "codegen/weights/PackWeights.h"
#include "ir/Failure.h"

#include <cmath>
#include <llvm/ADT/StringExtras.h>
#include <mlir/Pass/PassManager.h>

using namespace mlir;
using namespace qplan;

namespace {

/// Text on which divergences are measured: enough to rank sites, as short as that allows,
/// since it is run once for each group.
constexpr int64_t scoringWindows = 2, scoringLength = 256;

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

} // namespace

llvm::Expected<ScoreTable> Compiler::scoreTable(llvm::ArrayRef<Treatment> candidates) {
  auto module = import("f32");
  if (!module)
    return module.takeError();
  auto groups = siteGroups(**module, options.sites, options.groups);
  if (!groups)
    return groups.takeError();
  auto table = sizedTable(*groups, candidates);
  if (!table)
    return table.takeError();
  // Sites keep names and shapes; their ops go away with the lowering.
  if (auto error = runPasses(**module, "score",
                             [](OpPassManager &manager) { addPlanPasses(manager); }))
    return std::move(error);

  // The candidate of fewest bits is the one that is measured.
  std::vector<int64_t> totals(candidates.size(), 0);
  for (const ScoredGroup &group : table->groups)
    for (auto [total, score] : llvm::zip(totals, group.scores))
      total += score.bits;
  const size_t smallest = size_t(llvm::min_element(totals) - totals.begin());
  const Treatment &measured = candidates[smallest];
  std::string measuredName = printTreatment(measured);
  auto live = LiveModel::create(std::move(*module), *weights, options.threads, progress);
  if (!live)
    return live.takeError();
  Scorer scorer(**live, *weights, *statistics, options.threads);

  std::vector<std::vector<int32_t>> windows;
  bool complete = llvm::all_of(*groups, [&](const SiteGroup &group) {
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
      return std::move(error);
  }
  for (auto [g, group] : llvm::enumerate(*groups)) {
    auto &scores = statistics->scores[group.name];
    if (!scores.contains(measuredName)) {
      auto kl = scorer.measure(group, measured);
      if (!kl)
        return kl.takeError();
      scores[measuredName] = *kl;
    }
    double base = 0;
    std::vector<CandidateScore> &row = table->groups[g].scores;
    for (auto [c, treatment] : llvm::enumerate(candidates)) {
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
      row[c].kl = sum;
      // The measured run rounds weights only.
      if (c == smallest)
        base = sum;
    }
    double scale = base > 0 ? scores[measuredName] / base : 0.0;
    for (CandidateScore &score : row)
      score.kl *= scale;
    progress.update("score", g + 1, groups->size());
  }
  if (!options.statistics.empty())
    if (auto error = writeStatistics(*statistics, options.statistics))
      return std::move(error);
  return table;
}
