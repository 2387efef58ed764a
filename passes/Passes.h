//===- Passes.h - passes over the qp dialect ---------------------*- C++ -*-===//
//
// Passes.td says what each does. Passes that need weights or statistics take a
// PassInputs; in qplan-opt options of the pass name files instead (PassInputs.h).
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_PASSES_H
#define QPLAN_PASSES_PASSES_H

#include "ir/QpDialect.h"
#include "ir/weights/WeightStore.h"
#include "passes/search/Recipe.h"
#include "passes/search/Statistics.h"

#include <mlir/IR/BuiltinOps.h>
#include <mlir/Pass/Pass.h>

namespace qplan {

/// What passes read beside the IR. Borrowed; must outlive the passes.
struct PassInputs {
  WeightStore *weights = nullptr;         ///< needed by qp-rotate, qp-fold-smooth-quant
  const Statistics *statistics = nullptr; ///< needed by smoothing and static activation scales
  const Recipe *recipe = nullptr;         ///< in place of the option `recipe`
};

#define GEN_PASS_DECL
#include "passes/Passes.h.inc"

std::unique_ptr<mlir::Pass> createAssignTreatments(const PassInputs &inputs,
                                                   AssignTreatmentsOptions options);
std::unique_ptr<mlir::Pass> createFoldSmoothQuant(const PassInputs &inputs);
std::unique_ptr<mlir::Pass> createInsertQdq(const PassInputs &inputs);
std::unique_ptr<mlir::Pass> createRotate(const PassInputs &inputs, RotateOptions options);

#define GEN_PASS_REGISTRATION
#include "passes/Passes.h.inc"

} // namespace qplan

#endif // QPLAN_PASSES_PASSES_H
