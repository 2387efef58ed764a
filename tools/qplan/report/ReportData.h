//===- ReportData.h - what a report is made from -----------------*- C++ -*-===//
//
// Everything that the page shows, gathered before a line of it is written: the plan's
// manifest, the search that chose its treatments, and what the command measured. What is
// absent was not known; its section says what to run.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_REPORT_REPORTDATA_H
#define QPLAN_TOOLS_QPLAN_REPORT_REPORTDATA_H

#include "codegen/driver/FormComparison.h"
#include "passes/search/Front.h"

#include <llvm/Support/Error.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace qplan {

/// One site of the plan.
struct ReportSite {
  std::string name;      ///< "layers.3.mlp.down"
  std::string treatment; ///< "int4_g64@mse"
  std::string shape;     ///< "576 x 1536"
  std::optional<int64_t> layer;
  std::string kind;      ///< "mlp.down": the name behind the layer; else the name
  double elements = 0, bits = 0, bytes = 0; ///< bits: for each weight
};

/// A report's facts. JSON objects are those that `qplan eval --json` and `qplan bench --json`
/// print.
struct ReportData {
  std::string name;                  ///< of the plan's folder, without its path
  nlohmann::ordered_json manifest;
  std::vector<ReportSite> sites;     ///< in the plan's order
  double weightBytes = 0;            ///< of weights.bin
  std::optional<SearchFront> front;
  std::optional<FrontPoint> chosen;  ///< this plan among the front's choices
  std::optional<nlohmann::ordered_json> eval, referenceEval, bench;
  std::string textName, referenceName; ///< file names, where eval was run
  std::optional<FormComparison> forms;
};

/// The sites of a manifest. Input error naming `path` when the list is not what it should be.
llvm::Expected<std::vector<ReportSite>> reportSites(const nlohmann::ordered_json &manifest,
                                                    const std::string &path);

/// The point of `front` at which all groups have the treatments of `sites` and the cache has the
/// format `kvCache`; where treatments are others (a recipe was edited), what the search itself
/// chose, if that is known.
std::optional<FrontPoint> chosenPoint(const SearchFront &front,
                                      const std::vector<ReportSite> &sites,
                                      llvm::StringRef kvCache);

/// The best trade-offs: those that the front keeps, else the convex hull of its cells.
llvm::Expected<std::vector<FrontPoint>> tradeOffs(const SearchFront &front);

/// The page: one HTML document that needs nothing else.
llvm::Expected<std::string> writeReportPage(const ReportData &data);

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_REPORT_REPORTDATA_H
