//===- Measure.h - scoring and timing plans ----------------------*- C++ -*-===//
//
// What `qplan eval` and `qplan bench` measure, for commands that show it in other ways.
// Results are the JSON objects that those commands print under --json.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_MEASURE_H
#define QPLAN_TOOLS_QPLAN_MEASURE_H

#include <cstdint>
#include <llvm/Support/Error.h>
#include <nlohmann/json.hpp>
#include <string>

namespace qplan {

/// What to score: options of `qplan eval` by their names there.
struct EvalArguments {
  std::string plan, text, ids;
  std::string reference; ///< empty: no distance
  int64_t window = 512;  ///< tokens
  int64_t windows = 0;   ///< 0: all
  int threads = 0;       ///< 0: the cores allowed
  bool json = false;     ///< shows no progress
};

/// Perplexity of the plan, and its distance from the reference. Errors: wrong usage (no
/// text, a window beyond the context), input (a short text, another vocabulary, logits that
/// are not finite).
llvm::Expected<nlohmann::ordered_json> evaluatePlan(const EvalArguments &arguments);

/// What to time: options of `qplan bench` by their names there.
struct BenchArguments {
  std::string plan;
  int64_t prefill = 512, decode = 128, batch = 1, depth = 0, repetitions = 3;
  int threads = 0;
  bool json = false; ///< shows no progress
};

/// Speed and memory of the plan. Wrong usage where the tests exceed its context.
llvm::Expected<nlohmann::ordered_json> benchPlan(const BenchArguments &arguments);

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_MEASURE_H
