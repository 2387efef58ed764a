//===- MixedWidths.h - which columns get how many bits ----------*- C++ -*-===//
//
// A tensor of a `mix` format has groups of 32 columns whose codes have 2 to 8 bits,
// the same for all of its rows. The widths lie beside the tensor and add up to what
// the format allows, so that all rows of the format are equally large. They are those
// with the least sum of errors: an exact search, not one group after the other.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_CODECS_MIXEDWIDTHS_H
#define QPLAN_IR_CODECS_MIXEDWIDTHS_H

#include "ir/codecs/Codec.h"

#include <array>

namespace qplan {

/// Columns of a group.
inline constexpr int64_t mixedColumns = 32;
/// The widths that a group may have.
inline constexpr std::array<uint8_t, 6> mixedWidths = {2, 3, 4, 5, 6, 8};

/// The widths of a row's groups added up, for a row of `columns` (a multiple of 32) in a format of
/// `centiBits`: what is left of its bytes by the groups' scales, a byte each.
constexpr int64_t mixedWidthSum(int64_t columns, int64_t centiBits) {
  return (columns * centiBits / 800 - columns / mixedColumns) / 4;
}

/// The f32 numbers beside a tensor of `columns` columns (SideData::Widths): its scale, then eight
/// widths a number, as digits of base 8 that index mixedWidths, the first the lowest.
constexpr int64_t mixedSideCount(int64_t columns) {
  return 1 + (columns / mixedColumns + 7) / 8;
}

/// Widths [groups] with the sum `sum` (2 to 6 times the groups) and the least sum of
/// errors[group * 6 + index of the width], of equals the first that the search meets. Exact for
/// each 512 groups, which share the sum evenly.
std::vector<uint8_t> chooseMixedWidths(llvm::ArrayRef<double> errors, int64_t sum);

/// The numbers beside a tensor.
std::vector<float> storeMixedWidths(float scale, llvm::ArrayRef<uint8_t> widths);

/// Reads widths[groups]. Numbers that are missing, or that no widths of the right sum give, count
/// as equal widths, the first groups one bit wider than the last: a damaged file reads no byte
/// beyond a row.
void readMixedWidths(const TensorSide &tensor, int64_t groups, int64_t sum, uint8_t *widths);

} // namespace qplan
#endif // QPLAN_IR_CODECS_MIXEDWIDTHS_H
