//===- EmitObject.cpp - objects and text ----------------------------------===//
//
// Second half of code generation: optimisation and machine code.
//
//===----------------------------------------------------------------------===//
#include "codegen/cpu/BuildModule.h"
#include "ir/Failure.h"
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/Transforms/Utils/Cloning.h>
#include <mlir/IR/BuiltinOps.h>

namespace qplan {
namespace {

void optimize(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3).run(module, modules);
}

llvm::Error generate(llvm::Module &module, llvm::TargetMachine &machine,
                     llvm::CodeGenFileType type, llvm::SmallVectorImpl<char> &bytes) {
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, type, /*DisableVerify=*/true))
    return defectError("LLVM's back end for {} cannot write this kind of file",
                       machine.getTargetTriple().str());
  passes.run(module);
  return llvm::Error::success();
}

std::string print(const llvm::Module &module) {
  std::string text;
  llvm::raw_string_ostream(text) << module;
  return text;
}

} // namespace

llvm::Expected<EmittedModel> emitModel(mlir::ModuleOp plan, const Target &target,
                                       const EmitOptions &options) {
  auto kernels = chooseKernels(target, options.kernels);
  if (!kernels)
    return kernels.takeError();
  auto machine = createTargetMachine(target, **kernels);
  if (!machine)
    return machine.takeError();
  llvm::LLVMContext context;
  auto module = buildModule(plan, target, **kernels, **machine, options, context);
  if (!module)
    return module.takeError();
  EmittedModel model;
  model.name = (*module)->getModuleIdentifier();
  model.target = target.name;
  model.features = requiredFeatures(target, **kernels);
  model.kernelLevel = (*kernels)->level;
  if (options.llvmText)
    model.llvmText = print(**module);
  if (!options.object && !options.sharedObject && !options.assembly && !options.optimizedText)
    return model;
  optimize(**module, **machine);
  if (options.optimizedText)
    model.llvmText = print(**module);
  // Code generation changes the module, so text is made from a copy of it.
  if (options.assembly) {
    llvm::SmallVector<char, 0> text;
    if (llvm::Error error = generate(*llvm::CloneModule(**module), **machine,
                                     llvm::CodeGenFileType::AssemblyFile, text))
      return error;
    model.assembly.assign(text.begin(), text.end());
  }
  if (options.object || options.sharedObject)
    if (llvm::Error error =
            generate(**module, **machine, llvm::CodeGenFileType::ObjectFile, model.object))
      return error;
  if (options.sharedObject) {
    auto linked = linkSharedObject(model.object, model.name, target);
    if (!linked)
      return linked.takeError();
    model.sharedObject = std::move(*linked);
  }
  if (!options.object)
    model.object.clear();
  return model;
}

} // namespace qplan
