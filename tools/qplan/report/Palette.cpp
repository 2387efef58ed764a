//===- Palette.cpp - the colours of reports -------------------------------===//

#include "tools/qplan/report/Palette.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>

namespace qplan {
namespace {

/// Viridis at equal steps, r g b of 255.
constexpr std::array<std::array<int, 3>, 11> viridis = {{{68, 1, 84},
                                                         {72, 36, 117},
                                                         {65, 68, 135},
                                                         {53, 95, 141},
                                                         {42, 120, 142},
                                                         {33, 145, 140},
                                                         {34, 168, 132},
                                                         {68, 191, 112},
                                                         {122, 209, 81},
                                                         {189, 223, 38},
                                                         {253, 231, 37}}};

/// WCAG's relative luminance, 0 to 1.
double luminance(const std::array<double, 3> &color) {
  constexpr double share[3] = {0.2126, 0.7152, 0.0722};
  double sum = 0;
  for (int i = 0; i < 3; ++i) {
    double v = color[i] / 255;
    sum += share[i] * (v <= 0.03928 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4));
  }
  return sum;
}

} // namespace

Shade shadeAt(double position) {
  double at = std::isfinite(position) ? std::clamp(position, 0.0, 1.0) * (viridis.size() - 1) : 0;
  size_t below = std::min(size_t(at), viridis.size() - 2);
  double share = at - double(below);
  std::array<double, 3> color;
  for (int i = 0; i < 3; ++i)
    color[i] = std::round(viridis[below][i] * (1 - share) + viridis[below + 1][i] * share);
  // 0.179: where black and white text contrast equally.
  return {fmt::format("#{:02x}{:02x}{:02x}", int(color[0]), int(color[1]), int(color[2])),
          luminance(color) > 0.179 ? "#000000" : "#ffffff"};
}

double positionOf(double value, double low, double high) {
  return high > low ? (value - low) / (high - low) : 0.5;
}

} // namespace qplan
