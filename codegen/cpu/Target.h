//===- Target.h - processors that plans are compiled for --------*- C++ -*-===//
//
// The CPU half of `--target`: what a target name means, which of the processor's
// features emitted code may use, and which level of the kernels fits. Two
// machines that spell a target alike get the same bytes.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_CPU_TARGET_H
#define QPLAN_CODEGEN_CPU_TARGET_H

#include "runtime/kernels/Bitcode.h"
#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/ADT/StringSet.h>
#include <llvm/Support/Error.h>
#include <memory>
#include <string>
#include <vector>

namespace llvm {
class TargetMachine;
}

namespace qplan {

/// A processor that code is compiled for.
struct Target {
  std::string name;   ///< canonical: "x86_64-linux:znver5", "x86_64-linux:znver4+noavx512bf16"
  std::string triple; ///< "x86_64-unknown-linux-gnu"
  std::string arch;   ///< "x86_64" or "aarch64"
  std::string cpu;    ///< LLVM's name of the processor that code is tuned for
  /// Features (LLVM names) that code generation may use, in a fixed order.
  std::vector<std::string> features;
  /// Everything the processor has by LLVM's tables, for choosing kernels.
  llvm::StringSet<> allFeatures;

  bool hasFeature(llvm::StringRef feature) const { return allFeatures.contains(feature); }
};

/// Reads a target name:
///   cpu                        this machine
///   cpu:CPU, cpu:CPU+feature   this architecture; `+nofeature` takes one away:
///                              `cpu:sapphirerapids+noamx-int8` has the kernels without tiles
///   TRIPLE[:CPU[+feature]]     `x86_64-linux` or `aarch64-linux`, CPU default: the oldest
/// CPU is an LLVM name (`znver5`, `neoverse-v1`) or a level (`x86-64-v3`). Unknown
/// names are usage errors that tell the nearest known one.
llvm::Expected<Target> parseTarget(llvm::StringRef name);

/// The canonical name of this machine, what `cpu` stands for.
std::string hostTargetName();

/// One line of `qplan targets`.
struct TargetListing {
  std::string name;        ///< "x86_64-linux:znver5"
  std::string kernelLevel; ///< "avx512vnni"
};

/// All processors that parseTarget knows, by architecture and name. The first is
/// this machine.
std::vector<TargetListing> listTargets();

/// The best of `levels` (default: those embedded) whose features the target has, or
/// a defect error if there is none for the architecture.
llvm::Expected<const KernelBitcode *> chooseKernels(const Target &target,
                                                    llvm::ArrayRef<KernelBitcode> levels = {});

/// Features that code compiled for `target` with `kernels` needs where it runs: those
/// of the kernels and those that LLVM may use. Comma separated, LLVM names.
std::string requiredFeatures(const Target &target, const KernelBitcode &kernels);

/// LLVM's code generator for the target; -O3, position independent.
llvm::Expected<std::unique_ptr<llvm::TargetMachine>>
createTargetMachine(const Target &target, const KernelBitcode &kernels);

} // namespace qplan
#endif // QPLAN_CODEGEN_CPU_TARGET_H
