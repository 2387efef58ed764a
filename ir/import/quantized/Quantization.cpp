//===- Quantization.cpp - which tool quantized a checkpoint ---------------===//

#include "ir/import/quantized/Quantization.h"
#include "ir/Failure.h"

namespace qplan {

using nlohmann::json;

namespace {

struct Reader {
  const char *method;
  llvm::Error (*read)(const QuantizationConfig &, Rewriter &);
};
constexpr Reader readers[] = {
    {"compressed-tensors", readCompressedTensors}, {"modelopt", readModelOpt},
    {"awq", readAutoAwq},                          {"gptq", readGptq},
    {"fp8", readFineGrainedFp8},
};

/// The first string member of `object` among `keys`, or "".
std::string textOf(const json &object, std::initializer_list<const char *> keys) {
  for (const char *key : keys)
    if (auto found = object.find(key); found != object.end() && found->is_string())
      return found->get<std::string>();
  return {};
}

bool isSet(const json &object, const char *key) {
  auto found = object.find(key);
  return found != object.end() && !found->is_null();
}

llvm::Expected<QuantizationConfig> describe(const json &object, llvm::StringRef file) {
  if (!object.is_object())
    return inputError("{}: the description of the quantization is a JSON {}; an object {{...}} is "
                      "expected",
                      file.str(), object.type_name());
  std::string method = textOf(object, {"quant_method"});
  if (method.empty() && isSet(object, "quant_algo"))
    method = "modelopt";
  // Early bitsandbytes checkpoints do not name themselves.
  if (method.empty() && (object.contains("load_in_4bit") || object.contains("load_in_8bit")))
    method = "bitsandbytes";
  if (method.empty())
    return inputError("{}: the checkpoint is quantized by an unnamed method; `quant_method` is "
                      "expected to name it",
                      file.str());
  return QuantizationConfig{llvm::StringRef(method).lower(), object, file.str()};
}

} // namespace

llvm::Expected<std::optional<QuantizationConfig>> findQuantization(const json &config,
                                                                   llvm::StringRef file) {
  const json *found = nullptr;
  for (const char *key : {"compression_config", "quantization_config"})
    if (isSet(config, key))
      found = &config[key];
  if (!found && isSet(config, "text_config") && config["text_config"].is_object() &&
      isSet(config["text_config"], "quantization_config"))
    found = &config["text_config"]["quantization_config"];
  if (found) {
    auto description = describe(*found, file);
    if (!description)
      return description.takeError();
    return std::optional(std::move(*description));
  }
  if (isSet(config, "architecture") && isSet(config, "mapping"))
    return inputError("{}: is a TensorRT-LLM checkpoint, which this build cannot import; give the "
                      "Hugging Face checkpoint it was made from",
                      file.str());
  return std::optional<QuantizationConfig>();
}

llvm::Expected<QuantizationConfig> readSideConfig(json content, llvm::StringRef name,
                                                  llvm::StringRef file) {
  if (auto inner = content.find("quantization"); inner != content.end()) {
    json object = *inner; // the nested form of ModelOpt
    content = std::move(object);
  }
  // The file's name says whose it is when it does not itself.
  if (content.is_object() && textOf(content, {"quant_method"}).empty())
    content["quant_method"] = name == "quantize_config.json" ? "gptq"
                              : name == "quant_config.json"  ? "awq"
                                                             : "modelopt";
  return describe(content, file);
}

llvm::Error readQuantized(const QuantizationConfig &config, Rewriter &tensors) {
  std::string known;
  for (const Reader &reader : readers) {
    if (config.method == reader.method)
      return reader.read(config, tensors);
    known += (known.empty() ? "" : ", ") + std::string(reader.method);
  }
  return inputError("{}: the checkpoint is already quantized with '{}', which this build cannot "
                    "import (it reads {}); give the original checkpoint (F32, F16 or BF16) or a "
                    "GGUF file",
                    config.file, config.method, known);
}

//===----------------------------------------------------------------------===//
// Settings
//===----------------------------------------------------------------------===//

const json *Settings::find(const char *key) const {
  if (!object.is_object())
    return nullptr;
  auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

bool Settings::has(const char *key) const { return find(key) != nullptr; }

static std::string shown(const json &value) { return value.dump(-1, ' ', true).substr(0, 80); }

llvm::Expected<int64_t> Settings::integer(const char *key, int64_t preset) const {
  const json *value = find(key);
  if (!value)
    return preset;
  if (!value->is_number_integer() || value->get<double>() < -1 || value->get<double>() > 1 << 30)
    return inputError("{}: `{}` is {}; a whole number is expected", where, key, shown(*value));
  return value->get<int64_t>();
}

llvm::Expected<bool> Settings::flag(const char *key, bool preset) const {
  const json *value = find(key);
  if (!value)
    return preset;
  if (!value->is_boolean())
    return inputError("{}: `{}` is {}; true or false is expected", where, key, shown(*value));
  return value->get<bool>();
}

llvm::Expected<std::string> Settings::text(const char *key, llvm::StringRef preset) const {
  const json *value = find(key);
  if (!value)
    return preset.str();
  if (!value->is_string())
    return inputError("{}: `{}` is {}; a string is expected", where, key, shown(*value));
  return value->get<std::string>();
}

} // namespace qplan
