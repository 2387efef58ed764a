//===- PlanOps.h - the plan dialect -----------------------------*- C++ -*-===//
//
// C++ side of PlanOps.td: the dialect and its ops (plan.program, plan.weight,
// plan.buffer, plan.launch). Meaning and constraints are described there.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_PLAN_PLANOPS_H
#define QPLAN_CODEGEN_PLAN_PLANOPS_H

#include <mlir/Bytecode/BytecodeOpInterface.h>
#include <mlir/IR/Builders.h>
#include <mlir/IR/BuiltinAttributes.h>
#include <mlir/IR/Dialect.h>
#include <mlir/IR/OpDefinition.h>
#include <mlir/IR/OpImplementation.h>
#include <mlir/IR/SymbolTable.h>

#include "codegen/plan/PlanDialect.h.inc"

#define GET_OP_CLASSES
#include "codegen/plan/PlanOps.h.inc"

#endif // QPLAN_CODEGEN_PLAN_PLANOPS_H
