//===- EmitObject.cpp - objects and text ----------------------------------===//
//
// Second half of code generation: optimisation and machine code.
//
//===----------------------------------------------------------------------===//
#include "codegen/cpu/BuildModule.h"
#include "codegen/cpu/Parts.h"
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/Transforms/Utils/Cloning.h>
#include <mlir/IR/BuiltinOps.h>

namespace qplan {
namespace {

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
  // Text is of the whole module; code generation changes it.
  if (options.assembly || options.optimizedText) {
    auto whole = llvm::CloneModule(**module);
    optimize(*whole, **machine);
    if (options.optimizedText)
      model.llvmText = print(*whole);
    llvm::SmallVector<char, 0> text;
    if (options.assembly)
      if (llvm::Error error =
              generate(*whole, **machine, llvm::CodeGenFileType::AssemblyFile, text))
        return error;
    model.assembly.assign(text.begin(), text.end());
  }
  if (options.object || options.sharedObject) {
    auto object = generateObject(std::move(*module), std::move(*machine), target, **kernels,
                                 options.threads);
    if (!object)
      return object.takeError();
    model.object = std::move(*object);
  }
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
