//===- Quantization.h - checkpoints that are quantized already --*- C++ -*-===//
//
// Which tool quantized a Hugging Face folder, and the reader of its tensors. The
// description lies in config.json, or in a file beside it; byte order and names
// of each tool are in the file of its reader.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_IMPORT_QUANTIZED_QUANTIZATION_H
#define QPLAN_IR_IMPORT_QUANTIZED_QUANTIZATION_H

#include "ir/import/quantized/Rewriter.h"

#include <nlohmann/json.hpp>

namespace qplan {

/// What a folder says of how it was quantized.
struct QuantizationConfig {
  std::string method;  ///< "compressed-tensors", "gptq", ...; lower case
  nlohmann::json text; ///< the object with the settings
  std::string file;    ///< where it was found
};

/// The description in a config.json, if there is one. Errors: one that is no object or names no
/// method, a TensorRT-LLM checkpoint.
llvm::Expected<std::optional<QuantizationConfig>> findQuantization(const nlohmann::json &config,
                                                                   llvm::StringRef file);
/// The description in a file beside config.json, called `name` ("hf_quant_config.json",
/// "quantize_config.json", "quant_config.json").
llvm::Expected<QuantizationConfig> readSideConfig(nlohmann::json content, llvm::StringRef name,
                                                  llvm::StringRef file);

/// Puts weights in the place of a tool's tensors. Errors name the tensor or the setting; methods
/// that are not read are refused by name.
llvm::Error readQuantized(const QuantizationConfig &config, Rewriter &tensors);

/// One reader for each method; `config.method` is its own.
llvm::Error readCompressedTensors(const QuantizationConfig &config, Rewriter &tensors);
llvm::Error readModelOpt(const QuantizationConfig &config, Rewriter &tensors);
llvm::Error readAutoAwq(const QuantizationConfig &config, Rewriter &tensors);
llvm::Error readGptq(const QuantizationConfig &config, Rewriter &tensors);
llvm::Error readFineGrainedFp8(const QuantizationConfig &config, Rewriter &tensors);

/// Settings of a description, read with errors that name file and key.
class Settings {
public:
  Settings(const nlohmann::json &object, std::string where)
      : object(object), where(std::move(where)) {}
  bool has(const char *key) const;
  /// Defaults stand for absent and null keys.
  llvm::Expected<int64_t> integer(const char *key, int64_t preset) const;
  llvm::Expected<bool> flag(const char *key, bool preset) const;
  llvm::Expected<std::string> text(const char *key, llvm::StringRef preset) const;

private:
  const nlohmann::json *find(const char *key) const;
  const nlohmann::json &object;
  std::string where;
};

} // namespace qplan
#endif // QPLAN_IR_IMPORT_QUANTIZED_QUANTIZATION_H
