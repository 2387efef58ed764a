//===- Palette.h - the colours of reports ------------------------*- C++ -*-===//
//
// Amounts are shades of viridis, whose lightness rises evenly: they keep their order for
// colour-blind readers and on grey printers. Series are colours of Okabe and Ito, as
// classes s0..s4 of the style sheet, and differ in their marks as well.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_REPORT_PALETTE_H
#define QPLAN_TOOLS_QPLAN_REPORT_PALETTE_H

#include <string>

namespace qplan {

/// A fill and the colour of text that is readable on it, "#rrggbb".
struct Shade {
  std::string fill, ink;
};

/// The shade at `position` of 0 (dark violet: little) to 1 (yellow: much); clamped.
Shade shadeAt(double position);

/// Where `value` lies between `low` and `high`, 0 to 1; 0.5 where they are equal.
double positionOf(double value, double low, double high);

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_REPORT_PALETTE_H
