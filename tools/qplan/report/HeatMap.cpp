//===- HeatMap.cpp - tables of shades -------------------------------------===//

#include "tools/qplan/report/Charts.h"
#include "tools/qplan/report/Palette.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace qplan {
namespace {

constexpr double pageWidth = 1040, characterWidth = 6.9, headHeight = 36;

std::string px(double value) { return fmt::format("{:.1f}", value); }

/// Where the cells of a map lie.
struct HeatLayout {
  double left = 0, width = 0, height = 0;
  size_t labelEvery = 1;

  explicit HeatLayout(const HeatMap &map) {
    size_t longest = 4;
    for (const std::string &row : map.rows)
      longest = std::max(longest, row.size());
    left = 12 + characterWidth * double(std::min<size_t>(longest, 44));
    width = std::min(58.0, (pageWidth - left - 2) / double(map.columns.size()));
    height = std::clamp(width * 0.62, 18.0, 28.0);
    size_t label = 1;
    for (const std::string &column : map.columns)
      label = std::max(label, column.size());
    labelEvery = size_t(std::max(1.0, std::ceil(characterWidth * double(label + 1) / width)));
  }
};

void drawCell(Markup &page, const HeatLayout &layout, const HeatCell &cell, size_t row,
              size_t column) {
  double x = layout.left + double(column) * layout.width;
  double y = headHeight + double(row) * layout.height;
  page.open("g");
  if (!cell.tip.empty())
    page.leaf("title", {}, cell.tip);
  Shade shade = shadeAt(*cell.shade);
  page.leaf("rect", {{"x", px(x)},
                     {"y", px(y)},
                     {"width", px(layout.width)},
                     {"height", px(layout.height)},
                     {"fill", shade.fill},
                     {"class", "cell"}});
  double size = std::min(11.5, layout.width * 0.92 / (0.58 * double(cell.label.size() + 1)));
  if (!cell.label.empty() && size >= 7)
    page.leaf("text", {{"x", px(x + layout.width / 2)},
                       {"y", px(y + layout.height / 2 + size * 0.36)},
                       {"style", fmt::format("font-size:{:.1f}px;fill:{}", size, shade.ink)},
                       {"text-anchor", "middle"}},
              cell.label);
  page.close();
}

} // namespace

void drawHeatMap(Markup &page, const HeatMap &map) {
  if (map.rows.empty() || map.columns.empty())
    return;
  HeatLayout layout(map);
  double bottom = headHeight + double(map.rows.size()) * layout.height + 2;
  page.open("div", {{"class", "figure"}});
  page.open("svg", {{"viewBox", fmt::format("0 0 {:.0f} {:.0f}", pageWidth, bottom)},
                    {"role", "img"},
                    {"class", "heat"}});
  page.leaf("title", {}, map.title);
  page.leaf("text", {{"x", px(layout.left)}, {"y", "12"}, {"class", "axis"}}, map.columnTitle);
  for (size_t c = 0; c < map.columns.size(); c += layout.labelEvery)
    page.leaf("text", {{"x", px(layout.left + (double(c) + 0.5) * layout.width)},
                       {"y", px(headHeight - 6)},
                       {"text-anchor", "middle"}},
              map.columns[c]);
  for (size_t r = 0; r < map.rows.size(); ++r) {
    double y = headHeight + (double(r) + 0.5) * layout.height + 4;
    page.leaf("text", {{"x", px(layout.left - 8)}, {"y", px(y)}, {"text-anchor", "end"}},
              map.rows[r].size() > 44 ? map.rows[r].substr(0, 42) + "..." : map.rows[r]);
    for (size_t c = 0; c < map.columns.size(); ++c)
      if (const HeatCell &cell = map.cells[r * map.columns.size() + c]; cell.shade)
        drawCell(page, layout, cell, r, c);
  }
  page.close().close();
}

void drawShadeLegend(Markup &page, const std::string &low, const std::string &high) {
  constexpr int steps = 32;
  page.open("div", {{"class", "legend"}});
  page.leaf("span", {}, low);
  page.open("svg", {{"viewBox", "0 0 192 12"},
                    {"width", "192"},
                    {"height", "12"},
                    {"role", "presentation"}});
  for (int i = 0; i < steps; ++i)
    page.leaf("rect", {{"x", px(i * 6)},
                       {"y", "0"},
                       {"width", "6.3"},
                       {"height", "12"},
                       {"fill", shadeAt(double(i) / (steps - 1)).fill}});
  page.close();
  page.leaf("span", {}, high);
  page.close();
}

} // namespace qplan
