//===- FineGrainedFp8.cpp - DeepSeek's fp8 checkpoints --------------------===//
//
// weight F8_E4M3 [out, in]; weight_scale_inv [ceil(out/bh), ceil(in/bw)], which
// multiplies in spite of its name; activations dynamic by token and 128 columns.
// Without blocks (weight_scale, input_scale) there is one scale for the tensor.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/import/quantized/Quantization.h"

namespace qplan {

using nlohmann::json;

namespace {

struct BlockSize {
  int64_t rows = 0, columns = 0; ///< 0: one scale for the tensor
};

llvm::Expected<BlockSize> blockOf(const QuantizationConfig &config) {
  auto found = config.text.find("weight_block_size");
  if (found == config.text.end() || found->is_null())
    return BlockSize();
  auto isSize = [](const json &value) {
    return value.is_number_integer() && value.get<double>() >= 1 && value.get<double>() <= 65536;
  };
  if (!found->is_array() || found->size() != 2 || !isSize((*found)[0]) || !isSize((*found)[1]))
    return inputError("{}: `weight_block_size` is {}; [rows, columns] is expected", config.file,
                      found->dump(-1, ' ', true).substr(0, 80));
  return BlockSize{(*found)[0].get<int64_t>(), (*found)[1].get<int64_t>()};
}

llvm::Error readModule(const std::string &module, BlockSize block, bool isStatic,
                       Rewriter &tensors) {
  auto weight = tensors.need(module, ".weight", {"F8_E4M3"}, {-1, -1});
  if (!weight)
    return weight.takeError();
  const TensorInfo *codes = *weight;
  CodedMatrix matrix{.rows = codes->shape[0], .columns = codes->shape[1], .isFloat = true};
  const int64_t columns = matrix.columns;
  matrix.codes = [=](int64_t row, uint8_t *out) {
    std::copy_n(codes->data + row * columns, columns, out);
  };
  const char *suffix = block.rows ? ".weight_scale_inv" : ".weight_scale";
  const int64_t down = block.rows ? (matrix.rows + block.rows - 1) / block.rows : 1;
  const int64_t across = block.rows ? (columns + block.columns - 1) / block.columns : 1;
  const TensorInfo *plain = tensors.find(module, suffix);
  bool isOne = !block.rows && plain && plain->elements() == 1;
  auto scales = isOne ? tensors.needFloats(module, suffix, plain->shape)
                      : tensors.needFloats(module, suffix, {down, across});
  if (!scales)
    return scales.takeError();
  const TensorInfo *s = *scales;
  const int64_t height = std::max<int64_t>(block.rows, 1);
  matrix.group = across == 1 ? 0 : block.columns;
  matrix.scales = [=](int64_t row, float *values) {
    for (int64_t g = 0; g < across; ++g)
      values[g] = floatAt(*s, (isOne ? 0 : row / height * across) + g);
  };
  StoredInput input;
  if (isStatic) {
    auto range = tensors.find(module, ".input_scale") ? tensors.find(module, ".input_scale")
                                                      : tensors.find(module, ".activation_scale");
    if (range) {
      auto value = tensors.scalar(*range);
      if (!value)
        return value.takeError();
      input.format = FormatId::Fp8E4M3Tensor;
      input.scale = *value;
    }
  } else if (!block.rows) {
    input.format = FormatId::Fp8E4M3Token;
  }
  if (auto error = tensors.define(module, std::move(matrix), *codes, std::move(input)))
    return error;
  tensors.consume(module, {".weight", suffix, ".input_scale", ".activation_scale"});
  return llvm::Error::success();
}

} // namespace

llvm::Error readFineGrainedFp8(const QuantizationConfig &config, Rewriter &tensors) {
  Settings settings(config.text, config.file);
  auto scheme = settings.text("activation_scheme", "dynamic");
  if (!scheme)
    return scheme.takeError();
  auto block = blockOf(config);
  if (!block)
    return block.takeError();
  for (const std::string &module : tensors.modulesWith(".weight")) {
    const TensorInfo *weight = tensors.find(module, ".weight");
    if (weight->format)
      continue; // stored as floats: not converted
    if (auto error = readModule(module, *block, *scheme == "static", tensors))
      return error;
  }
  return llvm::Error::success();
}

} // namespace qplan
