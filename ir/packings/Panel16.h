//===- Panel16.h - weights in the order the kernels read them ---*- C++ -*-===//
//
// The panel16 packing of a matrix of N rows (outputs) x K columns (inputs): 16
// rows a panel, each panel 64-byte aligned and equally large, made of a scale
// block and the codes in steps of 32 or 64 bytes (enum qk_element of
// runtime/kernels/kernels.h names the steps). What the numbers mean stays with
// the format; packing changes no value.
//
//   scale block   for each group: 16 scales (row order), then 16 minima if any. Of two levels
//                 the upper comes first: E4M3 has 16 f32, Super has 16 f16 for each 256
//                 columns, and 16 more for the minima
//   F32, F16      a step is 1 column: element r of a step is row r. Formats whose tensors differ
//                 in their element lie so too: as the numbers that they stand for, without scales
//   BF16          a step is 2 columns: 16-bit element 2r+i is (row r, column 2t+i)
//   8 bits        a step is 4 columns: byte 4r+i is (row r, column 4t+i)
//   4 bits        a step is 8 columns: byte 4r+i holds column 8t+i of row r in the
//                 low nibble and column 8t+4+i in the high nibble
//   2 bits        a step is 16 columns: byte 4r+i holds columns 16t+4b+i, b = 0..3,
//                 from its lowest bits on
//   6 bits        a step is 16 columns: the low 4 bits of the codes as two vectors of
//                 4 bits, then their high 2 bits as one of 2
//   3, 5, 7 bits  a step is 32 columns: the low bits as planes of 4 and 2 bits (7 is
//                 4 and 2), then the highest bits as one vector: bit b of byte 4r+i is
//                 column 32t+4b+i
//   2:4 sparse    a step is 32 columns: two codes for each four columns, laid out as 16
//                 columns of their element, then 32 bits a row (64 bytes), bit c of them
//                 for column 32t+c: whether it has a code. The others are 0. Integer
//                 codes are stored xor `offset`, so that 0 is stored as 0
//   Trellis       32 bits of each row's string a step, scales among them (TrellisPanel.h)
//   Mixed         groups of 32 columns, each in the steps of its width (MixedPanel.h)
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_PACKINGS_PANEL16_H
#define QPLAN_IR_PACKINGS_PANEL16_H

#include "ir/codecs/Codec.h"

namespace qplan {

/// What a code of a panel is. The numbers equal enum qk_element of the kernels.
enum class PackedElement : uint8_t {
  F32 = 0,
  F16 = 1,
  BF16 = 2,
  U4 = 3,
  U8 = 4,
  E4M3 = 5,
  U2 = 6,
  U3 = 7,
  U5 = 8,
  U6 = 9,
  U7 = 10,
  E5M2 = 11,
  E3M4 = 12,
  E2M5 = 13,
  E3M2 = 14,
  E2M3 = 15,
  E2M1 = 16,
  NF4 = 17,
  FP4 = 18,
  IQ4 = 19,
  Trellis = 20,
  MX8 = 21, ///< U8 with offset 128 that counts 1/64
  E1M2 = 22,
  E3M0 = 23,
  Mixed = 24, ///< groups of 32 columns of U2 to U6 and U8
  Table4 = 25 ///< 4 bits; the panel begins with the 16 f32 that they stand for
};

/// How scales and minima lie in a panel. The numbers equal enum qk_scale of the kernels.
enum class PackedScale : uint8_t {
  None = 0,
  F16 = 1,
  F32 = 2,
  E8M0 = 3, ///< 2^(byte - 127)
  E4M3 = 4, ///< f8E4M3FN bytes, times one f32 of each row
  Super = 6 ///< signed bytes, times one f16 of each row and 256 columns
};

/// The element of a format's panels, also of activations that kernels round.
PackedElement packedElementOf(FormatId id);

/// Sizes and parameters of one packed matrix; they are the weight parameters of the kernels.
struct PanelLayout {
  PackedElement element = PackedElement::F32; ///< kernel parameter `element`, see kernelElement
  bool sparse = false;                        ///< two of four columns are stored
  int64_t rows = 0;                           ///< N
  int64_t columns = 0;                        ///< K
  int64_t group = 0;                          ///< columns of a scale; K: one for each row
  PackedScale scale = PackedScale::None;      ///< kernel parameter `scale`
  bool hasMin = false;                        ///< value = scale * code + min
  int32_t offset = 0; ///< integers: else value = scale * (code - offset); Trellis, Mixed: centiBits
  llvm::ArrayRef<float> values; ///< what codes stand for; empty of F32, F16 and BF16; of Table4
                                ///< the table of one element, all of which have 0 in one place

  static constexpr int64_t panelRows = 16;
  /// Columns of a step that have codes: all, or half of them.
  static constexpr int64_t sparseColumns = 32, sparseKept = 16;
  /// The kernel parameter `element`: enum qk_element.
  int64_t kernelElement() const { return int64_t(element) + (sparse ? 64 : 0); }
  int64_t numPanels() const { return (rows + panelRows - 1) / panelRows; }
  int64_t numGroups() const { return group > 0 ? (columns + group - 1) / group : 0; }
  /// Stored bits of a code; 0 for F32, F16 and BF16.
  int codeBits() const;
  /// Columns and bytes of a step, and steps of a panel (the last may be part padding).
  int64_t stepColumns() const;
  int64_t stepBytes() const;
  int64_t numSteps() const { return (columns + stepColumns() - 1) / stepColumns(); }
  /// Bytes before the scales of groups: an upper level of scales, or a table.
  int64_t upperBytes() const;
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
/// beside the rows. Rows of mixed widths must have those of the first, rows in one of several
/// elements its element.
void packPanel(const PanelLayout &layout, FormatId id, const uint8_t *const rows[16], uint8_t *out,
               llvm::ArrayRef<TensorSide> sides = {});

/// The values of a packed panel: x[16][columns], row-major. For tests and checks.
void unpackPanel(const PanelLayout &layout, const uint8_t *panel, float *x);

} // namespace qplan
#endif // QPLAN_IR_PACKINGS_PANEL16_H
