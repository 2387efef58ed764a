//===- AutoAwq.cpp - 4-bit weights of AutoAWQ -----------------------------===//
//
// GEMM: qweight I32 [in, out/8], qzeros I32 [in/g, out/8], scales F16 [in/g, out];
// nibble i of word c is output 8c + {0,2,4,6,1,3,5,7}[i]. GEMV: qweight I32
// [out, in/8], in order; qzeros I32 [out, w], scales F16 [out, 8w], padded.
// w = (q - z) * scale, so that our asymmetric rows hold it exactly. The scaling
// of channels was folded into other weights by its producer.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/import/quantized/Quantization.h"

namespace qplan {

namespace {

/// Nibble in which output 8c + k of a word lies.
constexpr unsigned nibbleOf[8] = {0, 4, 1, 5, 2, 6, 3, 7};

/// Column `o` of a matrix of words [rows, outputs / 8], a byte a code.
void readOutput(const TensorInfo &words, int64_t rows, int64_t o, uint8_t *codes) {
  const int64_t width = words.shape[1];
  for (int64_t i = 0; i < rows; ++i) {
    uint32_t word;
    readWords(words, i * width + o / 8, 1, 1, &word);
    codes[i] = uint8_t(word >> 4 * nibbleOf[o % 8] & 15);
  }
}

/// Columns of a group where `groups` of them make up `columns`; 0: the row is one group.
llvm::Expected<int64_t> groupColumns(const TensorInfo &scales, int64_t columns, int64_t groups,
                                     int64_t configured) {
  if (configured > 0 && (columns + configured - 1) / configured == groups)
    return configured;
  if (groups == 1)
    return 0;
  if (configured <= 0 && columns % groups == 0)
    return columns / groups;
  return inputError("{}: tensor '{}' of shape {} has scales for {} groups of {} inputs; group_size "
                    "{} is expected to fit them",
                    scales.file, scales.name, scales.shapeText(), groups, columns, configured);
}

llvm::Error readGemm(const std::string &module, int64_t group, Rewriter &tensors) {
  auto weight = tensors.need(module, ".qweight", {"I32"}, {-1, -1});
  if (!weight)
    return weight.takeError();
  const int64_t in = (*weight)->shape[0], out = (*weight)->shape[1] * 8;
  auto zeros = tensors.need(module, ".qzeros", {"I32"}, {-1, out / 8});
  if (!zeros)
    return zeros.takeError();
  const int64_t groups = (*zeros)->shape[0];
  auto scales = tensors.needFloats(module, ".scales", {groups, out});
  if (!scales)
    return scales.takeError();
  auto columns = groupColumns(**scales, in, groups, group);
  if (!columns)
    return columns.takeError();
  CodedMatrix matrix{.rows = out, .columns = in, .bits = 4, .group = *columns};
  const TensorInfo *w = *weight, *z = *zeros, *s = *scales;
  matrix.codes = [=](int64_t row, uint8_t *codes) { readOutput(*w, in, row, codes); };
  matrix.zeros = [=](int64_t row, uint8_t *codes) { readOutput(*z, groups, row, codes); };
  matrix.scales = [=](int64_t row, float *values) {
    for (int64_t g = 0; g < groups; ++g)
      values[g] = floatAt(*s, g * out + row);
  };
  matrix.halfScales = holdsHalves(*s);
  return tensors.define(module, std::move(matrix), *w, {});
}

llvm::Error readGemv(const std::string &module, int64_t group, Rewriter &tensors) {
  auto weight = tensors.need(module, ".qweight", {"I32"}, {-1, -1});
  if (!weight)
    return weight.takeError();
  const int64_t out = (*weight)->shape[0], in = (*weight)->shape[1] * 8;
  const int64_t groups = group > 0 ? (in + group - 1) / group : 1;
  auto zeros = tensors.need(module, ".qzeros", {"I32"}, {out, -1});
  if (!zeros)
    return zeros.takeError();
  const int64_t width = (*zeros)->shape[1];
  if (width * 8 < groups)
    return inputError("{}: tensor '{}' of shape {} has zero points for {} groups; {} are expected",
                      (*zeros)->file, (*zeros)->name, (*zeros)->shapeText(), width * 8, groups);
  auto scales = tensors.needFloats(module, ".scales", {out, width * 8});
  if (!scales)
    return scales.takeError();
  CodedMatrix matrix{.rows = out, .columns = in, .bits = 4, .group = groups == 1 ? 0 : group};
  const TensorInfo *w = *weight, *z = *zeros, *s = *scales;
  auto inOrder = [](const TensorInfo *words, int64_t n) {
    return [=](int64_t row, uint8_t *codes) {
      std::vector<uint32_t> held(words->shape[1]);
      readWords(*words, row * words->shape[1], 1, words->shape[1], held.data());
      splitWords(held.data(), 4, n, codes);
    };
  };
  matrix.codes = inOrder(w, in);
  matrix.zeros = inOrder(z, groups);
  matrix.scales = [=](int64_t row, float *values) {
    for (int64_t g = 0; g < groups; ++g)
      values[g] = floatAt(*s, row * width * 8 + g);
  };
  matrix.halfScales = holdsHalves(*s);
  return tensors.define(module, std::move(matrix), *w, {});
}

} // namespace

llvm::Error readAutoAwq(const QuantizationConfig &config, Rewriter &tensors) {
  Settings settings(config.text, config.file);
  auto bits = settings.integer(settings.has("bits") ? "bits" : "w_bit", 4);
  if (!bits)
    return bits.takeError();
  auto group = settings.integer(settings.has("group_size") ? "group_size" : "q_group_size", 128);
  if (!group)
    return group.takeError();
  auto version = settings.text("version", "gemm");
  if (!version)
    return version.takeError();
  auto zeroPoint = settings.flag("zero_point", true);
  if (!zeroPoint)
    return zeroPoint.takeError();
  if (*bits != 4 || !*zeroPoint)
    return inputError("{}: AWQ with {} bits{} is not known; 4 bits with zero points are expected",
                      config.file, *bits, *zeroPoint ? "" : " and without zero points");
  std::string layout = llvm::StringRef(*version).lower();
  if (layout != "gemm" && layout != "gemv")
    return inputError("{}: AWQ version '{}' is the layout of one kernel; give the checkpoint in "
                      "version gemm or gemv",
                      config.file, *version);
  for (const std::string &module : tensors.modulesWith(".qweight")) {
    if (auto error = layout == "gemm" ? readGemm(module, *group, tensors)
                                      : readGemv(module, *group, tensors))
      return error;
    tensors.consume(module, {".qweight", ".qzeros", ".scales"});
  }
  return llvm::Error::success();
}

} // namespace qplan
