//===- Panel16.cpp - weights in the order the kernels read them -----------===//
//
// Packs stored rows, 16 at a time, into panels: codes are unpacked to one byte a
// value, then interleaved in words of the step. Values beyond the last column are
// codes that mean 0 where the format has one; kernels pad activations with 0.
//
//===----------------------------------------------------------------------===//
#include "ir/packings/Panel16.h"
#include "ir/packings/TrellisPanel.h"
#include "ir/codecs/Numbers.h"
#include <algorithm>

namespace qplan {
namespace {

constexpr int64_t panelRows = PanelLayout::panelRows;

constexpr int64_t roundUp64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t scaleSize(ScaleType type) {
  return type == ScaleType::None ? 0 : type == ScaleType::F16 ? 2 : 4;
}

void storeScale(ScaleType type, float value, uint8_t *at) {
  if (type == ScaleType::F16)
    storeUnaligned(at, f16FromF32(value));
  else
    storeUnaligned(at, value);
}

float loadScale(ScaleType type, const uint8_t *at) {
  return type == ScaleType::F16 ? f32FromF16(loadUnaligned<uint16_t>(at))
                                : loadUnaligned<float>(at);
}

/// Whether panels hold the numbers that codes stand for, as f32.
bool isDecoded(const FormatInfo &info) {
  return info.panel == PanelElement::F32 && info.family != CodecFamily::Float;
}

/// Writes row r's scales and minima into a scale block.
void packScales(const PanelLayout &layout, const GridRow &row, int64_t r, uint8_t *block) {
  const int64_t size = scaleSize(layout.scale), perGroup = layout.hasMin ? 2 : 1;
  for (size_t g = 0; g < row.scale.size(); ++g) {
    uint8_t *at = block + (int64_t(g) * perGroup * panelRows + r) * size;
    storeScale(layout.scale, row.scale[g], at);
    if (layout.hasMin)
      storeScale(layout.scale, row.min[g], at + panelRows * size);
  }
}

/// Writes row r of 8-bit codes: 4 columns a step.
void packBytes(const uint8_t *codes, int64_t steps, int64_t r, uint8_t *out) {
  for (int64_t t = 0; t < steps; ++t)
    std::memcpy(out + t * 64 + r * 4, codes + t * 4, 4);
}

/// Writes row r of 4-bit codes: 8 columns a step, columns 4..7 in the high nibbles.
void packNibbles(const uint8_t *codes, int64_t steps, int64_t r, uint8_t *out) {
  for (int64_t t = 0; t < steps; ++t) {
    uint32_t low = loadUnaligned<uint32_t>(codes + t * 8);
    uint32_t high = loadUnaligned<uint32_t>(codes + t * 8 + 4);
    storeUnaligned(out + t * 64 + r * 4, low | high << 4);
  }
}

/// Codes of a panel, and their scales.
void packGrid(const PanelLayout &layout, const Codec &codec, const uint8_t *const *rows,
              uint8_t *out, llvm::ArrayRef<TensorSide> sides) {
  const int64_t steps = layout.numSteps();
  const uint8_t zeroCode = layout.hasMin ? 0 : static_cast<uint8_t>(layout.offset);
  uint8_t *codes = out + layout.scaleBytes();
  GridRow row;
  for (int64_t r = 0; r < panelRows; ++r) {
    if (rows[r]) {
      codec.gridRow(rows[r], layout.columns, row, sides.empty() ? TensorSide() : sides[r]);
      packScales(layout, row, r, out);
    } else {
      row.codes.assign(layout.columns, zeroCode);
    }
    row.codes.resize(steps * layout.stepColumns(), zeroCode);
    if (layout.element == PanelElement::U4)
      packNibbles(row.codes.data(), steps, r, codes);
    else
      packBytes(row.codes.data(), steps, r, codes);
  }
}

/// Rows as the numbers that they stand for.
void packDecoded(const PanelLayout &layout, const Codec &codec, const uint8_t *const *rows,
                 uint8_t *out, llvm::ArrayRef<TensorSide> sides) {
  std::vector<float> values(layout.columns);
  for (int64_t r = 0; r < panelRows; ++r) {
    if (!rows[r])
      continue;
    codec.decodeRow(rows[r], layout.columns, values.data(),
                    sides.empty() ? TensorSide() : sides[r]);
    for (int64_t c = 0; c < layout.columns; ++c)
      storeUnaligned(out + c * layout.stepBytes() + r * 4, values[c]);
  }
}

/// Floats: `size` bytes a value, `width` columns a step.
template <typename T>
void packFloats(const PanelLayout &layout, const uint8_t *const *rows, uint8_t *out) {
  const int64_t width = layout.stepColumns();
  for (int64_t r = 0; r < panelRows; ++r) {
    if (!rows[r])
      continue;
    for (int64_t c = 0; c < layout.columns; ++c)
      std::memcpy(out + c / width * layout.stepBytes() + (r * width + c % width) * sizeof(T),
                  rows[r] + c * sizeof(T), sizeof(T));
  }
}

/// The value of (row r, column c) of a panel, before scaling.
float codeAt(const PanelLayout &layout, const uint8_t *codes, int64_t r, int64_t c) {
  const int64_t width = layout.stepColumns();
  const uint8_t *step = codes + c / width * layout.stepBytes();
  const int64_t i = c % width;
  switch (layout.element) {
  case PanelElement::F32:
    return loadUnaligned<float>(step + r * 4);
  case PanelElement::F16:
    return f32FromF16(loadUnaligned<uint16_t>(step + r * 2));
  case PanelElement::BF16:
    return f32FromBf16(loadUnaligned<uint16_t>(step + (2 * r + i) * 2));
  case PanelElement::U4:
    return static_cast<float>(step[4 * r + i % 4] >> (i / 4 * 4) & 15);
  case PanelElement::U8:
    return static_cast<float>(step[4 * r + i]);
  case PanelElement::E4M3:
    return f32FromE4m3(step[4 * r + i]);
  case PanelElement::Trellis:
    break; // unpackTrellis
  }
  return 0;
}

} // namespace

int64_t PanelLayout::stepColumns() const {
  switch (element) {
  case PanelElement::F32:
  case PanelElement::F16:
    return 1;
  case PanelElement::BF16:
    return 2;
  case PanelElement::U4:
    return 8;
  case PanelElement::U8:
  case PanelElement::E4M3:
    return 4;
  case PanelElement::Trellis:
    break; // a column is no whole number of bits
  }
  return 1;
}

int64_t PanelLayout::stepBytes() const { return element == PanelElement::F16 ? 32 : 64; }

int64_t PanelLayout::scaleBytes() const {
  if (scale == ScaleType::None)
    return 0;
  return roundUp64(numGroups() * panelRows * (hasMin ? 2 : 1) * scaleSize(scale));
}

int64_t PanelLayout::panelBytes() const {
  if (element == PanelElement::Trellis)
    return trellisPanelBytes(columns, offset);
  return scaleBytes() + roundUp64(numSteps() * stepBytes());
}

PanelLayout panelLayoutFor(FormatId id, int64_t rows, int64_t columns) {
  const FormatInfo &info = formatInfo(id);
  PanelLayout layout;
  layout.element = info.panel;
  layout.rows = rows;
  layout.columns = columns;
  if (isDecoded(info)) {
    layout.group = columns;
    return layout;
  }
  const bool oneScale = !info.isGrouped() || info.groupColumns >= columns;
  layout.group = oneScale ? columns : info.groupColumns;
  layout.scale = info.panelScale;
  layout.hasMin = info.panelMin;
  layout.offset = info.centiBits ? info.centiBits : info.panelMin ? 0 : info.offset;
  return layout;
}

void packPanel(const PanelLayout &layout, FormatId id, const uint8_t *const rows[16], uint8_t *out,
               llvm::ArrayRef<TensorSide> sides) {
  const FormatInfo &info = formatInfo(id);
  std::memset(out, 0, layout.panelBytes());
  if (info.family == CodecFamily::Trellis)
    packTrellis(layout, rows, out);
  else if (isDecoded(info))
    packDecoded(layout, codecFor(id), rows, out, sides);
  else if (info.family != CodecFamily::Float)
    packGrid(layout, codecFor(id), rows, out, sides);
  else if (info.kind == ElementKind::F32)
    packFloats<uint32_t>(layout, rows, out);
  else
    packFloats<uint16_t>(layout, rows, out);
}

void unpackPanel(const PanelLayout &layout, const uint8_t *panel, float *x) {
  if (layout.element == PanelElement::Trellis)
    return unpackTrellis(layout, panel, x);
  const uint8_t *codes = panel + layout.scaleBytes();
  const int64_t size = scaleSize(layout.scale), perGroup = layout.hasMin ? 2 : 1;
  for (int64_t r = 0; r < panelRows; ++r)
    for (int64_t c = 0; c < layout.columns; ++c) {
      float code = codeAt(layout, codes, r, c);
      float &value = x[r * layout.columns + c];
      value = code;
      if (layout.scale == ScaleType::None)
        continue;
      const uint8_t *at = panel + (c / layout.group * perGroup * panelRows + r) * size;
      float scale = loadScale(layout.scale, at);
      value = layout.hasMin ? scale * code + loadScale(layout.scale, at + panelRows * size)
                            : scale * (code - static_cast<float>(layout.offset));
    }
}

} // namespace qplan
