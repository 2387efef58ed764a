//===- ModelOpt.cpp - NVIDIA ModelOpt's unified Hugging Face export -------===//
//
// All scales multiply. F8_E4M3 weight [out, in] with weight_scale [] (one scale) or
// [out]; I8 weight with weight_scale [out]; U8 weight [out/2, in], two's complement
// nibbles of rows 2i (low) and 2i + 1, with weight_scale [out, in/g]. input_scale []
// is a static range of activations, pre_quant_scale [in] multiplies them first (the
// stored weight has its inverse). weight_scale_2 beside int4 is the scale with which
// engines hold code * weight_scale in fp8; here the product is taken as it is.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/import/quantized/CacheScales.h"

namespace qplan {

using nlohmann::json;

namespace {

/// quant_algo of a module, in upper case; "" when it is not quantized.
class Algorithms {
public:
  static llvm::Expected<Algorithms> read(const QuantizationConfig &config);
  std::string of(const std::string &module) const {
    if (layers.empty())
      return uniform;
    auto found = layers.find(module);
    return found == layers.end() ? std::string() : found->second;
  }

private:
  std::string uniform;
  std::map<std::string, std::string> layers;
};

constexpr const char *known[] = {"FP8",        "FP8_PER_CHANNEL_PER_TOKEN", "W8A8_SQ_PER_CHANNEL",
                                 "W8A16",      "W4A16_AWQ",                 "W4A8_AWQ",
                                 "FP8_PB_WO",  "FP8_BLOCK_SCALES",          "W4A16"};

llvm::Expected<std::string> algorithm(const Settings &settings, const std::string &where) {
  auto text = settings.text("quant_algo", "");
  if (!text)
    return text.takeError();
  std::string name = llvm::StringRef(*text).upper();
  if (name.empty() || name == "MIXED_PRECISION" ||
      llvm::any_of(known, [&](const char *each) { return name == each; }))
    return name;
  return inputError("{}: ModelOpt's quant_algo '{}' is not imported by this build; it reads {}",
                    where, *text, fmt::join(known, ", "));
}

llvm::Expected<Algorithms> Algorithms::read(const QuantizationConfig &config) {
  Algorithms algorithms;
  auto uniform = algorithm(Settings(config.text, config.file), config.file);
  if (!uniform)
    return uniform.takeError();
  algorithms.uniform = std::move(*uniform);
  auto list = config.text.find("quantized_layers");
  if (list == config.text.end() || !list->is_object()) {
    if (algorithms.uniform == "MIXED_PRECISION")
      return inputError("{}: quant_algo is MIXED_PRECISION without quantized_layers; "
                        "hf_quant_config.json is expected to list them",
                        config.file);
    return algorithms;
  }
  for (const auto &[module, object] : list->items()) {
    std::string where = fmt::format("{}: quantized_layers: {}", config.file, module);
    auto own = algorithm(Settings(object, where), where);
    if (!own)
      return own.takeError();
    algorithms.layers[module] = std::move(*own);
  }
  return algorithms;
}

/// weight_scale of bytes: one for the tensor, one a row, or one for blocks of 128 x 128 (which
/// some releases keep as [out/128, 1, in/128, 1]).
llvm::Error readByteScales(const TensorInfo &scales, CodedMatrix &matrix) {
  const int64_t count = int64_t(scales.elements());
  const int64_t down = (matrix.rows + 127) / 128, across = (matrix.columns + 127) / 128;
  const TensorInfo *from = &scales;
  if (count == 1) {
    matrix.scales = [=](int64_t, float *values) { values[0] = floatAt(*from, 0); };
  } else if (scales.shape.size() <= 2 && count == matrix.rows && scales.shape[0] == matrix.rows) {
    matrix.scales = [=](int64_t row, float *values) { values[0] = floatAt(*from, row); };
  } else if (matrix.isFloat && count == down * across && scales.shape.size() % 2 == 0 &&
             scales.shape[0] == down) {
    matrix.group = across == 1 ? 0 : 128;
    matrix.scales = [=](int64_t row, float *values) {
      for (int64_t g = 0; g < across; ++g)
        values[g] = floatAt(*from, row / 128 * across + g);
    };
  } else {
    return inputError("{}: tensor '{}' of shape {} has no scale for the tensor, for each of {} rows "
                      "or for each block of 128 x 128",
                      scales.file, scales.name, scales.shapeText(), matrix.rows);
  }
  return llvm::Error::success();
}

llvm::Expected<CodedMatrix> readBytes(const std::string &module, const TensorInfo *weight,
                                      const Rewriter &tensors) {
  const bool isFloat = weight->storage == "F8_E4M3";
  auto checked = tensors.need(module, ".weight", {isFloat ? "F8_E4M3" : "I8"}, {-1, -1});
  if (!checked)
    return checked.takeError();
  const TensorInfo *scales = tensors.find(module, ".weight_scale");
  auto found = tensors.needFloats(module, ".weight_scale",
                                  scales ? llvm::ArrayRef<int64_t>(scales->shape)
                                         : llvm::ArrayRef<int64_t>());
  if (!found)
    return found.takeError();
  CodedMatrix matrix{.rows = weight->shape[0], .columns = weight->shape[1], .isFloat = isFloat};
  const int64_t columns = matrix.columns;
  const uint8_t half = isFloat ? 0 : 128;
  matrix.codes = [=](int64_t row, uint8_t *codes) {
    for (int64_t c = 0; c < columns; ++c)
      codes[c] = uint8_t(weight->data[row * columns + c] + half);
  };
  if (auto error = readByteScales(**found, matrix))
    return std::move(error);
  return matrix;
}

llvm::Expected<CodedMatrix> readNibbles(const std::string &module, const TensorInfo *weight,
                                        const Rewriter &tensors) {
  auto checked = tensors.need(module, ".weight", {"U8", "I8"}, {-1, -1});
  if (!checked)
    return checked.takeError();
  CodedMatrix matrix{.rows = weight->shape[0] * 2, .columns = weight->shape[1], .bits = 4};
  auto found = tensors.needFloats(module, ".weight_scale", {matrix.rows, -1});
  if (!found)
    return found.takeError();
  const TensorInfo *scales = *found;
  const int64_t groups = scales->shape[1], columns = matrix.columns;
  if (groups > columns || columns % groups)
    return inputError("{}: tensor '{}' of shape {} has {} scales for {} columns, which they do not "
                      "divide",
                      scales->file, scales->name, scales->shapeText(), groups, columns);
  matrix.group = groups == 1 ? 0 : columns / groups;
  matrix.codes = [=](int64_t row, uint8_t *codes) {
    const uint8_t *stored = weight->data + row / 2 * columns;
    for (int64_t c = 0; c < columns; ++c)
      codes[c] = (stored[c] >> (row % 2 * 4) & 15) ^ 8;
  };
  matrix.scales = [=](int64_t row, float *values) {
    for (int64_t g = 0; g < groups; ++g)
      values[g] = floatAt(*scales, row * groups + g);
  };
  matrix.halfScales = groups > 1 && holdsHalves(*scales);
  return matrix;
}

llvm::Expected<StoredInput> readInput(const std::string &module, const std::string &algorithm,
                                      bool isInt8, int64_t columns, const Rewriter &tensors) {
  StoredInput input;
  if (const TensorInfo *factors = tensors.find(module, ".pre_quant_scale")) {
    auto found = tensors.needFloats(module, ".pre_quant_scale", {columns});
    if (!found)
      return found.takeError();
    input.factors = factors->name;
  }
  if (algorithm == "FP8_PER_CHANNEL_PER_TOKEN")
    input.format = FormatId::Fp8E4M3Token;
  const TensorInfo *scale = tensors.find(module, ".input_scale");
  if (!scale)
    return input;
  auto value = tensors.scalar(*scale);
  if (!value)
    return value.takeError();
  input.scale = *value;
  input.format = isInt8 ? FormatId::Int8Tensor : FormatId::Fp8E4M3Tensor;
  return input;
}

llvm::Error readModule(const std::string &module, const std::string &algorithm,
                       Rewriter &tensors) {
  const TensorInfo *weight = tensors.find(module, ".weight");
  const bool isNibbles = llvm::StringRef(algorithm).starts_with("W4A");
  auto matrix = isNibbles ? readNibbles(module, weight, tensors)
                          : readBytes(module, weight, tensors);
  if (!matrix)
    return matrix.takeError();
  const bool isInt8 = !isNibbles && !matrix->isFloat;
  auto input = readInput(module, algorithm, isInt8, matrix->columns, tensors);
  if (!input)
    return input.takeError();
  if (auto error = tensors.define(module, std::move(*matrix), *weight, std::move(*input)))
    return error;
  tensors.consume(module, {".weight", ".weight_scale", ".weight_scale_2", ".input_scale"});
  return llvm::Error::success();
}

} // namespace

llvm::Error readModelOpt(const QuantizationConfig &config, Rewriter &tensors) {
  auto algorithms = Algorithms::read(config);
  if (!algorithms)
    return algorithms.takeError();
  if (auto error = readCacheScales(config, tensors))
    return error;
  for (const std::string &module : tensors.modulesWith(".weight_scale")) {
    const TensorInfo *weight = tensors.find(module, ".weight");
    if (!weight || weight->format)
      return inputError("{}: tensor '{}.weight_scale' has no weight of codes beside it",
                        tensors.stored().path(), module);
    if (auto error = readModule(module, algorithms->of(module), tensors))
      return error;
  }
  return llvm::Error::success();
}

} // namespace qplan
