//===- TextFile.h - small files read and written whole ----------*- C++ -*-===//
//
// Recipes and statistics are text files that must never be seen half-written: they
// are written aside, synced, and renamed.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_TEXTFILE_H
#define QPLAN_PASSES_SEARCH_TEXTFILE_H

#include <cstdint>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <llvm/Support/MemoryBuffer.h>
#include <memory>

namespace qplan {

/// Reads a regular file of at most `limit` bytes. `what` names its kind in messages
/// ("recipe"). A missing, unreadable or larger file is invalid input.
llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>>
readTextFile(llvm::StringRef path, llvm::StringRef what, uint64_t limit);

/// Writes `text` beside `path`, syncs, renames. A failure is a machine failure that
/// names the path; nothing is left behind.
llvm::Error writeTextFile(llvm::StringRef path, llvm::StringRef what, llvm::StringRef text);

} // namespace qplan
#endif // QPLAN_PASSES_SEARCH_TEXTFILE_H
