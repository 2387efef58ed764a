//===- Graphs.cpp - the front and the layers' errors ----------------------===//

#include "tools/qplan/report/Charts.h"
#include "tools/qplan/report/Sections.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <llvm/ADT/StringRef.h>

namespace qplan {
namespace {

/// More points than this are one line anyway.
constexpr size_t shownPoints = 90;

/// Mixes far larger than the plan would squeeze the part that matters.
bool isNear(const ReportData &data, const FrontPoint &point) {
  return !data.chosen || point.bits <= std::max(2 * data.chosen->bits, 8.6);
}

/// One treatment everywhere.
struct UniformPoint {
  std::string treatment;
  FrontPoint point;
};

/// With the cache of `chosen`, so that treatments make the difference.
std::vector<UniformPoint> uniformPoints(const SearchFront &front,
                                        const std::optional<FrontPoint> &chosen) {
  std::vector<UniformPoint> uniform;
  for (uint32_t c = 0; c < front.candidates.size(); ++c)
    if (std::all_of(front.groups.begin(), front.groups.end(),
                    [&](const FrontGroup &group) { return group.cells[c].allowed; }))
      uniform.push_back({front.candidates[c],
                         front.pointOf(std::vector<uint32_t>(front.groups.size(), c),
                                       chosen ? chosen->cache : std::nullopt)});
  return uniform;
}

std::string tipOf(const FrontPoint &point) {
  std::string tip = fmt::format("{:.3f} bits, KL {}", point.bits, shortNumber(point.kl));
  if (point.decodeMs)
    tip += fmt::format(", {} ms a token", shortNumber(*point.decodeMs));
  if (point.measuredKl)
    tip += fmt::format("; measured KL {}", shortNumber(*point.measuredKl));
  return tip;
}

/// Divergence over what `costOf` gives: points without it are left out.
template <typename Cost>
Chart frontChart(const ReportFacts &facts, const std::vector<UniformPoint> &uniform, Cost costOf) {
  Chart chart;
  chart.yTitle = "predicted KL divergence, nats";
  chart.logY = true;
  ChartSeries mixes{"best mixes", SeriesMark::Line, 0, {}};
  size_t step = std::max<size_t>(1, facts.points.size() / shownPoints);
  for (size_t i = 0; i < facts.points.size(); i += step)
    if (auto cost = costOf(facts.points[i]); cost && isNear(facts.data, facts.points[i]))
      mixes.points.push_back({*cost, facts.points[i].kl, "", tipOf(facts.points[i])});
  ChartSeries single{"one treatment everywhere", SeriesMark::Diamond, 1, {}};
  for (const UniformPoint &each : uniform)
    if (auto cost = costOf(each.point); cost && isNear(facts.data, each.point))
      single.points.push_back({*cost, each.point.kl, each.treatment,
                               each.treatment + ": " + tipOf(each.point)});
  ChartSeries plan{"this plan", SeriesMark::Star, 3, {}};
  if (facts.data.chosen)
    if (auto cost = costOf(*facts.data.chosen))
      plan.points.push_back({*cost, facts.data.chosen->kl, "this plan",
                             tipOf(*facts.data.chosen)});
  chart.series = {std::move(mixes), std::move(single), std::move(plan)};
  return chart;
}

/// What mixing gained, in one sentence; "" where nothing of its size is uniform.
std::string gainOf(const FrontPoint &chosen, const std::vector<UniformPoint> &uniform) {
  const UniformPoint *best = nullptr;
  for (const UniformPoint &each : uniform)
    if (each.point.bits <= chosen.bits + 0.005 && (!best || each.point.kl < best->point.kl))
      best = &each;
  if (!best || best->point.kl <= 0)
    return "";
  return fmt::format("At {:.2f} bits this plan is expected to have {:.0f} % of the divergence of "
                     "the best single treatment that is no larger ({}, {:.2f} bits).",
                     chosen.bits, 100 * chosen.kl / best->point.kl, best->treatment,
                     best->point.bits);
}

bool roundsActivations(const ReportData &data) {
  return std::any_of(data.sites.begin(), data.sites.end(), [](const ReportSite &site) {
    llvm::StringRef format = llvm::StringRef(site.treatment).split('@').first;
    // "int8a8", "w4a8", "q4_K" (whose own engine rounds activations): `a` or a block of GGML.
    return format.drop_front(std::min<size_t>(1, format.size())).contains('a') ||
           format.starts_with("q");
  });
}

} // namespace

void writeFrontGraph(Markup &page, const ReportFacts &facts) {
  page.open("section");
  page.leaf("h2", {}, "What else was possible");
  if (!facts.data.front) {
    writeAsk(page, "The trade-off between size and accuracy comes from a search:",
             "qplan search MODEL --calib text.txt -o front.json");
    page.close();
    return;
  }
  std::vector<UniformPoint> uniform = uniformPoints(*facts.data.front, facts.data.chosen);
  std::string gain = facts.data.chosen ? gainOf(*facts.data.chosen, uniform) : "";
  page.leaf("p", {{"class", "soft"}},
            "Every point of the line is a mix that no other mix of at most its size beats." +
                (gain.empty() ? "" : " " + gain));
  Chart bits = frontChart(facts, uniform,
                          [](const FrontPoint &point) { return std::optional(point.bits); });
  bits.title = "bits against predicted divergence";
  bits.xTitle = "bits for each weight";
  drawChart(page, bits);
  page.close();
  Chart time = frontChart(facts, uniform, [](const FrontPoint &point) { return point.decodeMs; });
  bool timed = std::any_of(time.series.begin(), time.series.end(),
                           [](const ChartSeries &series) { return !series.points.empty(); });
  if (!timed)
    return;
  time.title = "predicted time of a decode step against predicted divergence";
  time.xTitle = "milliseconds for a token, predicted for " + facts.data.front->target;
  page.open("section");
  page.leaf("h3", {}, "The same against speed");
  drawChart(page, time);
  page.close();
}

void writeLayerErrors(Markup &page, const ReportFacts &facts) {
  page.open("section");
  page.leaf("h2", {}, "Is the code what was meant?");
  if (!facts.data.forms) {
    writeAsk(page, "The quantize-dequantize form in f32 is the meaning of a plan. To measure how "
                   "far its emitted code is from it, layer by layer, give the checkpoint:",
             fmt::format("qplan report {} -o report.html --model MODEL --text text.txt",
                         facts.data.name));
    page.close();
    return;
  }
  const FormComparison &forms = *facts.data.forms;
  const bool codes = roundsActivations(facts.data);
  const LayerError *worst = nullptr;
  Chart chart;
  chart.title = "error of emitted code behind each layer";
  chart.xTitle = "layer";
  chart.yTitle = "rms error / standard deviation";
  chart.logY = chart.wholeX = true;
  chart.limit = codes ? 1e-2 : 1e-3;
  chart.limitText = fmt::format("allowed: {}", shortNumber(*chart.limit));
  ChartSeries errors{"emitted code - QDQ form", SeriesMark::Line, 0, {}};
  for (const LayerError &layer : forms.layers) {
    worst = !worst || layer.relative() > worst->relative() ? &layer : worst;
    int64_t number = 0;
    llvm::StringRef(layer.name).rsplit('.').second.getAsInteger(10, number);
    errors.points.push_back({double(number), layer.relative(), "",
                             fmt::format("{}: rms error {}, standard deviation {}", layer.name,
                                         shortNumber(layer.error), shortNumber(layer.deviation))});
  }
  chart.series = {std::move(errors)};
  page.leaf("p", {{"class", "soft"}},
            fmt::format("Both forms of the same recipe, run on {} tokens on this machine: the "
                        "residual stream behind each layer, errors of earlier layers included. "
                        "They may differ in the order of f32 sums only. {}Logits: {} of their "
                        "standard deviation, KL {} nats.",
                        forms.tokens,
                        worst && worst->relative() > 0
                            ? fmt::format("Worst: {}, {}. ", worst->name,
                                          shortNumber(worst->relative(), 2))
                            : "",
                        shortNumber(forms.logits.relative(), 2),
                        shortNumber(std::max(0.0, forms.kl), 2)));
  if (worst && worst->relative() == 0)
    page.leaf("p", {}, "The two forms agree bit for bit behind every layer.");
  drawChart(page, chart);
  page.close();
}

} // namespace qplan
