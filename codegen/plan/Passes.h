//===- Passes.h - passes over the plan dialect ------------------*- C++ -*-===//
//
// Creation and registration of the passes that Passes.td describes.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_PLAN_PASSES_H
#define QPLAN_CODEGEN_PLAN_PASSES_H

#include "codegen/plan/PlanOps.h"
#include <mlir/IR/BuiltinOps.h>
#include <mlir/Pass/Pass.h>
#include <string>

namespace qplan::plan {

#define GEN_PASS_DECL
#include "codegen/plan/Passes.h.inc"

/// Registers every pass of this folder with the global registry (qplan-opt).
#define GEN_PASS_REGISTRATION
#include "codegen/plan/Passes.h.inc"

} // namespace qplan::plan
#endif // QPLAN_CODEGEN_PLAN_PASSES_H
