//===- JsonText.h - JSON files from strangers -------------------*- C++ -*-===//
//
// Decides what JSON we accept from a checkpoint: a bounded size, bounded nesting
// (later code walks it recursively), an object at the top.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_IMPORT_JSONTEXT_H
#define QPLAN_IR_IMPORT_JSONTEXT_H

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <nlohmann/json.hpp>

namespace qplan {

/// Parses a JSON object; at most 64 MiB and 64 levels. `file` is for messages. Errors
/// (InvalidInput) name the file and the place.
llvm::Expected<nlohmann::json> parseJsonObject(llvm::StringRef text, llvm::StringRef file);
/// The same from a file.
llvm::Expected<nlohmann::json> readJsonFile(llvm::StringRef path);

} // namespace qplan
#endif // QPLAN_IR_IMPORT_JSONTEXT_H
