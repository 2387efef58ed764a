//===- Charts.h - heat maps and graphs as inline SVG -------------*- C++ -*-===//
//
// Pictures that need neither script nor network: SVG with text in the page's fonts, a
// title for screen readers, and a tip on every mark. Nothing is told by colour alone: cells
// have labels where they fit, series have marks and names.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_REPORT_CHARTS_H
#define QPLAN_TOOLS_QPLAN_REPORT_CHARTS_H

#include "tools/qplan/report/Markup.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace qplan {

/// One field of a heat map.
struct HeatCell {
  std::optional<double> shade; ///< 0 to 1 (Palette.h); absent: nothing is here
  std::string label;           ///< shown where it fits
  std::string tip;             ///< shown when pointed at
};

/// A table of shades.
struct HeatMap {
  std::string title; ///< for who cannot see it
  std::string columnTitle;
  std::vector<std::string> rows, columns;
  std::vector<HeatCell> cells; ///< [rows][columns]

  HeatCell &at(size_t row, size_t column) { return cells[row * columns.size() + column]; }
};

/// How a series is drawn.
enum class SeriesMark { Line, Steps, Dot, Diamond, Star };

struct ChartPoint {
  double x = 0, y = 0;
  std::string label; ///< beside the mark; may be empty
  std::string tip;
};

/// Points of one kind.
struct ChartSeries {
  std::string name;
  SeriesMark mark = SeriesMark::Dot;
  int color = 0; ///< class s0 to s4 of the style sheet
  std::vector<ChartPoint> points;
};

/// A graph over two axes. Values that an axis cannot show (not finite; <= 0 on a logarithmic
/// one) are left out.
struct Chart {
  std::string title; ///< for who cannot see it
  std::string xTitle, yTitle;
  bool logY = false;
  bool wholeX = false;         ///< ticks at whole numbers only
  std::optional<double> limit; ///< a dashed line across
  std::string limitText;
  std::vector<ChartSeries> series;
};

/// Appends the picture. A map or graph without anything to show appends nothing.
void drawHeatMap(Markup &page, const HeatMap &map);
void drawChart(Markup &page, const Chart &chart);

/// The shades from 0 to 1 with words at both ends.
void drawShadeLegend(Markup &page, const std::string &low, const std::string &high);

/// Round numbers that divide [low, high] into about `count` parts; ascending, inside.
std::vector<double> linearTicks(double low, double high, int count);
/// 1, 2 and 5 times powers of ten inside [low, high]; powers alone when that is many.
std::vector<double> logTicks(double low, double high);
/// "0.0021", "12", "3e-05": at most `digits` significant digits.
std::string shortNumber(double value, int digits = 3);

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_REPORT_CHARTS_H
