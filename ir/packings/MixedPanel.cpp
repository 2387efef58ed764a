//===- MixedPanel.cpp - groups of columns of different widths -------------===//

#include "ir/packings/MixedPanel.h"

#include "ir/codecs/MixedWidths.h"
#include "ir/codecs/Numbers.h"
#include "ir/packings/CodePlanes.h"

#include <algorithm>
#include <cmath>

namespace qplan {
namespace {

constexpr int64_t panelRows = PanelLayout::panelRows;

/// Where the parts of a panel lie, in bytes from its start.
struct Places {
  int64_t groups, widths = 4 * panelRows, scales, codes;
  explicit Places(int64_t columns)
      : groups(columns / mixedColumns), scales(roundUp64(widths + groups)),
        codes(scales + roundUp64(groups * panelRows)) {}
};

constexpr int64_t groupBytes(int width) { return width * mixedColumns * panelRows / 8; }

/// The layout of a group of `width` bits by itself.
PanelLayout groupLayout(int width) {
  static constexpr PackedElement elements[] = {PackedElement::U2, PackedElement::U3,
                                               PackedElement::U4, PackedElement::U5,
                                               PackedElement::U6, PackedElement::U7,
                                               PackedElement::U8};
  PanelLayout layout;
  layout.element = elements[width - 2];
  layout.rows = panelRows;
  layout.columns = layout.group = mixedColumns;
  return layout;
}

} // namespace

int64_t mixedPanelBytes(int64_t columns, int64_t centiBits) {
  return Places(columns).codes + mixedWidthSum(columns, centiBits) * groupBytes(1);
}

void packMixed(const PanelLayout &layout, FormatId id, const uint8_t *const rows[16], uint8_t *out,
               llvm::ArrayRef<TensorSide> sides) {
  const Codec &codec = codecFor(id);
  const Places at(layout.columns);
  const int64_t sum = mixedWidthSum(layout.columns, layout.offset);
  GridRow row;
  uint8_t codes[mixedColumns];
  for (int64_t r = 0; r < panelRows; ++r) {
    if (!rows[r])
      continue; // scales of 0 make codes of 0 mean 0
    const TensorSide side = sides.empty() ? TensorSide() : sides[r];
    codec.gridRow(rows[r], layout.columns, row, side);
    std::copy(row.bits.begin(), row.bits.end(), out + at.widths);
    storeUnaligned(out + r * 4, side.scale());
    uint8_t *to = out + at.codes;
    for (int64_t g = 0; g < at.groups; to += groupBytes(row.bits[g++])) {
      const int width = row.bits[g];
      out[at.scales + g * panelRows + r] = rows[r][sum * mixedColumns / 8 + g];
      for (int64_t i = 0; i < mixedColumns; ++i)
        codes[i] = uint8_t(row.codes[g * mixedColumns + i] - 128 + (1 << (width - 1)));
      packCodes(groupLayout(width), codes, r, to);
    }
  }
}

void unpackMixed(const PanelLayout &layout, const uint8_t *panel, float *x) {
  const Places at(layout.columns);
  const uint8_t *codes = panel + at.codes;
  for (int64_t g = 0; g < at.groups; codes += groupBytes(panel[at.widths + g++])) {
    const int width = panel[at.widths + g];
    const PanelLayout group = groupLayout(width);
    for (int64_t r = 0; r < panelRows; ++r) {
      const float scale = f32FromE4m3(panel[at.scales + g * panelRows + r]) *
                          loadUnaligned<float>(panel + r * 4) * std::ldexp(1.0f, 1 - width);
      for (int64_t i = 0; i < mixedColumns; ++i) {
        const int64_t step = group.stepColumns();
        const int code = codeAt(group, codes + i / step * group.stepBytes(), r, i % step);
        x[r * layout.columns + g * mixedColumns + i] = scale * float(code - (1 << (width - 1)));
      }
    }
  }
}

} // namespace qplan
