//===- GgufCheckpoint.h - GGUF files as a checkpoint ------------*- C++ -*-===//
//
// Decides which files make up a split GGUF and which stored types this build
// can read; all others are refused by name.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_IMPORT_GGUFCHECKPOINT_H
#define QPLAN_IR_IMPORT_GGUFCHECKPOINT_H

#include "ir/import/Checkpoint.h"

namespace qplan {

/// Opens the GGUF `path`; for a split one, `path` is its first part and the others lie
/// beside it. Errors (InvalidInput) name the file, and the key or tensor at fault.
llvm::Expected<std::unique_ptr<Checkpoint>> openGguf(llvm::StringRef path);

} // namespace qplan
#endif // QPLAN_IR_IMPORT_GGUFCHECKPOINT_H
