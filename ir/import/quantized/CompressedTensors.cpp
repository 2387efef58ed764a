//===- CompressedTensors.cpp - llm-compressor's checkpoints ---------------===//
//
// pack-quantized: weight_packed I32 [out, in*b/32], a stream of q + 2^(b-1), LSB
// first, along inputs; weight_scale [out, groups]; weight_zero_point I32 packed
// along outputs. int-quantized: weight I8 [out, in], weight_zero_point I8.
// float-quantized: weight F8_E4M3. Which activations a module has is said by the
// group of the configuration whose targets match it. Older releases put floor(32/b)
// codes of 3, 5, 6 or 7 bits in a word: the width tells which.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/import/quantized/CacheScales.h"

#include <llvm/Support/Regex.h>

namespace qplan {

using nlohmann::json;

namespace {

/// One of `targets` or `ignore`: a class name, a module's path, or "re:" and an expression that
/// a path must match from its start.
class Target {
public:
  static llvm::Expected<Target> parse(const json &text, const std::string &file);
  bool matches(llvm::StringRef module) const {
    if (expression)
      return expression->match(module);
    // Class names stand for all their modules; Linear is the only class with weights of ours.
    return name == "Linear" || name == module;
  }

private:
  std::string name;
  std::shared_ptr<llvm::Regex> expression;
};

llvm::Expected<Target> Target::parse(const json &text, const std::string &file) {
  if (!text.is_string())
    return inputError("{}: a target is a JSON {}; a string is expected", file, text.type_name());
  Target target;
  target.name = text.get<std::string>();
  llvm::StringRef pattern = target.name;
  if (!pattern.consume_front("re:"))
    return target;
  std::string posix = "^(";
  for (size_t i = 0; i < pattern.size(); ++i) {
    // What Python spells in its own way; the rest of its everyday syntax is POSIX's.
    if (pattern[i] == '\\' && i + 1 < pattern.size() && (pattern[i + 1] == 'd' || pattern[i + 1] == 'w'))
      posix += pattern[++i] == 'd' ? "[0-9]" : "[A-Za-z0-9_]";
    else if (pattern.substr(i).starts_with("(?:"))
      posix += "(", i += 2;
    else if (pattern.substr(i, 3) == ".*?")
      posix += ".*", i += 2;
    else
      posix += pattern[i];
  }
  target.expression = std::make_shared<llvm::Regex>(posix + ")");
  std::string why;
  if (pattern.size() > 1000 || pattern.contains("(?") != pattern.contains("(?:") ||
      !target.expression->isValid(why))
    return inputError("{}: the target '{}' is an expression that this build cannot read{}", file,
                      target.name.substr(0, 80), why.empty() ? "" : ": " + why);
  return target;
}

/// One of the configuration's groups.
struct Scheme {
  std::vector<Target> targets;
  int64_t bits = 8, group = 0;
  std::string type;
  std::optional<FormatId> activation;
  bool isStatic = false;
};

llvm::Expected<std::vector<Target>> targetsOf(const json &object, const char *key,
                                              const std::string &file) {
  std::vector<Target> targets;
  auto list = object.find(key);
  if (list == object.end() || list->is_null())
    return targets;
  if (!list->is_array())
    return inputError("{}: `{}` is a JSON {}; a list is expected", file, key, list->type_name());
  for (const json &text : *list) {
    auto target = Target::parse(text, file);
    if (!target)
      return target.takeError();
    targets.push_back(std::move(*target));
  }
  return targets;
}

/// The format of activations that `arguments` (input_activations) describes.
llvm::Error readActivations(const json &arguments, const std::string &where, Scheme &scheme) {
  Settings settings(arguments, where);
  auto bits = settings.integer("num_bits", 8);
  if (!bits)
    return bits.takeError();
  auto type = settings.text("type", "int");
  if (!type)
    return type.takeError();
  bool isLocal = arguments.contains("dynamic") && arguments["dynamic"].is_string();
  auto dynamic = isLocal ? llvm::Expected<bool>(false) : settings.flag("dynamic", false);
  if (!dynamic)
    return dynamic.takeError();
  auto strategy = settings.text("strategy", *dynamic ? "token" : "tensor");
  if (!strategy)
    return strategy.takeError();
  auto symmetric = settings.flag("symmetric", true);
  if (!symmetric)
    return symmetric.takeError();
  bool isToken = *dynamic && *strategy == "token", isTensor = !*dynamic && *strategy == "tensor";
  if (*bits != 8 || isLocal || !*symmetric || !(isToken || isTensor) ||
      (*type != "int" && *type != "float"))
    return inputError("{}: activations of {} {} bits{}, strategy '{}'{}, are not imported by this "
                      "build; symmetric 8-bit int or float ones are, dynamic by token or static "
                      "by tensor",
                      where, *type, *bits, *symmetric ? "" : ", asymmetric", *strategy,
                      *dynamic ? ", dynamic" : isLocal ? ", local" : "");
  scheme.isStatic = isTensor;
  bool isInt = *type == "int";
  scheme.activation = isToken ? isInt ? FormatId::Int8Token : FormatId::Fp8E4M3Token
                      : isInt ? FormatId::Int8Tensor
                              : FormatId::Fp8E4M3Tensor;
  return llvm::Error::success();
}

llvm::Expected<Scheme> readScheme(const json &group, const std::string &name,
                                  const std::string &file) {
  std::string where = fmt::format("{}: config_groups: {}", file, name);
  if (!group.is_object())
    return inputError("{}: is a JSON {}; an object {{...}} is expected", where, group.type_name());
  Scheme scheme;
  auto targets = targetsOf(group, "targets", where);
  if (!targets)
    return targets.takeError();
  scheme.targets = std::move(*targets);
  auto weights = group.find("weights");
  if (weights == group.end() || !weights->is_object())
    return inputError("{}: has no `weights` object", where);
  Settings settings(*weights, where + ": weights");
  auto bits = settings.integer("num_bits", 8);
  if (!bits)
    return bits.takeError();
  auto columns = settings.integer("group_size", 0);
  if (!columns)
    return columns.takeError();
  auto type = settings.text("type", "int");
  if (!type)
    return type.takeError();
  bool isInt = *type == "int" && *bits >= 2 && *bits <= 8;
  if (!isInt && !(*type == "float" && *bits == 8))
    return inputError("{}: weights of {} {} bits are not imported by this build; int of 2 to 8 bits "
                      "and float of 8 are",
                      where, *type, *bits);
  scheme.bits = *bits;
  scheme.group = std::max<int64_t>(*columns, 0);
  scheme.type = *type;
  if (auto output = group.find("output_activations"); output != group.end() && !output->is_null())
    return inputError("{}: output_activations are not imported by this build", where);
  auto input = group.find("input_activations");
  if (input != group.end() && !input->is_null())
    if (auto error = readActivations(*input, where + ": input_activations", scheme))
      return std::move(error);
  return scheme;
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

/// Columns of a scale, from the shape of the scales; 0: the row.
llvm::Expected<int64_t> groupOf(const TensorInfo &scales, int64_t columns, int64_t configured) {
  const int64_t groups = scales.shape.size() == 2 ? scales.shape[1] : 1;
  if (groups == 1)
    return 0;
  if (configured > 0 && (columns + configured - 1) / configured == groups)
    return configured;
  return inputError("{}: tensor '{}' of shape {} has {} scales for {} columns; group_size {} is "
                    "expected to fit them",
                    scales.file, scales.name, scales.shapeText(), groups, columns, configured);
}

/// weight_scale: [1] or [] for the tensor, [out, 1], or [out, groups].
llvm::Error readScales(const std::string &module, const Scheme &scheme, const Rewriter &tensors,
                       CodedMatrix &matrix) {
  const TensorInfo *plain = tensors.find(module, ".weight_scale");
  bool isOne = plain && plain->elements() == 1;
  auto found = isOne ? tensors.needFloats(module, ".weight_scale", plain->shape)
                     : tensors.needFloats(module, ".weight_scale", {matrix.rows, -1});
  if (!found)
    return found.takeError();
  const TensorInfo *scales = *found;
  if (isOne) {
    matrix.scales = [=](int64_t, float *values) { values[0] = floatAt(*scales, 0); };
    return llvm::Error::success();
  }
  auto group = groupOf(*scales, matrix.columns, scheme.group);
  if (!group)
    return group.takeError();
  matrix.group = *group;
  const int64_t groups = matrix.groups();
  matrix.scales = [=](int64_t row, float *values) {
    for (int64_t g = 0; g < groups; ++g)
      values[g] = floatAt(*scales, row * groups + g);
  };
  matrix.halfScales = groups > 1 && holdsHalves(*scales);
  return llvm::Error::success();
}

/// Zero points beside I8 codes: I8 like the scales, signed as the codes are.
llvm::Error readByteZeros(const std::string &module, const Rewriter &tensors, CodedMatrix &matrix) {
  if (!tensors.find(module, ".weight_zero_point"))
    return llvm::Error::success();
  const int64_t groups = matrix.groups();
  auto found = tensors.need(module, ".weight_zero_point", {"I8"}, {matrix.rows, groups});
  if (!found)
    return found.takeError();
  const TensorInfo *zeros = *found;
  const uint8_t half = uint8_t(1u << (matrix.bits - 1));
  const uint8_t mask = uint8_t((1u << matrix.bits) - 1);
  matrix.zeros = [=](int64_t row, uint8_t *codes) {
    for (int64_t g = 0; g < groups; ++g)
      codes[g] = uint8_t(zeros->data[row * groups + g] + half) & mask;
  };
  return llvm::Error::success();
}

/// Zero points beside packed codes: words packed along outputs, [out*b/32, groups].
llvm::Error readPackedZeros(const std::string &module, const Rewriter &tensors,
                            CodedMatrix &matrix) {
  if (!tensors.find(module, ".weight_zero_point"))
    return llvm::Error::success();
  const int64_t groups = matrix.groups(), bits = matrix.bits;
  const int64_t words = (matrix.rows * bits + 31) / 32;
  auto found = tensors.need(module, ".weight_zero_point", {"I32"}, {words, groups});
  if (!found)
    return found.takeError();
  const TensorInfo *zeros = *found;
  matrix.zeros = [=](int64_t row, uint8_t *codes) {
    const int64_t first = row * bits / 32;
    for (int64_t g = 0; g < groups; ++g) {
      uint32_t held[2] = {0, 0};
      readWords(*zeros, first * groups + g, groups, std::min<int64_t>(2, words - first), held);
      uint64_t stream = (uint64_t(held[1]) << 32 | held[0]) >> (row * bits % 32);
      codes[g] = uint8_t(stream & ((1u << bits) - 1));
    }
  };
  return llvm::Error::success();
}

/// pack-quantized.
llvm::Expected<CodedMatrix> readPacked(const std::string &module, const Scheme &scheme,
                                       const Rewriter &tensors) {
  auto found = tensors.need(module, ".weight_packed", {"I32"}, {-1, -1});
  if (!found)
    return found.takeError();
  const TensorInfo *packed = *found;
  auto shape = tensors.need(module, ".weight_shape", {"I64", "I32"}, {2});
  if (!shape)
    return shape.takeError();
  const bool isLong = (*shape)->storage == "I64";
  uint32_t size[4] = {};
  readWords(**shape, 0, 1, isLong ? 4 : 2, size);
  CodedMatrix matrix{.rows = int64_t(size[0]), .columns = int64_t(size[isLong ? 2 : 1]),
                     .bits = unsigned(scheme.bits)};
  const int64_t words = packed->shape[1], perWord = 32 / scheme.bits;
  bool isStream = words == (matrix.columns * scheme.bits + 31) / 32;
  bool isPadded = words == (matrix.columns + perWord - 1) / perWord;
  bool fits = (!isLong || (size[1] == 0 && size[3] == 0)) && matrix.rows == packed->shape[0] &&
              matrix.columns > 0 && (isStream || isPadded);
  if (!fits)
    return inputError("{}: tensor '{}' of shape {} does not hold the {} x {} codes of {} bits that "
                      "weight_shape says",
                      packed->file, packed->name, packed->shapeText(), matrix.rows, matrix.columns,
                      scheme.bits);
  const int64_t columns = matrix.columns;
  const unsigned bits = matrix.bits;
  matrix.codes = [=](int64_t row, uint8_t *codes) {
    std::vector<uint32_t> held(words);
    readWords(*packed, row * words, 1, words, held.data());
    if (isStream)
      return splitWords(held.data(), bits, columns, codes);
    for (int64_t c = 0; c < columns; ++c)
      codes[c] = uint8_t(held[c / perWord] >> (c % perWord * bits) & ((1u << bits) - 1));
  };
  if (auto error = readScales(module, scheme, tensors, matrix))
    return std::move(error);
  if (auto error = readPackedZeros(module, tensors, matrix))
    return std::move(error);
  return matrix;
}

/// int-quantized and float-quantized.
llvm::Expected<CodedMatrix> readBytes(const std::string &module, const Scheme &scheme,
                                      const Rewriter &tensors) {
  const bool isFloat = scheme.type == "float";
  auto found = tensors.need(module, ".weight", {isFloat ? "F8_E4M3" : "I8"}, {-1, -1});
  if (!found)
    return found.takeError();
  const TensorInfo *weight = *found;
  CodedMatrix matrix{.rows = weight->shape[0], .columns = weight->shape[1],
                     .bits = unsigned(scheme.bits), .isFloat = isFloat};
  const int64_t columns = matrix.columns;
  const uint8_t half = uint8_t(isFloat ? 0 : 1u << (scheme.bits - 1));
  const uint8_t mask = uint8_t((1u << scheme.bits) - 1);
  matrix.codes = [=](int64_t row, uint8_t *codes) {
    const uint8_t *stored = weight->data + row * columns;
    for (int64_t c = 0; c < columns; ++c)
      codes[c] = uint8_t(stored[c] + half) & mask;
  };
  if (auto error = readScales(module, scheme, tensors, matrix))
    return std::move(error);
  if (!isFloat)
    if (auto error = readByteZeros(module, tensors, matrix))
      return std::move(error);
  return matrix;
}

llvm::Expected<StoredInput> readInput(const std::string &module, const Scheme &scheme,
                                      const Rewriter &tensors) {
  StoredInput input;
  input.format = scheme.activation;
  if (!scheme.isStatic)
    return input;
  auto scale = tensors.needFloats(module, ".input_scale",
                                  tensors.find(module, ".input_scale")
                                      ? llvm::ArrayRef<int64_t>(
                                            tensors.find(module, ".input_scale")->shape)
                                      : llvm::ArrayRef<int64_t>());
  if (!scale)
    return scale.takeError();
  auto value = tensors.scalar(**scale);
  if (!value)
    return value.takeError();
  input.scale = *value;
  if (const TensorInfo *zero = tensors.find(module, ".input_zero_point"))
    for (uint64_t i = 0; i < zero->bytes; ++i)
      if (zero->data[i] != 0)
        return inputError("{}: tensor '{}' is not 0; static activations without zero point are "
                          "expected",
                          zero->file, zero->name);
  return input;
}

llvm::Error readModule(const std::string &module, bool isPacked, const Scheme &scheme,
                       Rewriter &tensors) {
  if (tensors.find(module, ".weight_g_idx"))
    return inputError("{}: module '{}' has its columns in act-order (weight_g_idx), which this "
                      "build does not import; quantize with actorder 'static'",
                      tensors.stored().path(), module);
  auto matrix = isPacked ? readPacked(module, scheme, tensors) : readBytes(module, scheme, tensors);
  if (!matrix)
    return matrix.takeError();
  auto input = readInput(module, scheme, tensors);
  if (!input)
    return input.takeError();
  const TensorInfo &from = *tensors.find(module, isPacked ? ".weight_packed" : ".weight");
  if (auto error = tensors.define(module, std::move(*matrix), from, std::move(*input)))
    return error;
  tensors.consume(module, {isPacked ? ".weight_packed" : ".weight", ".weight_scale",
                           ".weight_shape", ".weight_zero_point", ".input_scale",
                           ".input_zero_point"});
  return llvm::Error::success();
}

/// Settings of the whole checkpoint that this build does not follow.
llvm::Error checkWhole(const QuantizationConfig &config, Rewriter &tensors) {
  auto isSet = [&](const char *key) {
    auto found = config.text.find(key);
    return found != config.text.end() && !found->is_null() && !found->empty();
  };
  if (isSet("transform_config"))
    return inputError("{}: `transform_config` rotates activations, which this build does not "
                      "import; give a checkpoint without transforms",
                      config.file);
  if (isSet("sparsity_config")) {
    Settings settings(config.text["sparsity_config"], config.file + ": sparsity_config");
    auto format = settings.text("format", "dense");
    if (!format)
      return format.takeError();
    if (*format != "dense")
      return inputError("{}: sparsity in format '{}' is not imported by this build; store the "
                        "weights dense, with their zeros",
                        config.file, *format);
  }
  return readCacheScales(config, tensors);
}

} // namespace

llvm::Error readCompressedTensors(const QuantizationConfig &config, Rewriter &tensors) {
  if (auto error = checkWhole(config, tensors))
    return error;
  std::vector<Scheme> schemes;
  auto groups = config.text.find("config_groups");
  if (groups == config.text.end() || !groups->is_object() || groups->empty())
    return inputError("{}: has no config_groups object", config.file);
  for (const auto &[name, group] : groups->items()) {
    auto scheme = readScheme(group, name, config.file);
    if (!scheme)
      return scheme.takeError();
    schemes.push_back(std::move(*scheme));
  }
  auto ignored = targetsOf(config.text, "ignore", config.file);
  if (!ignored)
    return ignored.takeError();
  for (bool isPacked : {true, false})
    for (const std::string &module : tensors.modulesWith(isPacked ? ".weight_packed" : ".weight")) {
      const TensorInfo &codes = *tensors.find(module, isPacked ? ".weight_packed" : ".weight");
      auto matches = [&](const Target &target) { return target.matches(module); };
      // What is stored as floats was not compressed, whatever a target says.
      if (codes.format || llvm::any_of(*ignored, matches))
        continue;
      auto scheme = llvm::find_if(
          schemes, [&](const Scheme &each) { return llvm::any_of(each.targets, matches); });
      if (scheme == schemes.end())
        return inputError("{}: tensor '{}' is stored as {}, but no config_group has its module as "
                          "target",
                          codes.file, codes.name, codes.storage);
      if (auto error = readModule(module, isPacked, *scheme, tensors))
        return error;
    }
  return llvm::Error::success();
}

} // namespace qplan
