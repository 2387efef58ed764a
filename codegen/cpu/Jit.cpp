//===- Jit.cpp - models in this process -----------------------------------===//
//
// Runs the very object that emitModel makes, so that calibration sees what a plan
// would compute.
//
//===----------------------------------------------------------------------===//
#include "codegen/cpu/Cpu.h"
#include "ir/Failure.h"
#include <llvm/ExecutionEngine/Orc/ExecutionUtils.h>
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/TargetParser/Host.h>
#include <mlir/IR/BuiltinOps.h>

namespace qplan {

JitModel::~JitModel() = default;

namespace {

class OrcModel final : public JitModel {
public:
  OrcModel(std::unique_ptr<llvm::orc::LLJIT> jit, const qplan_model_v1 *model, Launches launches)
      : jit(std::move(jit)) {
    description = model;
    range = launches;
  }

private:
  std::unique_ptr<llvm::orc::LLJIT> jit;
};

/// Refuses code that this machine cannot run.
llvm::Error checkHost(const Target &target, llvm::StringRef features) {
  auto host = parseTarget("cpu");
  if (!host)
    return host.takeError();
  if (host->arch != target.arch)
    return machineError("code for {} cannot run on this machine ({})", target.name, host->name);
  llvm::SmallVector<llvm::StringRef> names;
  features.split(names, ',', -1, /*KeepEmpty=*/false);
  for (llvm::StringRef name : names)
    if (!host->hasFeature(name))
      return machineError("code for {} needs {}, which this machine ({}) lacks", target.name,
                          name.str(), host->name);
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<JitModel>> load(const EmittedModel &emitted,
                                               const Target &target, bool launches) {
  llvm::orc::JITTargetMachineBuilder builder{llvm::Triple(target.triple)};
  auto jit = llvm::orc::LLJITBuilder().setJITTargetMachineBuilder(std::move(builder)).create();
  if (!jit)
    return jit.takeError();
  auto process = llvm::orc::DynamicLibrarySearchGenerator::GetForCurrentProcess(
      (*jit)->getDataLayout().getGlobalPrefix());
  if (!process)
    return process.takeError();
  (*jit)->getMainJITDylib().addGenerator(std::move(*process));
  llvm::StringRef bytes(emitted.object.data(), emitted.object.size());
  if (llvm::Error error =
          (*jit)->addObjectFile(llvm::MemoryBuffer::getMemBufferCopy(bytes, emitted.name)))
    return error;
  auto query = (*jit)->lookup(emitted.name + "_query");
  if (!query)
    return query.takeError();
  const qplan_model_v1 *model = query->toPtr<qplan_model_query_fn>()(QPLAN_ABI_VERSION);
  JitModel::Launches range = nullptr;
  if (launches) {
    auto found = (*jit)->lookup(emitted.name + "_launches");
    if (!found)
      return found.takeError();
    range = found->toPtr<JitModel::Launches>();
  }
  return std::make_unique<OrcModel>(std::move(*jit), model, range);
}

} // namespace

llvm::Expected<std::unique_ptr<JitModel>> jitModel(mlir::ModuleOp plan, const Target &target,
                                                   const EmitOptions &options) {
  EmitOptions objectOnly = options;
  objectOnly.object = true;
  objectOnly.sharedObject = objectOnly.assembly = false;
  auto emitted = emitModel(plan, target, objectOnly);
  if (!emitted)
    return emitted.takeError();
  if (llvm::Error error = checkHost(target, emitted->features))
    return error;
  auto model = load(*emitted, target, options.launches);
  if (!model)
    return defectError("loading the compiled model failed: {}",
                       llvm::toString(model.takeError()));
  return model;
}

} // namespace qplan
