//===- Panel16.cpp - weights in the order the kernels read them -----------===//
//
// Packs stored rows, 16 at a time, into panels: codes are unpacked to one byte a
// value, then spread over the planes of a step. Values beyond the last column are
// codes that mean 0 where the element has one; kernels pad activations with 0.
// Scales keep the type that is stored, where kernels read it.
//
//===----------------------------------------------------------------------===//
#include "ir/packings/Panel16.h"
#include "ir/codecs/Elements.h"
#include "ir/codecs/Numbers.h"
#include "ir/packings/CodePlanes.h"
#include "ir/packings/MixedPanel.h"
#include "ir/packings/TrellisPanel.h"
#include <algorithm>
#include <cmath>

namespace qplan {
namespace {

constexpr int64_t panelRows = PanelLayout::panelRows;
/// Columns of a float of the upper level of PackedScale::Super.
constexpr int64_t superColumns = 256;

int64_t scaleSize(PackedScale scale) {
  switch (scale) {
  case PackedScale::None:
    return 0;
  case PackedScale::F16:
    return 2;
  case PackedScale::F32:
    return 4;
  default:
    return 1;
  }
}

/// Offset of the f16 scale in 256 columns of GGML's super-blocks, which the f16 scale of the minima
/// follows; nothing for other formats.
std::optional<int64_t> superScaleAt(FormatId id) {
  switch (id) {
  case FormatId::Q2_K:
    return 80;
  case FormatId::Q3_K:
    return 108;
  case FormatId::Q4_K:
  case FormatId::Q5_K:
  case FormatId::IQ4_XS:
    return 0;
  case FormatId::Q6_K:
    return 208;
  default:
    return std::nullopt;
  }
}

PackedScale packedScaleOf(const FormatInfo &info) {
  if (info.family == CodecFamily::Float || info.family == CodecFamily::Trellis ||
      info.family == CodecFamily::Mixed || info.elementBits > 8)
    return PackedScale::None;
  if (superScaleAt(info.id))
    return PackedScale::Super;
  if (info.scale == ScaleType::E8M0)
    return PackedScale::E8M0;
  if (info.scale == ScaleType::E4M3)
    return PackedScale::E4M3;
  return info.panelScale == ScaleType::F16 ? PackedScale::F16 : PackedScale::F32;
}

/// Where the scale (which = 0) or minimum (1) of row r and group g lies in a panel.
int64_t scalePlace(const PanelLayout &layout, int64_t r, int64_t g, int64_t which) {
  const int64_t perGroup = layout.hasMin ? 2 : 1;
  return layout.upperBytes() + ((g * perGroup + which) * panelRows + r) * scaleSize(layout.scale);
}

/// The same for the f16 of the upper level of PackedScale::Super.
int64_t superPlace(const PanelLayout &layout, int64_t r, int64_t g, int64_t which) {
  const int64_t perSuper = layout.hasMin ? 2 : 1;
  return ((g * layout.group / superColumns * perSuper + which) * panelRows + r) * 2;
}

/// The scale or minimum of row r and group g, computed as the kernels do.
float scaleAt(const PanelLayout &layout, const uint8_t *panel, int64_t r, int64_t g,
              int64_t which) {
  const uint8_t *at = panel + scalePlace(layout, r, g, which);
  switch (layout.scale) {
  case PackedScale::None:
    return 1.0f;
  case PackedScale::F16:
    return f32FromF16(loadUnaligned<uint16_t>(at));
  case PackedScale::F32:
    return loadUnaligned<float>(at);
  case PackedScale::E8M0:
    return std::ldexp(layout.element == PackedElement::MX8 ? 0x1p-6f : 1.0f, *at - 127);
  case PackedScale::E4M3:
    return f32FromE4m3(*at) * loadUnaligned<float>(panel + r * 4);
  case PackedScale::Super:
    return static_cast<float>(static_cast<int8_t>(*at)) *
           f32FromF16(loadUnaligned<uint16_t>(panel + superPlace(layout, r, g, which)));
  }
  return 1.0f;
}

/// Writes scales and minima of a row into the panel, as row r.
class ScaleWriter {
public:
  ScaleWriter(const PanelLayout &layout, const FormatInfo &info, uint8_t *panel)
      : layout(layout), info(info), panel(panel) {}

  /// `stored` is what `row` was read from.
  void write(const uint8_t *stored, const GridRow &row, const TensorSide &side, int64_t r) const {
    if (layout.scale == PackedScale::E4M3)
      storeUnaligned(panel + r * 4, side.scale());
    for (int64_t g = 0; g < static_cast<int64_t>(row.scale.size()); ++g) {
      writeOne(stored, row.scale[g], r, g, 0);
      if (layout.hasMin)
        writeOne(stored, row.min[g], r, g, 1);
    }
  }

private:
  void writeOne(const uint8_t *stored, float value, int64_t r, int64_t g, int64_t which) const {
    uint8_t *at = panel + scalePlace(layout, r, g, which);
    switch (layout.scale) {
    case PackedScale::None:
      return;
    case PackedScale::F16:
      return storeUnaligned(at, f16FromF32(value));
    case PackedScale::F32:
      return storeUnaligned(at, value);
    case PackedScale::E8M0: // minifloats: codes, then the bytes of groups
    case PackedScale::E4M3:
      *at = stored[(layout.columns * info.elementBits + 7) / 8 + g];
      return;
    case PackedScale::Super: {
      const uint8_t *block = stored + g * layout.group / superColumns * info.blockBytes;
      auto super = loadUnaligned<uint16_t>(block + *superScaleAt(info.id) + which * 2);
      storeUnaligned(panel + superPlace(layout, r, g, which), super);
      // The value is the product of both, which f32 holds exactly.
      const float unit = f32FromF16(super);
      *at = unit == 0 ? 0 : static_cast<uint8_t>(static_cast<int8_t>(std::lround(value / unit)));
      return;
    }
    }
  }

  const PanelLayout &layout;
  const FormatInfo &info;
  uint8_t *panel;
};

/// Writes row r of 16-bit floats of a step.
void packStep(const PanelLayout &layout, const uint16_t *values, int64_t r, uint8_t *step) {
  const int64_t width = layout.stepColumns();
  for (int64_t c = 0; c < width; ++c)
    storeUnaligned(step + (r * width + c) * 2, values[c]);
}

/// The layout of what a sparse one keeps.
PanelLayout keptOf(const PanelLayout &layout) {
  PanelLayout kept = layout;
  kept.sparse = false;
  return kept;
}

/// Writes row r of a sparse panel from all its columns, which fill whole steps. Columns of `zero`
/// are left out.
template <typename T>
void packSparse(const PanelLayout &layout, const T *x, T zero, int64_t r, uint8_t *out) {
  const PanelLayout dense = keptOf(layout);
  for (int64_t t = 0; t < layout.numSteps(); ++t, out += layout.stepBytes()) {
    T kept[PanelLayout::sparseKept] = {};
    uint32_t mask = 0;
    for (int64_t quad = 0; quad < PanelLayout::sparseColumns / 4; ++quad)
      for (int64_t i = 0, n = 0; i < 4 && n < 2; ++i)
        if (T value = x[t * PanelLayout::sparseColumns + quad * 4 + i]; value != zero) {
          mask |= 1u << (quad * 4 + i);
          kept[quad * 2 + n++] = value ^ zero;
        }
    for (int64_t c = 0; c < PanelLayout::sparseKept; c += dense.stepColumns())
      packStep(dense, kept + c, r, out + c / dense.stepColumns() * dense.stepBytes());
    storeUnaligned(out + layout.stepBytes() - 64 + r * 4, mask);
  }
}

/// The code of 0, or code 0 of tables without a 0.
uint8_t zeroCode(llvm::ArrayRef<float> values) {
  const auto *found = std::find(values.begin(), values.end(), 0.0f);
  return found == values.end() ? 0 : static_cast<uint8_t>(found - values.begin());
}

/// Codes of a panel, and their scales.
void packGrid(const PanelLayout &layout, const Codec &codec, const uint8_t *const *rows,
              uint8_t *out, llvm::ArrayRef<TensorSide> sides) {
  const uint8_t zero = zeroCode(layout.values);
  const ScaleWriter scales(layout, codec.format(), out);
  GridRow row;
  for (int64_t r = 0; r < panelRows; ++r) {
    if (rows[r]) {
      const TensorSide side = sides.empty() ? TensorSide() : sides[r];
      codec.gridRow(rows[r], layout.columns, row, side);
      if (layout.element == PackedElement::Table4)
        std::memcpy(out, row.values.data(), row.values.size() * sizeof(float));
      scales.write(rows[r], row, side, r);
    } else {
      row.codes.assign(layout.columns, zero);
    }
    row.codes.resize(layout.numSteps() * layout.stepColumns(), zero);
    uint8_t *step = out + layout.scaleBytes();
    if (layout.sparse)
      packSparse(layout, row.codes.data(), zero, r, step);
    else
      packCodes(layout, row.codes.data(), r, step);
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

/// Sparse rows of f16 or bf16.
void packSparseFloats(const PanelLayout &layout, FormatId id, const uint8_t *const *rows,
                      uint8_t *out) {
  std::vector<float> values(layout.columns);
  std::vector<uint16_t> bits(layout.numSteps() * layout.stepColumns());
  for (int64_t r = 0; r < panelRows; ++r) {
    if (!rows[r])
      continue;
    codecFor(id).decodeRow(rows[r], layout.columns, values.data());
    for (int64_t c = 0; c < layout.columns; ++c)
      bits[c] =
          layout.element == PackedElement::F16 ? f16FromF32(values[c]) : bf16FromF32(values[c]);
    packSparse(layout, bits.data(), uint16_t(0), r, out);
  }
}

float sparseNumberAt(const PanelLayout &layout, const uint8_t *step, int64_t r, int64_t i);

/// The value of (row r, column c) of a panel, before scaling.
float numberAt(const PanelLayout &layout, const uint8_t *codes, int64_t r, int64_t c) {
  const int64_t width = layout.stepColumns();
  const uint8_t *step = codes + c / width * layout.stepBytes();
  const int64_t i = c % width;
  if (layout.sparse)
    return sparseNumberAt(layout, step, r, i);
  switch (layout.element) {
  case PackedElement::F32:
    return loadUnaligned<float>(step + r * 4);
  case PackedElement::F16:
    return f32FromF16(loadUnaligned<uint16_t>(step + r * 2));
  case PackedElement::BF16:
    return f32FromBf16(loadUnaligned<uint16_t>(step + (2 * r + i) * 2));
  case PackedElement::Table4: // at the beginning of the panel
    return loadUnaligned<float>(codes - layout.scaleBytes() + codeAt(layout, step, r, i) * 4);
  default:
    return layout.values[codeAt(layout, step, r, i)];
  }
}

float sparseNumberAt(const PanelLayout &layout, const uint8_t *step, int64_t r, int64_t i) {
  const auto mask = loadUnaligned<uint32_t>(step + layout.stepBytes() - 64 + r * 4);
  if (!(mask >> i & 1))
    return 0.0f;
  const uint32_t before = mask & ((1u << i) - 1) & ~((1u << (i / 4 * 4)) - 1);
  const int64_t place = i / 4 * 2 + (before != 0);
  const PanelLayout dense = keptOf(layout);
  if (!layout.codeBits())
    return numberAt(dense, step, r, place);
  const int64_t width = dense.stepColumns();
  const int code = codeAt(dense, step + place / width * dense.stepBytes(), r, place % width);
  return layout.values[code ^ zeroCode(layout.values)];
}

PackedElement packedInteger(const FormatInfo &info) {
  switch (info.elementBits) {
  case 2:
    return PackedElement::U2;
  case 3:
    return PackedElement::U3;
  case 4:
    return PackedElement::U4;
  case 5:
    return PackedElement::U5;
  case 6:
    return PackedElement::U6;
  case 7:
    return PackedElement::U7;
  default:
    return info.scale == ScaleType::E8M0 ? PackedElement::MX8 : PackedElement::U8;
  }
}

} // namespace

PackedElement packedElementOf(FormatId id) {
  const FormatInfo &info = formatInfo(id);
  if (info.family == CodecFamily::Choice)
    return PackedElement::Table4;
  switch (info.kind) {
  case ElementKind::F32:
    return PackedElement::F32;
  case ElementKind::F16:
    return PackedElement::F16;
  case ElementKind::BF16:
    return PackedElement::BF16;
  case ElementKind::Int:
    return info.family == CodecFamily::Mixed ? PackedElement::Mixed : packedInteger(info);
  case ElementKind::E4M3:
    return PackedElement::E4M3;
  case ElementKind::E5M2:
    return PackedElement::E5M2;
  case ElementKind::E3M4:
    return PackedElement::E3M4;
  case ElementKind::E2M5:
    return PackedElement::E2M5;
  case ElementKind::E3M2:
    return PackedElement::E3M2;
  case ElementKind::E2M3:
    return PackedElement::E2M3;
  case ElementKind::E2M1:
    return PackedElement::E2M1;
  case ElementKind::E1M2:
    return PackedElement::E1M2;
  case ElementKind::E3M0:
    return PackedElement::E3M0;
  case ElementKind::NF4:
    return PackedElement::NF4;
  case ElementKind::FP4:
    return PackedElement::FP4;
  case ElementKind::IQ4:
    return PackedElement::IQ4;
  case ElementKind::Trellis:
    return PackedElement::Trellis;
  }
  return PackedElement::F32;
}

int PanelLayout::codeBits() const {
  switch (element) {
  case PackedElement::F32:
  case PackedElement::F16:
  case PackedElement::BF16:
  case PackedElement::Trellis: // a column is no whole number of bits
  case PackedElement::Mixed:
    return 0;
  case PackedElement::U2:
    return 2;
  case PackedElement::U3:
    return 3;
  case PackedElement::U4:
  case PackedElement::E2M1:
  case PackedElement::E1M2:
  case PackedElement::E3M0:
  case PackedElement::NF4:
  case PackedElement::FP4:
  case PackedElement::IQ4:
  case PackedElement::Table4:
    return 4;
  case PackedElement::U5:
    return 5;
  case PackedElement::U6:
  case PackedElement::E3M2:
  case PackedElement::E2M3:
    return 6;
  case PackedElement::U7:
    return 7;
  default:
    return 8;
  }
}

int64_t PanelLayout::stepColumns() const {
  if (sparse)
    return sparseColumns;
  const int bits = codeBits();
  if (bits == 0)
    return element == PackedElement::BF16 ? 2 : 1;
  // A vector of 64 bytes holds 32 / width columns: as many as the narrowest plane needs.
  return 32 / (bits & -bits);
}

int64_t PanelLayout::stepBytes() const {
  if (sparse)
    return sparseKept / keptOf(*this).stepColumns() * keptOf(*this).stepBytes() + 64;
  if (int bits = codeBits())
    return stepColumns() * bits * panelRows / 8;
  return element == PackedElement::F16 ? 32 : 64;
}

int64_t PanelLayout::upperBytes() const {
  if (scale == PackedScale::E4M3 || element == PackedElement::Table4)
    return panelRows * 4;
  if (scale == PackedScale::Super)
    return (columns + superColumns - 1) / superColumns * panelRows * (hasMin ? 2 : 1) * 2;
  return 0;
}

int64_t PanelLayout::scaleBytes() const {
  if (scale == PackedScale::None)
    return 0;
  return roundUp64(upperBytes() + numGroups() * panelRows * (hasMin ? 2 : 1) * scaleSize(scale));
}

int64_t PanelLayout::panelBytes() const {
  if (element == PackedElement::Trellis)
    return trellisPanelBytes(columns, offset);
  if (element == PackedElement::Mixed)
    return mixedPanelBytes(columns, offset);
  return scaleBytes() + roundUp64(numSteps() * stepBytes());
}

PanelLayout panelLayoutFor(FormatId id, int64_t rows, int64_t columns) {
  const FormatInfo &info = formatInfo(id);
  PanelLayout layout;
  layout.element = packedElementOf(id);
  layout.sparse = info.family == CodecFamily::Sparse;
  layout.rows = rows;
  layout.columns = columns;
  const bool oneScale = !info.isGrouped() || info.groupColumns >= columns;
  layout.group = oneScale ? columns : info.groupColumns;
  layout.scale = packedScaleOf(info);
  layout.hasMin = info.panelMin;
  if (info.centiBits)
    layout.offset = info.centiBits;
  else if (info.isInteger() && !info.panelMin)
    layout.offset = info.offset;
  layout.values = elementValues(id);
  return layout;
}

void packPanel(const PanelLayout &layout, FormatId id, const uint8_t *const rows[16], uint8_t *out,
               llvm::ArrayRef<TensorSide> sides) {
  std::memset(out, 0, layout.panelBytes());
  if (layout.element == PackedElement::Trellis)
    packTrellis(layout, rows, out);
  else if (layout.element == PackedElement::Mixed)
    packMixed(layout, id, rows, out, sides);
  else if (layout.codeBits())
    packGrid(layout, codecFor(id), rows, out, sides);
  else if (formatInfo(id).family == CodecFamily::Sparse)
    packSparseFloats(layout, id, rows, out);
  else if (layout.element == PackedElement::F32)
    packFloats<uint32_t>(layout, rows, out);
  else
    packFloats<uint16_t>(layout, rows, out);
}

void unpackPanel(const PanelLayout &layout, const uint8_t *panel, float *x) {
  if (layout.element == PackedElement::Trellis)
    return unpackTrellis(layout, panel, x);
  if (layout.element == PackedElement::Mixed)
    return unpackMixed(layout, panel, x);
  const uint8_t *codes = panel + layout.scaleBytes();
  for (int64_t r = 0; r < panelRows; ++r)
    for (int64_t c = 0; c < layout.columns; ++c) {
      const int64_t g = layout.group > 0 ? c / layout.group : 0;
      float value = scaleAt(layout, panel, r, g, 0) * numberAt(layout, codes, r, c);
      if (layout.hasMin)
        value += scaleAt(layout, panel, r, g, 1);
      x[r * layout.columns + c] = value;
    }
}

} // namespace qplan
