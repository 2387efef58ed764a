//===- MixedPanel.h - groups of columns of different widths -----*- C++ -*-===//
//
// Private to ir/packings. A panel of 16 rows of mixed widths is
//
//   16 f32 scales of the rows' tensors, then a byte a group: its width; padded to 64
//   16 E4M3 bytes (with sign) for each group; padded to 64
//   the codes of each group: 32 columns in the steps of U2 to U6 or U8, 64 bytes a bit
//
// A value is row scale * group scale * 2^(1-w) * (code - 2^(w-1)). Widths add up to what the
// format allows, so that all panels are equally large.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_PACKINGS_MIXEDPANEL_H
#define QPLAN_IR_PACKINGS_MIXEDPANEL_H

#include "ir/packings/Panel16.h"

namespace qplan {

/// Bytes of a panel of rows of `columns` columns, `centiBits` as in the format's row.
int64_t mixedPanelBytes(int64_t columns, int64_t centiBits);
/// As packPanel; `out` is all zeros. The rows that are not null have equal widths.
void packMixed(const PanelLayout &layout, FormatId id, const uint8_t *const rows[16], uint8_t *out,
               llvm::ArrayRef<TensorSide> sides);
/// As unpackPanel.
void unpackMixed(const PanelLayout &layout, const uint8_t *panel, float *x);

} // namespace qplan
#endif // QPLAN_IR_PACKINGS_MIXEDPANEL_H
