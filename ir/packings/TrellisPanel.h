//===- TrellisPanel.h - tcq rows side by side -------------------*- C++ -*-===//
//
// Private to ir/packings. A panel of tcq rows has no scale block: word t (32 bits, the
// first bit of the row's string the most significant) of row r lies at byte 64t + 4r,
// the last word padded with zeros. Scales are the first 16 bits of the rows.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_PACKINGS_TRELLISPANEL_H
#define QPLAN_IR_PACKINGS_TRELLISPANEL_H

#include "ir/packings/Panel16.h"

namespace qplan {

/// Bytes of a panel of rows of `columns` columns, `centiBits` as in the format's row.
int64_t trellisPanelBytes(int64_t columns, int64_t centiBits);
/// As packPanel; `out` is all zeros.
void packTrellis(const PanelLayout &layout, const uint8_t *const rows[16], uint8_t *out);
/// As unpackPanel.
void unpackTrellis(const PanelLayout &layout, const uint8_t *panel, float *x);

} // namespace qplan
#endif // QPLAN_IR_PACKINGS_TRELLISPANEL_H
