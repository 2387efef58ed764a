//===- Chart.cpp - graphs over two axes -----------------------------------===//

#include "tools/qplan/report/Charts.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>

namespace qplan {
namespace {

constexpr double width = 1040, height = 380;
constexpr double left = 78, right = 22, top = 18, bottom = 48;

std::string px(double value) { return fmt::format("{:.1f}", value); }

/// The values of one axis and where they are drawn.
struct Axis {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  double from = 0, to = 0; ///< pixels of low and high
  bool logarithmic = false;

  bool shows(double value) const {
    return std::isfinite(value) && (!logarithmic || value > 0);
  }
  void include(double value) {
    if (!shows(value))
      return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
  /// Leaves a margin, also around a single value.
  void widen() {
    if (logarithmic) {
      double factor = std::max(1.15, std::pow(high / low, 0.06));
      low /= factor;
      high *= factor;
      return;
    }
    double margin = high > low ? (high - low) * 0.05 : std::max(std::abs(high) * 0.1, 0.5);
    low -= margin;
    high += margin;
  }
  double at(double value) const {
    double share = logarithmic ? std::log(value / low) / std::log(high / low)
                               : (value - low) / (high - low);
    return from + share * (to - from);
  }
};

/// Finds room for names: beside their marks, else further up or down with a line to them.
class LabelPlacer {
public:
  struct Spot {
    double x = 0, y = 0; ///< base line of the text, at its anchor
    bool turned = false; ///< the text ends at x instead of beginning there
    bool far = false;    ///< a line should lead to the mark
  };

  /// Keeps names off a mark at (x, y).
  void occupy(double x, double y) { boxes.push_back({x - 6, y - 6, x + 6, y + 6}); }

  Spot place(double x, double y, size_t characters) {
    double length = 7.2 * double(characters);
    Spot spot;
    for (int ring = 0; ring < 14; ++ring)
      for (double direction : {-1.0, 1.0})
        for (bool turned : {false, true}) {
          spot = {x + (turned ? -11 : 11), y + 4 + direction * (4 + 14.0 * ring), turned, ring > 0};
          double begin = turned ? spot.x - length : spot.x;
          Box box{begin, spot.y - 11, begin + length, spot.y + 3};
          bool inside = box.left > left && box.right < width - right + 8 && box.top > 2 &&
                        box.bottom < height - bottom;
          if (inside && isFree(box)) {
            boxes.push_back(box);
            return spot;
          }
        }
    return spot; // no room anywhere: better overlapping than missing
  }

private:
  struct Box {
    double left, top, right, bottom;
  };
  bool isFree(const Box &box) const {
    return std::none_of(boxes.begin(), boxes.end(), [&](const Box &other) {
      return box.left < other.right && other.left < box.right && box.top < other.bottom &&
             other.top < box.bottom;
    });
  }
  std::vector<Box> boxes;
};

/// One graph while it is drawn.
class Plot {
public:
  Plot(Markup &page, const Chart &chart) : page(page), chart(chart) {
    x.from = left;
    x.to = width - right;
    y.from = height - bottom;
    y.to = top;
    y.logarithmic = chart.logY;
    for (const ChartSeries &series : chart.series)
      for (const ChartPoint &point : series.points)
        if (x.shows(point.x) && y.shows(point.y)) {
          x.include(point.x);
          y.include(point.y);
        }
    if (chart.limit && !empty())
      y.include(*chart.limit);
  }

  bool empty() const { return x.empty() || y.empty(); }

  void draw() {
    x.widen();
    y.widen();
    drawAxes();
    if (chart.limit)
      drawLimit();
    for (const ChartSeries &series : chart.series)
      for (const ChartPoint &point : series.points)
        if (!point.label.empty() && x.shows(point.x) && y.shows(point.y))
          labels.occupy(x.at(point.x), y.at(point.y));
    for (const ChartSeries &series : chart.series)
      drawSeries(series);
  }

private:
  void drawAxes();
  void drawLimit();
  void drawSeries(const ChartSeries &series);
  void drawPath(const ChartSeries &series);
  void drawMark(const ChartSeries &series, double px, double py);
  void drawName(const std::string &name, double atX, double atY);

  Markup &page;
  const Chart &chart;
  Axis x, y;
  LabelPlacer labels;
};

void Plot::drawAxes() {
  for (double tick : linearTicks(x.low, x.high, 10)) {
    if (chart.wholeX && tick != std::floor(tick))
      continue;
    page.leaf("path", {{"class", "grid"},
                       {"d", fmt::format("M{:.1f} {:.1f}V{:.1f}", x.at(tick), y.from, y.to)}});
    page.leaf("text", {{"x", px(x.at(tick))}, {"y", px(y.from + 17)}, {"text-anchor", "middle"}},
              shortNumber(tick));
  }
  for (double tick : chart.logY ? logTicks(y.low, y.high) : linearTicks(y.low, y.high, 6)) {
    page.leaf("path", {{"class", "grid"},
                       {"d", fmt::format("M{:.1f} {:.1f}H{:.1f}", x.from, y.at(tick), x.to)}});
    page.leaf("text", {{"x", px(x.from - 8)}, {"y", px(y.at(tick) + 4)}, {"text-anchor", "end"}},
              shortNumber(tick));
  }
  page.leaf("path", {{"class", "frame"},
                     {"d", fmt::format("M{:.1f} {:.1f}V{:.1f}H{:.1f}", x.from, y.to, y.from,
                                       x.to)}});
  page.leaf("text", {{"x", px((x.from + x.to) / 2)},
                     {"y", px(height - 10)},
                     {"text-anchor", "middle"},
                     {"class", "axis"}},
            chart.xTitle);
  page.leaf("text", {{"transform", fmt::format("translate(14 {:.1f}) rotate(-90)",
                                               (y.from + y.to) / 2)},
                     {"text-anchor", "middle"},
                     {"class", "axis"}},
            chart.yTitle);
}

void Plot::drawLimit() {
  double at = y.at(*chart.limit);
  page.leaf("path", {{"class", "limit"},
                     {"d", fmt::format("M{:.1f} {:.1f}H{:.1f}", x.from, at, x.to)}});
  page.leaf("text", {{"x", px(x.to)}, {"y", px(at - 6)}, {"text-anchor", "end"}},
            chart.limitText);
}

void Plot::drawPath(const ChartSeries &series) {
  std::string path;
  for (const ChartPoint &point : series.points) {
    if (!x.shows(point.x) || !y.shows(point.y))
      continue;
    double px = x.at(point.x), py = y.at(point.y);
    if (path.empty())
      path = fmt::format("M{:.1f} {:.1f}", px, py);
    else if (series.mark == SeriesMark::Steps) // a better point holds until the next one
      path += fmt::format("H{:.1f}V{:.1f}", px, py);
    else
      path += fmt::format("L{:.1f} {:.1f}", px, py);
  }
  page.leaf("path", {{"class", fmt::format("line s{}", series.color)}, {"d", path}});
}

void Plot::drawMark(const ChartSeries &series, double px, double py) {
  std::string color = fmt::format("mark s{}", series.color);
  if (series.mark == SeriesMark::Diamond) {
    page.leaf("path", {{"class", color},
                       {"d", fmt::format("M{:.1f} {:.1f}l6 6l-6 6l-6 -6z", px, py - 6)}});
  } else if (series.mark == SeriesMark::Star) {
    std::string star;
    for (int i = 0; i < 10; ++i) {
      double radius = i % 2 ? 5 : 12, angle = i * 0.628318530717959;
      star += fmt::format("{}{:.1f} {:.1f}", i ? 'L' : 'M', px + radius * std::sin(angle),
                          py - radius * std::cos(angle));
    }
    page.leaf("path", {{"class", color}, {"d", star + "z"}});
  } else {
    const char *radius = series.mark == SeriesMark::Dot ? "5" : "3";
    page.leaf("circle", {{"class", color},
                         {"cx", fmt::format("{:.1f}", px)},
                         {"cy", fmt::format("{:.1f}", py)},
                         {"r", radius}});
  }
}

void Plot::drawName(const std::string &name, double atX, double atY) {
  LabelPlacer::Spot spot = labels.place(atX, atY, name.size());
  if (spot.far)
    page.leaf("path", {{"class", "grid"},
                       {"d", fmt::format("M{:.1f} {:.1f}L{:.1f} {:.1f}", atX, atY,
                                         spot.x + (spot.turned ? 3 : -3), spot.y - 4)}});
  page.leaf("text", {{"x", px(spot.x)},
                     {"y", px(spot.y)},
                     {"text-anchor", spot.turned ? "end" : "start"},
                     {"class", "name"}},
            name);
}

void Plot::drawSeries(const ChartSeries &series) {
  if (series.mark == SeriesMark::Line || series.mark == SeriesMark::Steps)
    drawPath(series);
  for (const ChartPoint &point : series.points) {
    if (!x.shows(point.x) || !y.shows(point.y))
      continue;
    double atX = x.at(point.x), atY = y.at(point.y);
    page.open("g");
    if (!point.tip.empty())
      page.leaf("title", {}, point.tip);
    if (!point.label.empty())
      drawName(point.label, atX, atY);
    drawMark(series, atX, atY);
    page.close();
  }
}

/// Marks with their names.
void drawKey(Markup &page, const Chart &chart) {
  constexpr const char *marks[] = {"M1 7H23", "M1 10H12V4H23", "M12 2a5 5 0 1 0 .1 0z",
                                   "M12 1l6 6l-6 6l-6 -6z",
                                   "M12 0l2 5l5 0l-4 3l2 6l-5 -4l-5 4l2 -6l-4 -3l5 0z"};
  page.open("div", {{"class", "legend"}});
  for (const ChartSeries &series : chart.series) {
    if (series.name.empty() || series.points.empty())
      continue;
    bool line = series.mark == SeriesMark::Line || series.mark == SeriesMark::Steps;
    page.open("span");
    page.open("svg", {{"viewBox", "0 0 24 14"},
                      {"width", "24"},
                      {"height", "14"},
                      {"role", "presentation"}});
    page.leaf("path", {{"class", fmt::format("{} s{}", line ? "line" : "mark", series.color)},
                       {"d", marks[int(series.mark)]}});
    page.close().text(series.name).close();
  }
  page.close();
}

} // namespace

std::vector<double> linearTicks(double low, double high, int count) {
  std::vector<double> ticks;
  if (!(high > low) || !std::isfinite(high - low))
    return ticks;
  double raw = (high - low) / count, power = std::pow(10.0, std::floor(std::log10(raw)));
  double step = power * (raw / power <= 1 ? 1 : raw / power <= 2 ? 2 : raw / power <= 5 ? 5 : 10);
  for (double i = std::ceil(low / step); i * step <= high; ++i)
    ticks.push_back(i * step);
  return ticks;
}

std::vector<double> logTicks(double low, double high) {
  std::vector<double> ticks;
  if (!(low > 0) || !(high > low) || !std::isfinite(high))
    return ticks;
  bool many = std::log10(high / low) > 3;
  for (int e = int(std::floor(std::log10(low))); e <= int(std::ceil(std::log10(high))); ++e)
    for (double factor : {1.0, 2.0, 5.0}) {
      double tick = factor * std::pow(10.0, e);
      if (tick >= low && tick <= high && (factor == 1 || !many))
        ticks.push_back(tick);
    }
  return ticks;
}

std::string shortNumber(double value, int digits) {
  return fmt::format("{:.{}g}", value == 0 ? 0.0 : value, digits);
}

void drawChart(Markup &page, const Chart &chart) {
  Plot plot(page, chart);
  if (plot.empty())
    return;
  drawKey(page, chart);
  page.open("div", {{"class", "figure"}});
  page.open("svg", {{"viewBox", fmt::format("0 0 {:.0f} {:.0f}", width, height)},
                    {"role", "img"},
                    {"class", "chart"}});
  page.leaf("title", {}, chart.title);
  plot.draw();
  page.close().close();
}

} // namespace qplan
