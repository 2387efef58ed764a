//===- Maps.cpp - sites and layers as heat maps ---------------------------===//

#include "tools/qplan/report/Charts.h"
#include "tools/qplan/report/Palette.h"
#include "tools/qplan/report/Sections.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <llvm/ADT/StringRef.h>

namespace qplan {
namespace {

/// Rows by kind of site, columns by layer, filled as places are named.
class LayerGrid {
public:
  /// The cell of `name` ("layers.3.mlp.down"): row and column; nothing outside layers.
  std::optional<std::pair<size_t, int64_t>> place(llvm::StringRef name) {
    int64_t layer = 0;
    if (!name.consume_front("layers.") || name.consumeInteger(10, layer) ||
        !name.consume_front("."))
      return std::nullopt;
    layers = std::max(layers, layer + 1);
    auto found = std::find(rows.begin(), rows.end(), name.str());
    if (found == rows.end())
      found = rows.insert(found, name.str());
    return std::pair{size_t(found - rows.begin()), layer};
  }

  HeatMap map(std::string title) const {
    HeatMap map;
    map.title = std::move(title);
    map.columnTitle = "layer";
    map.rows = rows;
    for (int64_t layer = 0; layer < layers; ++layer)
      map.columns.push_back(std::to_string(layer));
    map.cells.resize(map.rows.size() * map.columns.size());
    return map;
  }

private:
  std::vector<std::string> rows;
  int64_t layers = 0;
};

/// Values of very different sizes in two digits: a power of ten for all of them.
struct CommonUnit {
  double unit = 1, low = std::numeric_limits<double>::infinity(), high = 0;

  void include(double value) {
    if (value > 0) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  void finish() { unit = high > 0 ? std::pow(10.0, std::floor(std::log10(high)) - 1) : 1; }
  std::string label(double value) const {
    double v = value / unit;
    return v >= 9.95 ? fmt::format("{:.0f}", v) : v >= 0.05 ? fmt::format("{:.1f}", v) : "0";
  }
  /// On a logarithmic scale: damage differs by orders of magnitude.
  double shade(double value) const {
    return value > 0 ? positionOf(std::log(value), std::log(low), std::log(high)) : 0;
  }
};

/// The smallest candidate that all groups can take; of none, candidate 0.
size_t smallestCandidate(const SearchFront &front) {
  size_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (size_t c = 0; c < front.candidates.size(); ++c) {
    double bits = 0;
    for (const FrontGroup &group : front.groups)
      bits += group.cells[c].allowed ? group.cells[c].bits
                                     : std::numeric_limits<double>::infinity();
    if (bits < least) {
      least = bits;
      best = c;
    }
  }
  return best;
}

void siteSensitivity(Markup &page, const SearchFront &front) {
  size_t probe = smallestCandidate(front);
  LayerGrid grid;
  CommonUnit unit;
  for (const FrontGroup &group : front.groups) {
    grid.place(group.name);
    unit.include(group.cells[probe].kl);
  }
  unit.finish();
  HeatMap map = grid.map("predicted divergence by kind of site and layer");
  for (const FrontGroup &group : front.groups)
    if (auto place = grid.place(group.name)) {
      double kl = group.cells[probe].kl;
      map.at(place->first, size_t(place->second)) = {
          unit.shade(kl), unit.label(kl),
          fmt::format("{}: {} nats with {}", group.name, shortNumber(kl),
                      front.candidates[probe])};
    }
  page.leaf("h3", {}, "By site, everything else unquantized, with " + front.candidates[probe]);
  drawHeatMap(page, map);
  drawShadeLegend(page, "harmless", fmt::format("harmful; numbers in {} nats",
                                                shortNumber(unit.unit)));
}

void candidateSensitivity(Markup &page, const SearchFront &front) {
  LayerGrid grid;
  std::vector<std::vector<double>> sums(front.candidates.size());
  for (const FrontGroup &group : front.groups) {
    auto place = grid.place(group.name);
    if (!place)
      continue;
    for (size_t c = 0; c < sums.size(); ++c) {
      sums[c].resize(std::max(sums[c].size(), size_t(place->second) + 1));
      sums[c][size_t(place->second)] +=
          group.cells[c].allowed ? group.cells[c].kl : std::numeric_limits<double>::quiet_NaN();
    }
  }
  CommonUnit unit;
  for (const auto &row : sums)
    for (double sum : row)
      unit.include(sum);
  unit.finish();
  HeatMap map = grid.map("predicted divergence by treatment and layer");
  map.rows = front.candidates;
  map.cells.assign(map.rows.size() * map.columns.size(), {});
  for (size_t c = 0; c < sums.size(); ++c)
    for (size_t layer = 0; layer < sums[c].size(); ++layer)
      if (double sum = sums[c][layer]; !std::isnan(sum))
        map.at(c, layer) = {unit.shade(sum), unit.label(sum),
                            fmt::format("layer {} in {}: {} nats", layer, front.candidates[c],
                                        shortNumber(sum))};
  page.leaf("h3", {}, "By treatment: a whole layer in it, everything else unquantized");
  drawHeatMap(page, map);
  drawShadeLegend(page, "harmless", fmt::format("harmful; numbers in {} nats",
                                                shortNumber(unit.unit)));
}

} // namespace

void writeChosenMap(Markup &page, const ReportFacts &facts) {
  LayerGrid grid;
  bool layers = false;
  for (const ReportSite &site : facts.data.sites)
    layers |= grid.place(site.name).has_value();
  if (!layers)
    return;
  std::vector<std::pair<double, std::string>> order;
  for (const auto &[treatment, bits] : facts.siteBits)
    order.push_back({bits, treatment});
  std::sort(order.begin(), order.end());
  // By rank: one treatment of 16 bits would make all those of 4 look alike.
  std::map<std::string, double> position;
  for (size_t i = 0; i < order.size(); ++i)
    position[order[i].second] = positionOf(double(i), 0, double(order.size()) - 1);
  page.open("section");
  page.leaf("h2", {}, "Where the bits went");
  page.leaf("p", {{"class", "soft"}},
            "The treatment of every site of the layers. Letters and shades rise with the bits that "
            "are stored for each weight.");
  HeatMap map = grid.map("treatment of each site, by kind and layer");
  for (const ReportSite &site : facts.data.sites)
    if (auto place = grid.place(site.name))
      map.at(place->first, size_t(place->second)) = {
          position.at(site.treatment), facts.keys.at(site.treatment),
          fmt::format("{}: {}, {:.3f} bits, {}", site.name, site.treatment, site.bits,
                      bytesText(site.bytes))};
  drawHeatMap(page, map);
  page.open("div", {{"class", "legend"}});
  for (const auto &[bits, treatment] : order) {
    Shade shade = shadeAt(position.at(treatment));
    auto count = std::count_if(facts.data.sites.begin(), facts.data.sites.end(),
                               [&, &name = treatment](const ReportSite &site) {
                                 return site.layer && site.treatment == name;
                               });
    page.open("span");
    page.leaf("span", {{"class", "key"},
                       {"style", fmt::format("background:{};color:{}", shade.fill, shade.ink)}},
              facts.keys.at(treatment));
    page.leaf("span", {}, fmt::format("{}, {:.2f} bits, {} sites", treatment, bits, count));
    page.close();
  }
  page.close().close();
}

void writeSensitivity(Markup &page, const ReportFacts &facts) {
  page.open("section");
  page.leaf("h2", {}, "What hurts");
  if (!facts.data.front) {
    writeAsk(page, "This plan carries no search. To see how sensitive each site is, let the "
                   "compiler search, or give the front of a search:",
             "qplan compile MODEL -o m.qplan --auto all --effective-bits 4.5 --calib text.txt");
    page.close();
    return;
  }
  page.leaf("p", {{"class", "soft"}},
            "How far the logits move (KL divergence) when one place alone is rounded, as the "
            "search measured and predicted it. Shades are logarithmic.");
  siteSensitivity(page, *facts.data.front);
  page.close().open("section");
  candidateSensitivity(page, *facts.data.front);
  page.close();
}

} // namespace qplan
