//===- Parts.h - machine code on several threads ----------------*- C++ -*-===//
//
// Kernels of a plan are specialised apart from each other, so its module is cut where they
// begin: every part is optimised in a context of its own.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_CPU_PARTS_H
#define QPLAN_CODEGEN_CPU_PARTS_H

#include "codegen/cpu/Cpu.h"
#include <llvm/IR/Module.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Target/TargetMachine.h>

namespace qplan {

/// Runs the passes that `add` adds, with all the analyses they may ask for. `machine`: what they
/// optimise for; may be null.
void runModulePasses(llvm::Module &module, llvm::TargetMachine *machine,
                     llvm::function_ref<void(llvm::PassBuilder &, llvm::ModulePassManager &)> add);

/// Inlines the kernels (InlineKernels.h), then runs LLVM's pipeline of -O3.
void optimize(llvm::Module &module, llvm::TargetMachine &machine);

/// Machine code or assembly of an optimised module.
llvm::Error generate(llvm::Module &module, llvm::TargetMachine &machine, llvm::CodeGenFileType type,
                     llvm::SmallVectorImpl<char> &bytes);

/// The object of `module`, which is not optimised yet and is used up. The same bytes for any
/// `threads`.
llvm::Expected<llvm::SmallVector<char, 0>>
generateObject(std::unique_ptr<llvm::Module> module, std::unique_ptr<llvm::TargetMachine> machine,
               const Target &target, const KernelBitcode &kernels, unsigned threads);

/// One relocatable object of `objects`; what they have hidden becomes local to it.
llvm::Expected<llvm::SmallVector<char, 0>>
mergeObjects(llvm::ArrayRef<llvm::SmallVector<char, 0>> objects, const Target &target);

} // namespace qplan
#endif // QPLAN_CODEGEN_CPU_PARTS_H
