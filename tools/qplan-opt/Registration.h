//===- Registration.h - dialects and passes that our tools know --*- C++ -*-===//
#ifndef QPLAN_TOOLS_QPLAN_OPT_REGISTRATION_H
#define QPLAN_TOOLS_QPLAN_OPT_REGISTRATION_H

#include "codegen/lower/Passes.h"
#include "codegen/plan/Passes.h"
#include "passes/Passes.h"

#include <mlir/Dialect/Func/IR/FuncOps.h>
#include <mlir/Dialect/LLVMIR/LLVMDialect.h>
#include <mlir/IR/DialectRegistry.h>
#include <mlir/Transforms/Passes.h>

namespace qplan {

/// Dialects that dumps of any stage may hold.
inline void registerDialects(mlir::DialectRegistry &registry) {
  registry.insert<qp::QpDialect, plan::PlanDialect, mlir::func::FuncDialect,
                  mlir::LLVM::LLVMDialect>();
}

/// Every pass of ours, and upstream's cleaning passes.
inline void registerPasses() {
  registerQpPasses();
  registerLowerPasses();
  plan::registerPlanPasses();
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
}

} // namespace qplan

#endif // QPLAN_TOOLS_QPLAN_OPT_REGISTRATION_H
