//===- Panel16.h - weights in the order the kernels read them ---*- C++ -*-===//
//
// The panel16 packing of a matrix of N rows (outputs) x K columns (inputs): 16
// rows a panel, each panel 64-byte aligned and equally large, made of a scale
// block and the codes in steps of 32 or 64 bytes (enum qk_element of
// runtime/kernels/kernels.h names the steps). What the numbers mean stays with
// the format; packing changes no value.
//
//   scale block   for each group: 16 scales (row order), then 16 minima if any
//   F32, F16      a step is 1 column: element r of a step is row r. Formats of other elements
//                 may lie so too: as the numbers that they stand for, without scales
//   BF16          a step is 2 columns: 16-bit element 2r+i is (row r, column 2t+i)
//   U8, E4M3      a step is 4 columns: byte 4r+i is (row r, column 4t+i)
//   U4            a step is 8 columns: byte 4r+i holds column 8t+i of row r in the
//                 low nibble and column 8t+4+i in the high nibble
//   Trellis       32 bits of each row's string a step, scales among them (TrellisPanel.h)
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_PACKINGS_PANEL16_H
#define QPLAN_IR_PACKINGS_PANEL16_H

#include "ir/codecs/Codec.h"

namespace qplan {

/// Sizes and parameters of one packed matrix; they are the weight parameters of the kernels.
struct PanelLayout {
  PanelElement element = PanelElement::F32; ///< kernel parameter `element`
  int64_t rows = 0;                         ///< N
  int64_t columns = 0;                      ///< K
  int64_t group = 0;                        ///< columns of a scale; K: one for each row
  ScaleType scale = ScaleType::None;        ///< kernel parameter `scale`; type of scales and minima
  bool hasMin = false;                      ///< value = scale * code + min
  int32_t offset = 0;                       ///< else value = scale * (code - offset); Trellis:
                                            ///< FormatInfo::centiBits

  static constexpr int64_t panelRows = 16;
  int64_t numPanels() const { return (rows + panelRows - 1) / panelRows; }
  int64_t numGroups() const { return group > 0 ? (columns + group - 1) / group : 0; }
  /// Columns and bytes of a step, and steps of a panel (the last may be part padding).
  int64_t stepColumns() const;
  int64_t stepBytes() const;
  int64_t numSteps() const { return (columns + stepColumns() - 1) / stepColumns(); }
  /// Bytes of the scale block (0 without scales) and of a whole panel, multiples of 64.
  int64_t scaleBytes() const;
  int64_t panelBytes() const;
  /// Bytes of the matrix: numPanels() * panelBytes().
  int64_t bytes() const { return numPanels() * panelBytes(); }
};

/// The layout of a matrix stored in `id`. The matrix must be one that bytesFor accepts.
PanelLayout panelLayoutFor(FormatId id, int64_t rows, int64_t columns);

/// Packs 16 rows stored in `id` (null: a padding row of zeros) to out[layout.panelBytes()].
/// `sides` [16] says what each row needs of its tensor; empty where the format keeps nothing
/// beside the rows.
void packPanel(const PanelLayout &layout, FormatId id, const uint8_t *const rows[16], uint8_t *out,
               llvm::ArrayRef<TensorSide> sides = {});

/// The values of a packed panel: x[16][columns], row-major. For tests and checks.
void unpackPanel(const PanelLayout &layout, const uint8_t *panel, float *x);

} // namespace qplan
#endif // QPLAN_IR_PACKINGS_PANEL16_H
