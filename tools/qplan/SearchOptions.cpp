//===- SearchOptions.cpp - options that compile and search share ----------===//

#include "tools/qplan/SearchOptions.h"

namespace qplan {

llvm::Expected<Budgets> BudgetArguments::resolve() const {
  Budgets budgets;
  auto set = [](std::optional<double> &target, double value) {
    if (value > 0)
      target = value;
  };
  set(budgets.effectiveBits, effectiveBits);
  set(budgets.modeloptBits, modeloptBits);
  set(budgets.decodeMs, decodeMs);
  set(budgets.maxKl, maxKl);
  auto setBytes = [](std::optional<int64_t> &target, const char *option,
                     const std::string &text) -> llvm::Error {
    if (text.empty())
      return llvm::Error::success();
    auto bytes = parseByteCount(option, text);
    if (!bytes)
      return bytes.takeError();
    target = *bytes;
    return llvm::Error::success();
  };
  if (auto error = setBytes(budgets.weightBytes, "--weight-bytes", weightBytes))
    return std::move(error);
  if (auto error = setBytes(budgets.memoryBytes, "--memory-bytes", memoryBytes))
    return std::move(error);
  return budgets;
}

void addSearchOptions(CLI::App &command, CompileOptions &o, const char *group) {
  command
      .add_option("--auto", o.automatic,
                  "Search among these treatments (T,T,...), or a list of ours: all (every size "
                  "that the target runs), fast (integer blocks with integer kernels)")
      ->type_name("T,T,...")
      ->group(group);
  command
      .add_option("--activations", o.activations,
                  "Activations that the search may use: 16, 8 or any")
      ->type_name("16|8|any")
      ->check(CLI::IsMember({"16", "8", "any"}))
      ->group(group);
  command
      .add_option("--score", o.score,
                  "How candidates are judged: trace (one is measured at each group of sites, the "
                  "others follow by their errors), kl (each is measured at each group)")
      ->type_name("KIND")
      ->check(CLI::IsMember({"trace", "kl"}))
      ->group(group);
  command.add_option("--group", o.groups, "Sites that share a treatment: qkv,gate_up,experts")
      ->type_name("GROUPS")
      ->group(group);
  command
      .add_flag("--single-experts", o.singleExperts,
                "Treat every expert of a mixture by itself, not every bank of them")
      ->group(group);
  command
      .add_option("--rotate", o.rotate,
                  "Hadamard rotations that spread outliers before anything is measured or rounded: "
                  "residual, values, down, joined with +; or all")
      ->type_name("WHAT")
      ->group(group);
  command
      .add_option("--exchange", o.exchange,
                  "Measure the chosen mix on text of its own and improve it in so many rounds "
                  "(default: 1 where a plan is compiled; 0: only measure)")
      ->type_name("ROUNDS")
      ->check(CLI::Range(0u, 1000u))
      ->group(group);
  command
      .add_option("--for-export", o.exportKind,
                  "Choose only what an engine can hold: compressed-tensors, gguf, modelopt, "
                  "tensorrt-llm, vllm")
      ->type_name("KIND")
      ->group(group);
  command.add_option("--sites", o.sites, "Sites in scope: layers[+lm_head][+embedding]")
      ->type_name("SITES")
      ->group(group);
}

void addBudgetOptions(CLI::App &command, BudgetArguments &budgets) {
  const char *group = "Budgets of the search (any mix)";
  command
      .add_option("--effective-bits", budgets.effectiveBits, "Bits stored for each weight in scope")
      ->type_name("B")
      ->check(CLI::PositiveNumber)
      ->group(group);
  command
      .add_option("--effective-bits-modelopt", budgets.modeloptBits,
                  "Bits for each weight, counted as ModelOpt counts")
      ->type_name("B")
      ->check(CLI::PositiveNumber)
      ->group(group);
  command
      .add_option("--weight-bytes", budgets.weightBytes,
                  "Bytes stored for the weights in scope: 300M, 1.5Gi, ...")
      ->type_name("BYTES")
      ->group(group);
  command
      .add_option("--memory-bytes", budgets.memoryBytes,
                  "Bytes of those weights and of the cache of one sequence of --context tokens")
      ->type_name("BYTES")
      ->group(group);
  command
      .add_option("--decode-ms", budgets.decodeMs,
                  "Milliseconds of a decode step, predicted from kernels timed on this machine")
      ->type_name("MS")
      ->check(CLI::PositiveNumber)
      ->group(group);
  command
      .add_option("--max-kl", budgets.maxKl,
                  "Predicted KL divergence, in nats; the smallest plan is then chosen")
      ->type_name("KL")
      ->check(CLI::PositiveNumber)
      ->group(group);
}

void addCacheOptions(CLI::App &command, CompileOptions &o, const char *group) {
  command
      .add_option("--kv-cache", o.kvCache,
                  "Format of cached keys and values: f32, f16, ..., or auto: chosen with the "
                  "treatments")
      ->type_name("FORMAT")
      ->group(group);
  command
      .add_option("--context", o.context,
                  "Most tokens of a sequence (default: the model's, at most 4096)")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 30))
      ->group(group);
}

void addCalibrationOptions(CLI::App &command, CompileOptions &o) {
  const char *group = "Calibration";
  command.add_option("--calib", o.calibration, "Text file to calibrate with")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--calib-samples", o.samples, "Samples of the text")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 24))
      ->group(group);
  command.add_option("--calib-length", o.length, "Tokens of a sample")
      ->type_name("N")
      ->check(CLI::Range(int64_t(2), int64_t(1) << 20))
      ->group(group);
  command.add_option("--statistics", o.statistics, "Statistics file: read if it fits, else made")
      ->type_name("FILE")
      ->group(group);
}

} // namespace qplan
