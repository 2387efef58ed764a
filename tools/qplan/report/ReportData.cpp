//===- ReportData.cpp - what a report is made from ------------------------===//

#include "tools/qplan/report/ReportData.h"

#include "ir/Failure.h"
#include "passes/search/BudgetSolver.h"

#include <algorithm>
#include <cmath>
#include <llvm/ADT/StringMap.h>

namespace qplan {
namespace {

/// Splits "layers.3.mlp.down" into 3 and "mlp.down".
void placeSite(ReportSite &site) {
  llvm::StringRef rest = site.name;
  int64_t layer = 0;
  site.kind = site.name;
  if (rest.consume_front("layers.") && !rest.consumeInteger(10, layer) && rest.consume_front(".")) {
    site.layer = layer;
    site.kind = rest.str();
  }
}

bool readShape(const nlohmann::ordered_json &shape, ReportSite &site) {
  if (!shape.is_array() || shape.empty())
    return false;
  site.elements = 1;
  for (const auto &extent : shape) {
    if (!extent.is_number() || extent.get<double>() < 1)
      return false;
    site.elements *= extent.get<double>();
    site.shape += (site.shape.empty() ? "" : " x ") + fmt::format("{:.0f}", extent.get<double>());
  }
  return true;
}

} // namespace

llvm::Expected<std::vector<ReportSite>> reportSites(const nlohmann::ordered_json &manifest,
                                                    const std::string &path) {
  auto failed = [&](const std::string &what) {
    return inputError("{}/manifest.json: {}; compile the plan again", path, what);
  };
  if (!manifest.contains("sites") || !manifest["sites"].is_array())
    return failed("has no list `sites`");
  std::vector<ReportSite> sites;
  for (const auto &entry : manifest["sites"]) {
    ReportSite site;
    auto text = [&](const char *key, std::string &out) {
      bool fine = entry.is_object() && entry.contains(key) && entry[key].is_string();
      if (fine)
        out = entry[key].get<std::string>();
      return fine;
    };
    auto number = [&](const char *key, double &out) {
      bool fine = entry.contains(key) && entry[key].is_number();
      out = fine ? entry[key].get<double>() : 0;
      return fine && std::isfinite(out) && out >= 0;
    };
    if (!text("name", site.name) || !text("treatment", site.treatment) ||
        !number("bits", site.bits) || !number("bytes", site.bytes) || !entry.contains("shape") ||
        !readShape(entry["shape"], site))
      return failed(fmt::format("site {} is incomplete", sites.size()));
    placeSite(site);
    sites.push_back(std::move(site));
  }
  return sites;
}

std::optional<FrontPoint> chosenPoint(const SearchFront &front,
                                      const std::vector<ReportSite> &sites,
                                      llvm::StringRef kvCache) {
  llvm::StringMap<llvm::StringRef> treatments;
  for (const ReportSite &site : sites)
    treatments[site.name] = site.treatment;
  std::vector<uint32_t> choice;
  for (const FrontGroup &group : front.groups) {
    auto found = treatments.find(group.sites.front());
    if (found == treatments.end())
      return front.chosen;
    auto candidate =
        std::find(front.candidates.begin(), front.candidates.end(), found->second.str());
    if (candidate == front.candidates.end())
      return front.chosen;
    choice.push_back(uint32_t(candidate - front.candidates.begin()));
  }
  FrontPoint point = front.pointOf(std::move(choice), front.cacheNamed(kvCache));
  if (front.chosen && front.chosen->choice == point.choice && front.chosen->cache == point.cache)
    point.measuredKl = front.chosen->measuredKl;
  return point;
}

llvm::Expected<std::vector<FrontPoint>> tradeOffs(const SearchFront &front) {
  if (!front.points.empty())
    return front.points;
  std::vector<BudgetGroup> groups;
  double elements = 0;
  for (const FrontGroup &group : front.groups) {
    BudgetGroup &candidates = groups.emplace_back();
    for (const FrontCell &cell : group.cells)
      if (cell.allowed)
        candidates.push_back({{int64_t(cell.bits)}, cell.kl});
    if (candidates.empty())
      return inputError("group {} of the search allows no candidate; search again", group.name);
    elements += double(group.elements);
  }
  auto frontier = budgetFrontier(groups);
  if (!frontier)
    return frontier.takeError();
  std::vector<FrontPoint> points;
  for (const FrontierPoint &each : frontier->points) {
    FrontPoint point;
    point.bits = double(each.cost) / elements;
    point.kl = each.score;
    points.push_back(std::move(point));
  }
  return points;
}

} // namespace qplan
