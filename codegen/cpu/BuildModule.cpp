//===- BuildModule.cpp - plans as LLVM IR ---------------------------------===//
//
// Lowers a copy of the plan, links those kernels that it calls, and gives all
// functions the same attributes: inlining refuses functions whose target features
// or builtins differ.
//
//===----------------------------------------------------------------------===//
#include "codegen/cpu/BuildModule.h"
#include "codegen/plan/Passes.h"
#include "ir/Failure.h"
#include <llvm/Bitcode/BitcodeReader.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Linker/Linker.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Target/TargetMachine.h>
#include <mlir/Dialect/LLVMIR/LLVMDialect.h>
#include <mlir/IR/Diagnostics.h>
#include <mlir/Pass/PassManager.h>
#include <mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h>
#include <mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h>
#include <mlir/Target/LLVMIR/Export.h>

namespace qplan {
namespace {

/// Errors of a scope as text, with the locations that point into the checkpoint.
class Collector {
public:
  explicit Collector(mlir::MLIRContext *context)
      : handler(context, [this](mlir::Diagnostic &diagnostic) {
          if (diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error)
            add(diagnostic);
          return mlir::success();
        }) {}
  std::string text;

private:
  mlir::ScopedDiagnosticHandler handler;

  void add(mlir::Diagnostic &diagnostic) {
    llvm::raw_string_ostream stream(text);
    if (!text.empty())
      stream << '\n';
    if (!llvm::isa<mlir::UnknownLoc>(diagnostic.getLocation()))
      stream << diagnostic.getLocation() << ": ";
    stream << diagnostic;
  }
};

llvm::Expected<std::unique_ptr<llvm::Module>>
lower(mlir::ModuleOp plan, const Target &target, const KernelBitcode &kernels,
      const llvm::TargetMachine &machine, const EmitOptions &options, llvm::LLVMContext &context) {
  mlir::MLIRContext *mlirContext = plan.getContext();
  mlir::DialectRegistry registry;
  mlir::registerBuiltinDialectTranslation(registry);
  mlir::registerLLVMDialectTranslation(registry);
  mlirContext->appendDialectRegistry(registry);
  mlir::OwningOpRef<mlir::ModuleOp> copy = plan.clone();
  // Alignments of loads and stores follow from the layout, so it comes first.
  (*copy)->setAttr(mlir::LLVM::LLVMDialect::getDataLayoutAttrName(),
                   mlir::StringAttr::get(mlirContext,
                                         machine.createDataLayout().getStringRepresentation()));
  (*copy)->setAttr(mlir::LLVM::LLVMDialect::getTargetTripleAttrName(),
                   mlir::StringAttr::get(mlirContext, machine.getTargetTriple().str()));
  Collector errors(mlirContext);
  mlir::PassManager passes(mlirContext);
  passes.addPass(plan::createPlanToLLVM(
      {target.name, requiredFeatures(target, kernels), options.producer, options.launches}));
  if (mlir::failed(passes.run(*copy)))
    return inputError("the plan cannot be lowered: {}", errors.text);
  auto module = mlir::translateModuleToLLVMIR(*copy, context, "qplan");
  if (!module)
    return defectError("translation to LLVM IR failed: {}", errors.text);
  return module;
}

/// Links the bodies of the kernels that `module` declares.
llvm::Error linkKernels(llvm::Module &module, const KernelBitcode &kernels) {
  llvm::StringRef bytes(reinterpret_cast<const char *>(kernels.data), kernels.size);
  auto library = llvm::getLazyBitcodeModule(llvm::MemoryBufferRef(bytes, kernels.level),
                                            module.getContext());
  if (!library)
    return defectError("bitcode of kernel level {}: {}", kernels.level,
                       llvm::toString(library.takeError()));
  (*library)->setTargetTriple(module.getTargetTriple());
  (*library)->setDataLayout(module.getDataLayout());
  if (llvm::Linker::linkModules(module, std::move(*library), llvm::Linker::LinkOnlyNeeded))
    return defectError("kernels of level {} cannot be linked", kernels.level);
  for (const llvm::Function &function : module)
    if (function.isDeclaration() && function.getName().starts_with("qk_"))
      return defectError("kernel level {} lacks {}", kernels.level, function.getName().str());
  return llvm::Error::success();
}

/// Attributes of every function with a body.
void markForTarget(llvm::Function &function, const llvm::TargetMachine &machine,
                   const Target &target, const KernelBitcode &kernels) {
  // What the kernels' own compilation left behind would stop inlining.
  for (llvm::StringRef stale : {"target-cpu", "tune-cpu", "target-features",
                                "min-legal-vector-width", "prefer-vector-width",
                                "stack-protector-buffer-size"})
    function.removeFnAttr(stale);
  function.addFnAttr("target-cpu", machine.getTargetCPU());
  function.addFnAttr("target-features", machine.getTargetFeatureString());
  function.addFnAttr("tune-cpu", target.cpu);
  if (kernels.vectorBits == 512) {
    function.addFnAttr("prefer-vector-width", "512");
    function.addFnAttr("min-legal-vector-width", "512");
  }
  function.addFnAttr("no-builtins");
  function.addFnAttr(llvm::Attribute::NoUnwind);
  function.removeFnAttr(llvm::Attribute::UWTable);
}

/// Hides everything but the functions NAME_query and NAME_launches, and lets kernels vanish into their callers.
void hideInternals(llvm::Module &module, const std::string &name) {
  for (llvm::GlobalValue &value : module.global_values()) {
    if (value.isDeclaration() || value.getName() == name + "_query" ||
        value.getName() == name + "_launches" || value.getName().starts_with("llvm."))
      continue;
    value.setVisibility(llvm::GlobalValue::DefaultVisibility);
    value.setLinkage(llvm::GlobalValue::InternalLinkage);
    value.setDSOLocal(true);
  }
  for (llvm::Function &function : module)
    if (!function.isDeclaration() && function.getName().starts_with("qk_")) {
      function.removeFnAttr(llvm::Attribute::NoInline);
      function.addFnAttr(llvm::Attribute::AlwaysInline);
    }
}

} // namespace

llvm::Expected<std::unique_ptr<llvm::Module>>
buildModule(mlir::ModuleOp plan, const Target &target, const KernelBitcode &kernels,
            llvm::TargetMachine &machine, const EmitOptions &options, llvm::LLVMContext &context) {
  auto programs = plan.getOps<plan::ProgramOp>();
  if (!llvm::hasSingleElement(programs))
    return inputError("a module to emit has exactly one plan.program, found {}",
                      std::distance(programs.begin(), programs.end()));
  std::string name = (*programs.begin()).getSymName().str();
  auto module = lower(plan, target, kernels, machine, options, context);
  if (!module)
    return module.takeError();
  (*module)->setModuleIdentifier(name);
  (*module)->setSourceFileName(name);
  if (llvm::Error error = linkKernels(**module, kernels))
    return error;
  for (llvm::Function &function : **module)
    if (!function.isDeclaration())
      markForTarget(function, machine, target, kernels);
  hideInternals(**module, name);
  std::string broken;
  llvm::raw_string_ostream stream(broken);
  if (llvm::verifyModule(**module, &stream))
    return defectError("the emitted module is broken: {}", broken);
  return module;
}

} // namespace qplan
