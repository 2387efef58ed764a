//===- Parts.cpp - machine code on several threads ------------------------===//
//
// See Parts.h. PlanToLLVM.cpp names the functions of a specialised kernel NAME.kI.KERNEL...;
// only NAME.kI.KERNEL.run is called from elsewhere.
//
//===----------------------------------------------------------------------===//
#include "codegen/cpu/Parts.h"
#include "codegen/cpu/InlineKernels.h"
#include "ir/Failure.h"
#include "ir/ParallelFor.h"
#include <llvm/Bitcode/BitcodeReader.h>
#include <llvm/Bitcode/BitcodeWriter.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Transforms/IPO/GlobalDCE.h>

namespace qplan {

/// Specialised kernels of a part: enough that reading the module for each part costs little.
static constexpr int64_t partKernels = 4;

void runModulePasses(llvm::Module &module, llvm::TargetMachine *machine,
                     llvm::function_ref<void(llvm::PassBuilder &, llvm::ModulePassManager &)> add) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  llvm::ModulePassManager passes;
  add(builder, passes);
  passes.run(module, modules);
}

void optimize(llvm::Module &module, llvm::TargetMachine &machine) {
  runModulePasses(module, &machine, [](auto &builder, auto &passes) {
    passes.addPass(llvm::GlobalDCEPass()); // of kernels that another part has
    addKernelInlining(passes);
    passes.addPass(builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3));
  });
}

llvm::Error generate(llvm::Module &module, llvm::TargetMachine &machine, llvm::CodeGenFileType type,
                     llvm::SmallVectorImpl<char> &bytes) {
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, type, /*DisableVerify=*/true))
    return defectError("LLVM's back end for {} cannot write this kind of file",
                       machine.getTargetTriple().str());
  passes.run(module);
  return llvm::Error::success();
}

/// The number of the specialised kernel that `function` belongs to; -1: to none.
static int64_t kernelNumber(const llvm::Function &function) {
  llvm::StringRef rest = function.getName();
  int64_t number;
  if (!rest.consume_front(function.getParent()->getModuleIdentifier() + ".k") ||
      rest.consumeInteger(10, number) || !rest.starts_with("."))
    return -1;
  return number;
}

/// The part of a kernel; the last one is that of what calls them.
static int64_t partOf(const llvm::Function &function, int64_t parts) {
  const int64_t number = kernelNumber(function);
  return number < 0 ? parts - 1 : number / partKernels;
}

/// Leaves out of `module` the bodies of other parts than `part`.
static void keepPart(llvm::Module &module, int64_t part, int64_t parts) {
  for (llvm::Function &function : module) {
    // What kernels share is copied; what is not called goes away.
    if (function.isDeclaration() || (function.hasInternalLinkage() && kernelNumber(function) < 0))
      continue;
    if (partOf(function, parts) == part)
      continue;
    function.deleteBody();
    function.setVisibility(llvm::GlobalValue::HiddenVisibility);
  }
}

/// Optimises a module and makes its object.
static llvm::Expected<llvm::SmallVector<char, 0>> objectOf(llvm::Module &module,
                                                           llvm::TargetMachine &machine) {
  optimize(module, machine);
  llvm::SmallVector<char, 0> object;
  if (llvm::Error error = generate(module, machine, llvm::CodeGenFileType::ObjectFile, object))
    return std::move(error);
  return object;
}

static llvm::Expected<llvm::SmallVector<char, 0>> generatePart(llvm::MemoryBufferRef bitcode,
                                                               int64_t part, int64_t parts,
                                                               const Target &target,
                                                               const KernelBitcode &kernels) {
  auto machine = createTargetMachine(target, kernels);
  if (!machine)
    return machine.takeError();
  llvm::LLVMContext context;
  auto module = llvm::parseBitcodeFile(bitcode, context);
  if (!module)
    return defectError("the module cannot be read again: {}", llvm::toString(module.takeError()));
  keepPart(**module, part, parts);
  return objectOf(**module, **machine);
}

llvm::Expected<llvm::SmallVector<char, 0>>
generateObject(std::unique_ptr<llvm::Module> module, std::unique_ptr<llvm::TargetMachine> machine,
               const Target &target, const KernelBitcode &kernels, unsigned threads) {
  int64_t count = 0;
  for (const llvm::Function &function : *module)
    count = std::max(count, kernelNumber(function) + 1);
  if (count <= partKernels)
    return objectOf(*module, *machine);
  const int64_t parts = (count + partKernels - 1) / partKernels + 1;
  const std::string name = module->getModuleIdentifier();
  for (llvm::Function &function : *module)
    if (kernelNumber(function) >= 0 && function.getName().ends_with(".run")) {
      function.setLinkage(llvm::GlobalValue::ExternalLinkage);
      function.setVisibility(llvm::GlobalValue::HiddenVisibility);
    }
  llvm::SmallVector<char, 0> bitcode;
  llvm::raw_svector_ostream stream(bitcode);
  llvm::WriteBitcodeToFile(*module, stream);
  module.reset();

  std::vector<llvm::SmallVector<char, 0>> objects(parts);
  std::vector<std::string> errors(parts);
  parallelFor(parts, threads, [&](int64_t part) {
    auto object =
        generatePart({{bitcode.data(), bitcode.size()}, name}, part, parts, target, kernels);
    if (object)
      objects[part] = std::move(*object);
    else
      errors[part] = llvm::toString(object.takeError());
  });
  for (const std::string &error : errors)
    if (!error.empty())
      return defectError("{}", error);
  return mergeObjects(objects, target);
}

} // namespace qplan
