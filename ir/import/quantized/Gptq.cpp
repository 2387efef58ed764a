//===- Gptq.cpp - weights of AutoGPTQ and GPTQModel -----------------------===//
//
// qweight I32 [in*b/32, out] and qzeros I32 [groups, out*b/32] are streams of
// codes, LSB first, down the rows and along them; scales F16 [groups, out]; g_idx
// I32 [in] is the group of each input. w = scale * (q - z). Version 1 stores z - 1
// (a field of ones then means 2^b, which no code of b bits can say), version 2 z.
// Symmetric checkpoints have z = 2^(b-1) everywhere. With act-order the groups are
// no runs of columns: such a weight is read as values.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/import/quantized/Quantization.h"

namespace qplan {

namespace {

struct GptqTensors {
  const TensorInfo *weight, *zeros, *scales, *order;
  int64_t in, out, groups, group; ///< group 0: the row
  unsigned bits;
};

llvm::Expected<GptqTensors> tensorsOf(const std::string &module, int64_t configured,
                                      const Rewriter &tensors) {
  GptqTensors t{};
  auto scales = tensors.needFloats(module, ".scales", {-1, -1});
  if (!scales)
    return scales.takeError();
  t.scales = *scales;
  t.groups = t.scales->shape[0];
  t.out = t.scales->shape[1];
  auto zeros = tensors.need(module, ".qzeros", {"I32"}, {t.groups, -1});
  if (!zeros)
    return zeros.takeError();
  t.zeros = *zeros;
  auto weight = tensors.need(module, ".qweight", {"I32"}, {-1, t.out});
  if (!weight)
    return weight.takeError();
  t.weight = *weight;
  // The widths differ where `dynamic` gives modules their own.
  const int64_t zeroWords = t.zeros->shape[1], words = t.weight->shape[0];
  for (unsigned bits : {2u, 3u, 4u, 8u})
    if (zeroWords <= t.out && zeroWords * 32 == t.out * bits)
      t.bits = bits;
  if (!t.bits || words > (int64_t(1) << 40) || words * 32 % t.bits)
    return inputError("{}: tensors '{}' of shape {} and '{}' of shape {} hold no codes of 2, 3, 4 "
                      "or 8 bits for {} outputs",
                      t.zeros->file, t.zeros->name, t.zeros->shapeText(), t.weight->name,
                      t.weight->shapeText(), t.out);
  t.in = words * 32 / t.bits;
  t.group = t.groups == 1 ? 0 : configured > 0 ? configured : t.in / t.groups;
  if (t.groups > 1 && (t.group < 1 || (t.in + t.group - 1) / t.group != t.groups))
    return inputError("{}: tensor '{}' of shape {} has {} groups for {} inputs; group_size {} is "
                      "expected to fit them",
                      t.scales->file, t.scales->name, t.scales->shapeText(), t.groups, t.in,
                      configured);
  t.order = tensors.find(module, ".g_idx");
  if (t.order) {
    auto order = tensors.need(module, ".g_idx", {"I32"}, {t.in});
    if (!order)
      return order.takeError();
  }
  return t;
}

/// The group of each input where they are no runs of columns; else empty.
llvm::Expected<std::vector<int32_t>> orderOf(const GptqTensors &t) {
  std::vector<int32_t> groupOf;
  if (!t.order)
    return groupOf;
  groupOf.resize(t.in);
  readWords(*t.order, 0, 1, t.in, reinterpret_cast<uint32_t *>(groupOf.data()));
  bool isRun = true;
  for (int64_t i = 0; i < t.in; ++i) {
    if (groupOf[i] < 0 || groupOf[i] >= t.groups)
      return inputError("{}: tensor '{}': input {} is in group {}; 0 to {} are expected",
                        t.order->file, t.order->name, i, groupOf[i], t.groups - 1);
    isRun &= groupOf[i] == (t.group ? i / t.group : 0);
  }
  if (isRun)
    groupOf.clear();
  return groupOf;
}

/// Whether all zero points are 2^(b-1). Errors: one of 2^b, which version 1 can store.
llvm::Expected<bool> isSymmetric(const GptqTensors &t, unsigned shift) {
  const unsigned end = 1u << t.bits;
  bool symmetric = true;
  std::vector<uint32_t> words(t.zeros->shape[1]);
  for (int64_t g = 0; g < t.groups; ++g) {
    readWords(*t.zeros, g * int64_t(words.size()), 1, int64_t(words.size()), words.data());
    for (int64_t o = 0; o < t.out; ++o) {
      unsigned zero = codeOf(words.data(), t.bits, o) + shift;
      if (zero == end)
        return inputError("{}: tensor '{}': the zero point of group {}, output {} is stored as "
                          "ones, which tools read as 0 or as {}; convert the checkpoint to "
                          "gptq_v2",
                          t.zeros->file, t.zeros->name, g, o, end);
      symmetric &= zero == end / 2;
    }
  }
  return symmetric;
}

llvm::Error readModule(const std::string &module, int64_t group, unsigned shift,
                       Rewriter &tensors) {
  auto found = tensorsOf(module, group, tensors);
  if (!found)
    return found.takeError();
  const GptqTensors t = *found;
  auto symmetric = isSymmetric(t, shift);
  if (!symmetric)
    return symmetric.takeError();
  auto order = orderOf(t);
  if (!order)
    return order.takeError();
  CodedMatrix matrix{.rows = t.out, .columns = t.in, .bits = t.bits, .group = t.group};
  matrix.groupOf = std::move(*order);
  matrix.codes = [t](int64_t row, uint8_t *codes) {
    std::vector<uint32_t> words(t.weight->shape[0]);
    readWords(*t.weight, row, t.out, t.weight->shape[0], words.data());
    splitWords(words.data(), t.bits, t.in, codes);
  };
  matrix.scales = [t](int64_t row, float *values) {
    for (int64_t g = 0; g < t.groups; ++g)
      values[g] = floatAt(*t.scales, g * t.out + row);
  };
  if (!*symmetric)
    matrix.zeros = [t, shift](int64_t row, uint8_t *codes) {
      const int64_t width = t.zeros->shape[1], first = row * t.bits / 32;
      for (int64_t g = 0; g < t.groups; ++g) {
        uint32_t words[2] = {0, 0};
        readWords(*t.zeros, g * width + first, 1, std::min<int64_t>(2, width - first), words);
        // The stream goes on from the bit at which the first of the words begins.
        uint64_t held = (uint64_t(words[1]) << 32 | words[0]) >> (row * t.bits % 32);
        codes[g] = uint8_t((held & ((1u << t.bits) - 1)) + shift);
      }
    };
  matrix.halfScales = holdsHalves(*t.scales);
  return tensors.define(module, std::move(matrix), *t.weight, {});
}

} // namespace

llvm::Error readGptq(const QuantizationConfig &config, Rewriter &tensors) {
  Settings settings(config.text, config.file);
  auto group = settings.integer("group_size", -1);
  if (!group)
    return group.takeError();
  auto layout = settings.text(settings.has("checkpoint_format") ? "checkpoint_format" : "format",
                              "gptq");
  if (!layout)
    return layout.takeError();
  if (*layout != "gptq" && *layout != "gptq_v2")
    return inputError("{}: GPTQ format '{}' is the layout of one kernel; give the checkpoint as "
                      "gptq or gptq_v2",
                      config.file, *layout);
  for (const std::string &module : tensors.modulesWith(".qweight")) {
    if (auto error = readModule(module, *group, *layout == "gptq" ? 1 : 0, tensors))
      return error;
    tensors.consume(module, {".qweight", ".qzeros", ".scales", ".g_idx"});
  }
  return llvm::Error::success();
}

} // namespace qplan
