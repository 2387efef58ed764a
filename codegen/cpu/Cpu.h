//===- Cpu.h - the CPU back end -------------------------------*- C++ -*-===//
//
// From a module with one plan.program to machine code for a CPU: an object file, a
// shared object, text to look at, or code that runs in this process. Everything
// happens in process; no tool of the system is called.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_CPU_CPU_H
#define QPLAN_CODEGEN_CPU_CPU_H

#include "codegen/cpu/Target.h"
#include "qplan/abi.h"
#include <llvm/ADT/SmallVector.h>
#include <llvm/Support/Error.h>
#include <memory>
#include <string>

namespace mlir {
class DialectRegistry;
class ModuleOp;
} // namespace mlir

namespace qplan {

/// What emitModel makes.
struct EmitOptions {
  std::string producer = "qplan 0.1.0"; ///< qplan_model_v1.producer
  bool object = true;                   ///< EmittedModel.object
  bool sharedObject = true;             ///< EmittedModel.sharedObject
  bool llvmText = false;                ///< EmittedModel.llvmText, before optimisation
  bool optimizedText = false;           ///< EmittedModel.llvmText, after it
  bool assembly = false;                ///< EmittedModel.assembly
  bool launches = false;                ///< define NAME_launches (plan-to-llvm) besides
  unsigned threads = 1;                 ///< to work on; the result is the same
  /// Kernels to use instead of the embedded ones (tests).
  llvm::ArrayRef<KernelBitcode> kernels = {};
};

/// A compiled model. What the options did not ask for is empty.
struct EmittedModel {
  std::string name;        ///< symbol of the program
  std::string target;      ///< canonical target name
  std::string features;    ///< what the machine must have: "avx2,fma"
  std::string kernelLevel; ///< "avx512vnni"
  /// Relocatable object: defines NAME_query, needs memcpy, memset and the like only.
  llvm::SmallVector<char, 0> object;
  /// Shared object: exports qplan_model_query only.
  llvm::SmallVector<char, 0> sharedObject;
  std::string llvmText;
  std::string assembly;
};

/// Compiles `plan`, a module with one plan.program whose memory and weights have
/// places; it is left as it is. The same plan, target and options give the same
/// bytes. Diagnostics of the lowering become the error's text.
llvm::Expected<EmittedModel> emitModel(mlir::ModuleOp plan, const Target &target,
                                       const EmitOptions &options = {});

/// A model compiled into this process. Its code lives as long as the object.
class JitModel {
public:
  virtual ~JitModel();
  /// The model's description and entry; valid as long as this object.
  const qplan_model_v1 *model() const { return description; }

  /// Runs the launches [first, end), first < end, of the plan; null unless
  /// EmitOptions.launches.
  using Launches = void (*)(const qplan_env_v1 *env, const qplan_args_v1 *args, int64_t first,
                            int64_t end);
  Launches launches() const { return range; }

protected:
  const qplan_model_v1 *description = nullptr;
  Launches range = nullptr;
};

/// Compiles `plan` for this machine and loads it. `target` must be one whose features
/// this machine has, or a machine error is returned.
llvm::Expected<std::unique_ptr<JitModel>> jitModel(mlir::ModuleOp plan, const Target &target,
                                                   const EmitOptions &options = {});

/// Links `object`, the relocatable object of model `name`, into a shared object that
/// exports qplan_model_query only.
llvm::Expected<llvm::SmallVector<char, 0>>
linkSharedObject(llvm::ArrayRef<char> object, llvm::StringRef name, const Target &target);

} // namespace qplan
#endif // QPLAN_CODEGEN_CPU_CPU_H
