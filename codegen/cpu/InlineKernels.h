//===- InlineKernels.h - what parameters decide, decided early --*- C++ -*-===//
//
// The kernels are written for every format and shape; what a launch calls has constant
// parameters, which choose a small share of them.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_CPU_INLINEKERNELS_H
#define QPLAN_CODEGEN_CPU_INLINEKERNELS_H

#include <llvm/IR/PassManager.h>

namespace qplan {

/// Adds passes that inline the functions that must be, from the callers down, and drop what
/// cannot be reached before the next level is inlined. LLVM's own pass goes from the callees
/// up: it makes every kernel whole, with all its formats, and most of the time of -O3 would
/// then go into code that is dropped in the end.
void addKernelInlining(llvm::ModulePassManager &passes);

} // namespace qplan

#endif // QPLAN_CODEGEN_CPU_INLINEKERNELS_H
