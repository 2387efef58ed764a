//===- Config.h - a model's configuration, read with errors ------*- C++ -*-===//
//
// The hyper-parameters of a checkpoint as one JSON object in Hugging Face's
// spelling: config.json itself, or the metadata of a GGUF file under those names.
// Getters record the first problem instead of failing at once, so that an
// architecture's file reads like a table.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_MODELS_CONFIG_H
#define QPLAN_IR_MODELS_CONFIG_H

#include <llvm/Support/Error.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace qplan {

class Gguf;

class Config {
public:
  /// `origin` names the file in messages.
  Config(nlohmann::json values, std::string origin)
      : values(std::move(values)), origin(std::move(origin)) {}

  bool has(llvm::StringRef key) const;
  /// A whole number in [1, 2^31), or `fallback`; absent without one is an error.
  int64_t integer(llvm::StringRef key, std::optional<int64_t> fallback = std::nullopt);
  /// A number that f32 can hold, or `fallback`; absent without one is an error.
  double real(llvm::StringRef key, std::optional<double> fallback = std::nullopt);
  /// The same, above 0 (or `fallback`, whatever that is).
  double positive(llvm::StringRef key, std::optional<double> fallback = std::nullopt);
  /// The same, not below 0.
  double notNegative(llvm::StringRef key, std::optional<double> fallback = std::nullopt);
  bool flag(llvm::StringRef key, bool fallback);
  std::string text(llvm::StringRef key, std::optional<std::string> fallback = std::nullopt);
  /// The i-th entry of a list of numbers, flags or strings, if there is such a list.
  std::optional<nlohmann::json> entry(llvm::StringRef key, size_t index) const;
  /// The object under `key`; empty when absent or null.
  Config object(llvm::StringRef key) const;

  /// Records that `key` asks for something no graph of ours expresses.
  void refuse(llvm::StringRef key, llvm::StringRef expected);
  void note(llvm::Error error);
  /// Whether no problem was met so far. A loop whose length comes from the file must ask,
  /// or a count of 10^9 keeps it busy after its first missing tensor.
  bool isGood() const { return firstProblem.empty(); }
  /// The first problem met, or success. Leaves none behind.
  llvm::Error takeError();

  const nlohmann::json &json() const { return values; }
  const std::string &file() const { return origin; }

private:
  const nlohmann::json *find(llvm::StringRef key) const;
  void problem(llvm::StringRef key, llvm::StringRef expected);

  nlohmann::json values;
  std::string origin;
  std::string firstProblem;
};

/// Rotation frequencies of positional encoding.
struct Rope {
  std::vector<double> inverseFrequency; ///< [rotated columns / 2], radians a position
  double attentionFactor = 1.0;         ///< multiplies cos and sin (YaRN)
};

/// Reads `rope_parameters` (transformers 5), or `rope_theta`, `rope_scaling`
/// and `rope_freq_factors` (transformers 4, GGUF), for `rotated` columns a head.
/// Types: default, linear, llama3, yarn.
Rope readRope(Config &config, int64_t rotated);

} // namespace qplan

#endif // QPLAN_IR_MODELS_CONFIG_H
