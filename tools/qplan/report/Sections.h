//===- Sections.h - the parts of a report ------------------------*- C++ -*-===//
//
// One function a section. Each appends its heading and content; without data it says what
// to run to get them, and never leaves an empty picture.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_REPORT_SECTIONS_H
#define QPLAN_TOOLS_QPLAN_REPORT_SECTIONS_H

#include "tools/qplan/report/Markup.h"
#include "tools/qplan/report/ReportData.h"

#include <map>

namespace qplan {

/// What several sections need, worked out once.
struct ReportFacts {
  const ReportData &data;
  std::vector<FrontPoint> points;           ///< tradeOffs() of the front
  std::map<std::string, std::string> keys;  ///< treatment -> letter, by rising bits
  std::map<std::string, double> siteBits;   ///< treatment -> mean bits of its weights
};

/// Name, verdict, and the numbers that people ask for first.
void writeHeadline(Markup &page, const ReportFacts &facts);
/// Which treatment each site got.
void writeChosenMap(Markup &page, const ReportFacts &facts);
/// What each site and each candidate would damage.
void writeSensitivity(Markup &page, const ReportFacts &facts);
/// Bits and time against predicted divergence, with what was chosen.
void writeFrontGraph(Markup &page, const ReportFacts &facts);
/// What keys and values could be kept in; nothing where the search did not weigh it.
void writeCaches(Markup &page, const ReportFacts &facts);
/// Emitted code against the QDQ form behind each layer.
void writeLayerErrors(Markup &page, const ReportFacts &facts);
/// Measured accuracy and speed.
void writeMeasurements(Markup &page, const ReportFacts &facts);
/// All sites.
void writeSiteTable(Markup &page, const ReportFacts &facts);

/// "Run `command` to ...", where a section has no data.
void writeAsk(Markup &page, const std::string &why, const std::string &command);
/// A number of a JSON object; nothing when it is absent or none.
std::optional<double> factOf(const nlohmann::ordered_json &object, const char *key);
/// "1.23 GB", "45.6 MB" (powers of ten).
std::string bytesText(double bytes);

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_REPORT_SECTIONS_H
