//===- ChartsTest.cpp - ticks, shades, pictures ---------------------------===//

#include "tools/qplan/report/Charts.h"
#include "tools/qplan/report/Palette.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

using namespace qplan;

TEST(Charts, TicksAreRoundAndInside) {
  EXPECT_EQ(linearTicks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(linearTicks(3.9, 5.2, 3), (std::vector<double>{4, 4.5, 5}));
  EXPECT_EQ(logTicks(0.9, 30), (std::vector<double>{1, 2, 5, 10, 20}));
  EXPECT_EQ(logTicks(1e-7, 1e-1).size(), 7u);
  EXPECT_TRUE(linearTicks(1, 1, 5).empty());
  EXPECT_TRUE(logTicks(0, 1).empty());
  EXPECT_TRUE(linearTicks(0, std::numeric_limits<double>::infinity(), 5).empty());
}

TEST(Charts, NumbersAreShort) {
  EXPECT_EQ(shortNumber(0.0021), "0.0021");
  EXPECT_EQ(shortNumber(1234.5, 4), "1234");
  EXPECT_EQ(shortNumber(-0.0), "0");
}

TEST(Palette, LightnessRises) {
  EXPECT_EQ(shadeAt(0).fill, "#440154");
  EXPECT_EQ(shadeAt(1).fill, "#fde725");
  EXPECT_EQ(shadeAt(0).ink, "#ffffff");
  EXPECT_EQ(shadeAt(1).ink, "#000000");
  EXPECT_EQ(shadeAt(7).fill, shadeAt(1).fill);
  EXPECT_EQ(shadeAt(std::nan("")).fill, shadeAt(0).fill);
  EXPECT_EQ(positionOf(3, 2, 4), 0.5);
  EXPECT_EQ(positionOf(3, 3, 3), 0.5);
}

TEST(Charts, LeavesOutWhatAnAxisCannotShow) {
  Chart chart;
  chart.logY = true;
  chart.series = {{"s", SeriesMark::Dot, 0, {{1, 0, "zero", ""}, {2, 0.5, "half", "tip <2>"}}}};
  Markup page;
  drawChart(page, chart);
  std::string text = page.take();
  EXPECT_EQ(text.find("zero"), std::string::npos);
  EXPECT_NE(text.find("half"), std::string::npos);
  EXPECT_NE(text.find("tip &lt;2&gt;"), std::string::npos);
  EXPECT_EQ(text.find("nan"), std::string::npos);
  chart.series[0].points.pop_back();
  Markup empty;
  drawChart(empty, chart);
  EXPECT_EQ(empty.take(), "");
}

TEST(Charts, HeatMapHasACellForEachValue) {
  HeatMap map;
  map.title = "t";
  map.rows = {"attn.q", "mlp.down"};
  map.columns = {"0", "1", "2"};
  map.cells.resize(6);
  map.at(0, 0) = {0.0, "A", "first"};
  map.at(1, 2) = {1.0, "B", "last"};
  Markup page;
  drawHeatMap(page, map);
  std::string text = page.take();
  EXPECT_NE(text.find("#440154"), std::string::npos);
  EXPECT_NE(text.find("#fde725"), std::string::npos);
  size_t cells = 0;
  for (size_t at = text.find("class=\"cell\""); at != std::string::npos;
       at = text.find("class=\"cell\"", at + 1))
    ++cells;
  EXPECT_EQ(cells, 2u);
}
