//===- JsonText.h - JSON files that may be damaged ---------------*- C++ -*-===//
//
// Statistics and fronts are JSON written by us and read back by anybody's hand. This
// file decides how far such text is trusted: nothing is thrown, nesting is bounded
// (destroying a tree recurses), and what a message repeats of a file is short and printable.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_JSONTEXT_H
#define QPLAN_PASSES_SEARCH_JSONTEXT_H

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <nlohmann/json.hpp>
#include <string>

namespace qplan {

/// Parses `text`; `file` and `what` ("statistics file") are used in messages. Errors (invalid
/// input): no JSON, cut off, nested deeper than 16.
llvm::Expected<nlohmann::json> parseJsonText(llvm::StringRef text, llvm::StringRef file,
                                             llvm::StringRef what);

/// At most 80 characters of hostile text, unprintable ones as `?`.
std::string shownText(llvm::StringRef text);

} // namespace qplan
#endif // QPLAN_PASSES_SEARCH_JSONTEXT_H
