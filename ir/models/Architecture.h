//===- Architecture.h - what an architecture's file must provide -*- C++ -*-===//
//
// One architecture is one file in this folder and one name in its CMake list: the
// names it goes by, how its configuration is read, which tensors it has, and the
// graph it builds. Everything else in the compiler is the same for all of them.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_MODELS_ARCHITECTURE_H
#define QPLAN_IR_MODELS_ARCHITECTURE_H

#include "ir/models/ModelBuilder.h"

#include <llvm/ADT/ArrayRef.h>

namespace qplan {

/// How a name of Hugging Face's spelling is found in a GGUF file. `{}` stands for
/// a layer's number; `permuted` tells that the converter to GGUF reordered the
/// rows of each head (checkpoint-formats: RoPE row permutation).
struct GgufName {
  llvm::StringLiteral hf;
  llvm::StringLiteral gguf;
  enum Heads { None, Query, Key } permuted = None;
};

struct Architecture {
  llvm::StringLiteral name;            ///< name in tables and errors: "llama"
  llvm::ArrayRef<llvm::StringLiteral> modelTypes; ///< `model_type` values of config.json
  llvm::ArrayRef<llvm::StringLiteral> ggufNames;  ///< `general.architecture` values, may be empty
  llvm::StringLiteral summary;         ///< one line for `qplan models`
  /// Writes the graph; every error names the option or tensor at fault.
  llvm::Error (*build)(ModelBuilder &builder);
  /// Names that differ from the usual GGUF ones (ModelBuilder.cpp), searched first.
  llvm::ArrayRef<GgufName> ggufTensors = {};
  /// Query and key rows are in adjacent-pair order in GGUF files.
  bool ggufPermutesHeads = false;
};

/// All architectures, by name.
llvm::ArrayRef<const Architecture *> architectures();

/// Imports `checkpoint` as a module with one function @forward. Errors: unknown
/// architecture (with the nearest names), missing or misshapen tensors, options
/// that no graph of ours expresses.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> importModel(mlir::MLIRContext &context,
                                                              const Checkpoint &checkpoint,
                                                              const ImportOptions &options);

} // namespace qplan

#endif // QPLAN_IR_MODELS_ARCHITECTURE_H
