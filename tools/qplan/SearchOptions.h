//===- SearchOptions.h - options that compile and search share --*- C++ -*-===//
//
// What is chosen among, within which budgets, and with which calibration: the same
// options, with the same meaning, wherever a search is run.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_SEARCHOPTIONS_H
#define QPLAN_TOOLS_QPLAN_SEARCHOPTIONS_H

#include "codegen/driver/Compiler.h"

#include <CLI/CLI.hpp>

namespace qplan {

/// Budgets as they were typed; 0 and empty text are absent.
struct BudgetArguments {
  double effectiveBits = 0, modeloptBits = 0, decodeMs = 0, maxKl = 0;
  std::string weightBytes, memoryBytes;

  /// Errors: wrong usage.
  llvm::Expected<Budgets> resolve() const;
};

/// --auto, --activations, --score, --group, --single-experts, --rotate, --exchange, --for-export,
/// --sites, into `options`; `group` is their heading.
void addSearchOptions(CLI::App &command, CompileOptions &options, const char *group);
/// --effective-bits, --effective-bits-modelopt, --weight-bytes, --memory-bytes, --decode-ms,
/// --max-kl
void addBudgetOptions(CLI::App &command, BudgetArguments &budgets);
/// --kv-cache, --context, under the heading `group`.
void addCacheOptions(CLI::App &command, CompileOptions &options, const char *group);
/// --calib, --calib-samples, --calib-length, --statistics
void addCalibrationOptions(CLI::App &command, CompileOptions &options);

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_SEARCHOPTIONS_H
