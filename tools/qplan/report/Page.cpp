//===- Page.cpp - the whole report ----------------------------------------===//

#include "tools/qplan/report/Sections.h"
#include "tools/qplan/report/Style.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace qplan {
namespace {

/// Sections in the order in which they are read: what, how well, why, all of it.
constexpr void (*sections[])(Markup &, const ReportFacts &) = {
    writeHeadline,   writeChosenMap,    writeSensitivity, writeFrontGraph,
    writeCaches,     writeLayerErrors,  writeMeasurements, writeSiteTable};

/// Mean bits of each treatment of the plan's layers, and letters by rising bits: A is the
/// smallest. Without layers all sites count.
void nameTreatments(ReportFacts &facts) {
  std::map<std::string, std::pair<double, double>> sums; // bits and weights
  bool layers = std::any_of(facts.data.sites.begin(), facts.data.sites.end(),
                            [](const ReportSite &site) { return site.layer.has_value(); });
  for (const ReportSite &site : facts.data.sites)
    if (site.layer || !layers) {
      sums[site.treatment].first += site.bits * site.elements;
      sums[site.treatment].second += site.elements;
    }
  std::vector<std::pair<double, std::string>> order;
  for (const auto &[treatment, sum] : sums) {
    facts.siteBits[treatment] = sum.first / std::max(sum.second, 1.0);
    order.push_back({facts.siteBits[treatment], treatment});
  }
  std::sort(order.begin(), order.end());
  for (size_t i = 0; i < order.size(); ++i)
    facts.keys[order[i].second] =
        i < 26 ? std::string(1, char('A' + i)) : fmt::format("{}{}", char('A' + i % 26), i / 26);
}

} // namespace

void writeAsk(Markup &page, const std::string &why, const std::string &command) {
  page.open("p", {{"class", "ask"}}).text(why + " ").leaf("code", {}, command).close();
}

std::optional<double> factOf(const nlohmann::ordered_json &object, const char *key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_number())
    return std::nullopt;
  double value = object[key].get<double>();
  return std::isfinite(value) ? std::optional<double>(value) : std::nullopt;
}

std::string bytesText(double bytes) {
  constexpr std::pair<double, const char *> units[] = {{1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}};
  for (auto [size, name] : units)
    if (bytes >= size)
      return fmt::format("{:.{}f} {}", bytes / size, bytes / size < 10 ? 2 : 1, name);
  return fmt::format("{:.0f} bytes", bytes);
}

llvm::Expected<std::string> writeReportPage(const ReportData &data) {
  ReportFacts facts{data, {}, {}, {}};
  if (data.front) {
    auto points = tradeOffs(*data.front);
    if (!points)
      return points.takeError();
    facts.points = std::move(*points);
  }
  nameTreatments(facts);
  Markup page;
  page.constant("<!DOCTYPE html>\n");
  page.open("html", {{"lang", "en"}}).open("head");
  page.constant("<meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                // Whatever a name may hold, the page fetches and runs nothing.
                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                "style-src 'unsafe-inline'; img-src data:\">\n");
  page.leaf("title", {}, data.name + " - qplan report");
  page.constant("<style>").constant(reportStyle).constant("</style>\n").close();
  page.open("body").open("main");
  for (auto *section : sections)
    section(page, facts);
  std::string version = "an unknown version of qplan";
  if (data.manifest.contains("qplan_version") && data.manifest["qplan_version"].is_string())
    version = "qplan " + data.manifest["qplan_version"].get<std::string>();
  page.leaf("footer", {},
            "Compiled by " + version +
                ". Shades are viridis, series have marks of their own; point at a cell or a mark "
                "for its numbers. This page needs no network and no script.");
  return page.take();
}

} // namespace qplan
