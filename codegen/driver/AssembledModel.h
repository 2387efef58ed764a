//===- AssembledModel.h - the divergence of a whole recipe -------*- C++ -*-===//
//
// A model in f32 whose groups are rounded as a recipe says, to be changed group by group:
// weights by their real methods, activations at the rows that enter. What it measures is
// the KL divergence of the QDQ form from the model as it was. A change is paid for from
// the first launch that it touches on.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_ASSEMBLEDMODEL_H
#define QPLAN_CODEGEN_DRIVER_ASSEMBLEDMODEL_H

#include "codegen/driver/ScoreTable.h"

namespace qplan {

/// A candidate of a group, both by their numbers in the table.
struct GroupChoice {
  size_t group, candidate;
};

/// Made by Compiler::assemble(); at first nothing is rounded.
class AssembledModel {
public:
  virtual ~AssembledModel() = default;
  /// Runs the methods of `choices` over second moments, all in one pass over the calibration
  /// text. Those that are known, or need none, cost nothing.
  virtual llvm::Error prepare(llvm::ArrayRef<GroupChoice> choices) = 0;
  /// Treats a group as the candidate says; one whose method needs moments is prepared.
  virtual llvm::Error set(GroupChoice choice) = 0;
  /// Mean KL divergence on the windows of the model as it is set.
  virtual llvm::Expected<double> divergence() = 0;
};

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_ASSEMBLEDMODEL_H
