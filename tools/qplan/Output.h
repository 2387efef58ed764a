//===- Output.h - results on stdout -----------------------------*- C++ -*-===//
//
// Stdout holds results and nothing else: text, or one JSON object under --json. A
// full disk or a closed pipe is an error like any other.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_OUTPUT_H
#define QPLAN_TOOLS_QPLAN_OUTPUT_H

#include <chrono>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <nlohmann/json.hpp>
#include <string>

namespace qplan {

/// Writes `text` to stdout; what failed is kept for flushOutput.
void print(llvm::StringRef text);

/// As print, and sends it to its reader at once. False when nobody reads any more.
bool printNow(llvm::StringRef text);

/// Writes `object` as one indented JSON object and a newline. Text that is no UTF-8 is mended.
void printJson(const nlohmann::ordered_json &object);

/// Sends everything to its reader. Machine failure when any write failed.
llvm::Error flushOutput();

/// Writes `bytes` to `path` through a file aside that is renamed, so that no reader sees
/// half of it. Machine failure naming the path.
llvm::Error writeFileWhole(const std::string &path, llvm::StringRef bytes);

/// The contents of a text file, or of stdin for "-". Input error when it is missing or a
/// folder.
llvm::Expected<std::string> readTextFile(const std::string &path);

/// "1.23 GB", "45.6 MB", "789 bytes" (powers of ten).
std::string sizeText(uint64_t bytes);

/// Seconds since construction.
class Stopwatch {
public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

private:
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_OUTPUT_H
