//===- TrellisPanel.cpp - tcq rows side by side ---------------------------===//

#include "ir/packings/TrellisPanel.h"

#include "ir/codecs/Numbers.h"
#include "ir/codecs/Trellis.h"

namespace qplan {
namespace {

constexpr int64_t wordBytes = 4, stepBytes = wordBytes * PanelLayout::panelRows;

int64_t rowBytesOf(int64_t columns, int64_t centiBits) { return columns * centiBits / 800; }

} // namespace

int64_t trellisPanelBytes(int64_t columns, int64_t centiBits) {
  return (rowBytesOf(columns, centiBits) + wordBytes - 1) / wordBytes * stepBytes;
}

void packTrellis(const PanelLayout &layout, const uint8_t *const rows[16], uint8_t *out) {
  const int64_t bytes = rowBytesOf(layout.columns, layout.offset);
  for (int64_t r = 0; r < PanelLayout::panelRows; ++r)
    for (int64_t i = 0; rows[r] && i < bytes; ++i)
      out[i / wordBytes * stepBytes + r * wordBytes + (wordBytes - 1 - i % wordBytes)] = rows[r][i];
}

void unpackTrellis(const PanelLayout &layout, const uint8_t *panel, float *x) {
  const int64_t bytes = rowBytesOf(layout.columns, layout.offset);
  const TrellisRow layoutOfRow = TrellisRow::of(layout.columns, bytes);
  std::vector<uint8_t> row(static_cast<size_t>(bytes));
  for (int64_t r = 0; r < PanelLayout::panelRows; ++r) {
    for (int64_t i = 0; i < bytes; ++i)
      row[i] = panel[i / wordBytes * stepBytes + r * wordBytes + (wordBytes - 1 - i % wordBytes)];
    const float scale = f32FromF16(trellisState(row.data(), TrellisRow::scaleBits));
    for (int64_t c = 0; c < layout.columns; ++c)
      x[r * layout.columns + c] =
          scale * trellisValue(trellisState(row.data(), layoutOfRow.end(c)));
  }
}

} // namespace qplan
