//===- BuildModule.h - plans as LLVM IR -------------------------*- C++ -*-===//
//
// First half of code generation: a plan becomes one LLVM module with the kernels'
// bodies linked in, every function marked for the target, not yet optimised.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_CPU_BUILDMODULE_H
#define QPLAN_CODEGEN_CPU_BUILDMODULE_H

#include "codegen/cpu/Cpu.h"
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/Module.h>

namespace llvm {
class TargetMachine;
}

namespace qplan {

/// Builds the module of `plan` in `context`. All but NAME_query is internal.
llvm::Expected<std::unique_ptr<llvm::Module>>
buildModule(mlir::ModuleOp plan, const Target &target, const KernelBitcode &kernels,
            llvm::TargetMachine &machine, const EmitOptions &options, llvm::LLVMContext &context);

} // namespace qplan
#endif // QPLAN_CODEGEN_CPU_BUILDMODULE_H
