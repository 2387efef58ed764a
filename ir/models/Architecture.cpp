//===- Architecture.cpp - the list of architectures and the import --------===//

#include "ir/models/Architecture.h"

#include "ir/Failure.h"
#include "ir/import/Gguf.h"

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringExtras.h>

using namespace qplan;

#define QPLAN_MODEL(NAME) extern const Architecture architecture##NAME;
#include "ir/models/Models.inc"
#undef QPLAN_MODEL

llvm::ArrayRef<const Architecture *> qplan::architectures() {
  static const Architecture *const all[] = {
#define QPLAN_MODEL(NAME) &architecture##NAME,
#include "ir/models/Models.inc"
#undef QPLAN_MODEL
  };
  return all;
}

namespace {

/// The known names nearest to `name`, for an error.
std::string nearest(llvm::StringRef name, llvm::ArrayRef<llvm::StringRef> known) {
  llvm::SmallVector<std::pair<unsigned, llvm::StringRef>> ranked;
  for (llvm::StringRef candidate : known)
    ranked.push_back({name.edit_distance(candidate), candidate});
  llvm::sort(ranked);
  llvm::SmallVector<llvm::StringRef> best;
  for (auto &[distance, candidate] : ranked)
    if (best.size() < 3)
      best.push_back(candidate);
  return llvm::join(best, ", ");
}

llvm::Expected<const Architecture *> findArchitecture(const Checkpoint &checkpoint,
                                                      const Config &config) {
  Config reader = config;
  std::string type = reader.text("model_type");
  if (auto error = reader.takeError())
    return std::move(error);
  bool gguf = checkpoint.gguf() != nullptr;
  bool routed = gguf && type == "llama" && reader.has("num_local_experts");
  llvm::SmallVector<llvm::StringRef> known;
  for (const Architecture *architecture : architectures()) {
    if (routed ? architecture->name == "mixtral"
               : llvm::is_contained(gguf ? architecture->ggufNames : architecture->modelTypes,
                                    llvm::StringRef(type)))
      return architecture;
    llvm::append_range(known, gguf ? architecture->ggufNames : architecture->modelTypes);
  }
  return inputError("{}: unknown architecture `{}` (model_type); the nearest known ones are {}; "
                    "`qplan models` lists all",
                    config.file(), type, nearest(type, known));
}

} // namespace

llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
qplan::importModel(mlir::MLIRContext &context, const Checkpoint &checkpoint,
                   const ImportOptions &options) {
  auto config = readConfig(checkpoint);
  if (!config)
    return config.takeError();
  auto architecture = findArchitecture(checkpoint, *config);
  if (!architecture)
    return architecture.takeError();
  ModelBuilder builder(context, checkpoint, **architecture, std::move(*config), options);
  if (auto error = (*architecture)->build(builder))
    return std::move(error);
  return builder.take();
}
