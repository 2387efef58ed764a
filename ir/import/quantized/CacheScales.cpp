//===- CacheScales.cpp - scales of keys and values in checkpoints ---------===//
//
// compressed-tensors keeps them as self_attn.k_scale and v_scale (earlier as output_scale
// of the projection), [1] or [heads, 1, 1]; ModelOpt as self_attn.k_proj.k_scale and
// v_proj.v_scale, []. Its affine caches (k_bias) and NVFP4 caches are none of ours.
//
//===----------------------------------------------------------------------===//

#include "ir/import/quantized/CacheScales.h"
#include "ir/Failure.h"
#include "ir/codecs/Codec.h"

#include <cmath>

namespace qplan {

namespace {

using nlohmann::json;

/// A name that tools use, of keys or of values.
struct ScaleName {
  const char *suffix;
  bool isKey;
};
constexpr ScaleName scaleNames[] = {{".k_scale", true}, {".v_scale", false}};

const char *projectionOf(bool isKey) { return isKey ? ".k_proj" : ".v_proj"; }
const char *suffixOf(bool isKey) { return isKey ? ".k_scale" : ".v_scale"; }

/// Whether the description asks for a cache of fp8 at fixed scales.
bool asksForFp8(const json &config) {
  auto algorithm = config.find("kv_cache_quant_algo");
  if (algorithm != config.end() && algorithm->is_string())
    return llvm::StringRef(algorithm->get<std::string>()).equals_insensitive("FP8");
  auto scheme = config.find("kv_cache_scheme");
  if (scheme == config.end() || !scheme->is_object())
    return false;
  auto is = [&](const char *key, const json &value) {
    auto found = scheme->find(key);
    return found != scheme->end() && *found == value;
  };
  return is("num_bits", 8) && is("type", "float") && !is("dynamic", true) && !is("symmetric", false);
}

/// The projection whose rows a scale of `module` is for.
std::string projectionUnder(llvm::StringRef module, bool isKey) {
  llvm::StringRef projection = projectionOf(isKey);
  return module.ends_with(projection) ? module.str() : (module + projection).str();
}

llvm::Error checkScales(const TensorInfo &tensor) {
  const bool isOne = tensor.elements() == 1 && tensor.shape.size() <= 1;
  const bool isHeads = tensor.shape.size() == 3 && tensor.shape[1] == 1 && tensor.shape[2] == 1;
  if (!(isOne || isHeads) || !tensor.format ||
      formatInfo(*tensor.format).family != CodecFamily::Float)
    return inputError("{}: tensor '{}' is {} of shape {}; scales of keys and values are expected as "
                      "floats of shape [], [1] or [heads, 1, 1]",
                      tensor.file, tensor.name, tensor.storage, tensor.shapeText());
  for (int64_t i = 0; i < int64_t(tensor.elements()); ++i)
    if (float value = floatAt(tensor, i); !(value > 0) || !std::isfinite(value))
      return inputError("{}: tensor '{}' has {} at {}; finite scales above 0 are expected",
                        tensor.file, tensor.name, value, i);
  return llvm::Error::success();
}

} // namespace

llvm::Error readCacheScales(const QuantizationConfig &config, Rewriter &tensors) {
  bool isAffine = false, isDropped = false;
  for (const char *suffix : {".k_bias", ".v_bias", ".q_scale"})
    for (const std::string &module : tensors.modulesWith(suffix)) {
      tensors.consume(module, {suffix});
      isAffine |= llvm::StringRef(suffix).ends_with("_bias");
    }
  const bool isShown = asksForFp8(config.text) && !isAffine;
  auto show = [&](const std::string &module, const char *suffix, bool isKey) -> llvm::Error {
    tensors.consume(module, {suffix});
    isDropped |= !isShown;
    if (!isShown)
      return llvm::Error::success();
    TensorInfo scales = *tensors.find(module, suffix);
    if (auto error = checkScales(scales))
      return error;
    scales.name = projectionUnder(module, isKey) + suffixOf(isKey);
    tensors.show(std::move(scales));
    return llvm::Error::success();
  };
  for (auto [suffix, isKey] : scaleNames)
    for (const std::string &module : tensors.modulesWith(suffix))
      if (auto error = show(module, suffix, isKey))
        return error;
  for (const std::string &module : tensors.modulesWith(".output_scale"))
    for (bool isKey : {true, false})
      if (llvm::StringRef(module).ends_with(projectionOf(isKey)))
        if (auto error = show(module, ".output_scale", isKey))
          return error;
  auto scheme = config.text.find("kv_cache_scheme");
  bool isOther = !isShown && scheme != config.text.end() && !scheme->is_null() && !scheme->empty();
  if (isDropped || isOther)
    tensors.note(fmt::format("{}: scales of keys and values that are not of an fp8 cache are not "
                             "used; --kv-cache chooses how they are kept",
                             config.file));
  return llvm::Error::success();
}

bool isCacheScale(llvm::StringRef name) {
  return name.ends_with(".k_proj.k_scale") || name.ends_with(".v_proj.v_scale");
}

std::vector<double> cacheScales(const Checkpoint &checkpoint, llvm::StringRef module, bool isKey) {
  const TensorInfo *found = checkpoint.find((module + suffixOf(isKey)).str());
  std::vector<double> scales;
  for (int64_t i = 0; found && i < int64_t(found->elements()); ++i)
    scales.push_back(floatAt(*found, i));
  return scales;
}

std::optional<FormatId> cacheFormatOf(const Checkpoint &checkpoint) {
  std::optional<FormatId> format;
  for (const TensorInfo &tensor : checkpoint.tensors())
    if (checkpoint.kind() == CheckpointKind::HuggingFace && isCacheScale(tensor.name)) {
      if (tensor.elements() > 1)
        return FormatId::Fp8E4M3Head;
      format = FormatId::Fp8E4M3Tensor;
    }
  return format;
}

} // namespace qplan
