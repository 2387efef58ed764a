//===- CodePlanes.h - codes of 2 to 8 bits side by side ---------*- C++ -*-===//
//
// Private to ir/packings: spreads the codes of a row over the planes of a panel's
// steps, which Panel16.h describes.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_PACKINGS_CODEPLANES_H
#define QPLAN_IR_PACKINGS_CODEPLANES_H

#include "ir/packings/Panel16.h"

namespace qplan {

/// Parts of panels begin at multiples of 64 bytes.
constexpr int64_t roundUp64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

/// Writes row r of a step of codes, one byte each in `codes`.
void packStep(const PanelLayout &layout, const uint8_t *codes, int64_t r, uint8_t *step);
/// Writes row r of codes, one byte each in `codes`, that fill the layout's steps, from `out` on.
void packCodes(const PanelLayout &layout, const uint8_t *codes, int64_t r, uint8_t *out);

/// The code of (row r, column i) of a step.
int codeAt(const PanelLayout &layout, const uint8_t *step, int64_t r, int64_t i);

} // namespace qplan
#endif // QPLAN_IR_PACKINGS_CODEPLANES_H
