//===- MomentPass.h - second moments of inputs, a few at a time --*- C++ -*-===//
//
// Compiler::visitMoments() runs the model in f32 with observers of x x^T, for as many
// inputs at a time as fit a bound on memory, and lets go of the moments before the next.
// They are those of the model as it was, not of one that is rounded up to there.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_MOMENTPASS_H
#define QPLAN_CODEGEN_DRIVER_MOMENTPASS_H

#include "codegen/driver/Calibrator.h"
#include "passes/moments/MomentMethod.h"

namespace qplan {

/// A value that sites read, observed under the name of one of them.
struct MomentInput {
  std::string observer;
  int64_t columns = 0;

  /// Of its moments, of which a triangle is observed.
  int64_t bytes() const { return columns * (columns + 1) / 2 * 8; }
};

/// The moments after the division of the input by `factors` [columns]; kept in `gram`.
InputMoments dividedMoments(const InputMoments &moments, llvm::ArrayRef<float> factors,
                            std::vector<double> &gram);

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_MOMENTPASS_H
