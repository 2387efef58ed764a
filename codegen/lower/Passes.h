//===- Passes.h - from the qp dialect to the plan dialect --------*- C++ -*-===//
//
// Passes.td says what each pass does.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_LOWER_PASSES_H
#define QPLAN_CODEGEN_LOWER_PASSES_H

#include "codegen/plan/PlanOps.h"
#include "ir/QpDialect.h"

#include <mlir/IR/BuiltinOps.h>
#include <mlir/Pass/Pass.h>

namespace qplan {
#define GEN_PASS_DECL
#include "codegen/lower/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "codegen/lower/Passes.h.inc"
} // namespace qplan

#endif // QPLAN_CODEGEN_LOWER_PASSES_H
