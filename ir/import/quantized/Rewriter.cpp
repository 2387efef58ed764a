//===- Rewriter.cpp - tensors of other tools as weights of ours -----------===//

#include "ir/import/quantized/Rewriter.h"
#include "ir/Failure.h"
#include "ir/codecs/Codec.h"
#include "ir/codecs/Numbers.h"

#include <cmath>

namespace qplan {

namespace {

/// Rows in one of our integer or fp8 formats.
class CodedRows final : public StoredRows {
public:
  CodedRows(FormatId format, CodedMatrix matrix)
      : codec(codecFor(format)), matrix(std::move(matrix)) {}

  void read(int64_t row, uint8_t *out) const override {
    std::vector<uint8_t> codes(matrix.columns), zeros(matrix.zeros ? matrix.groups() : 0);
    std::vector<float> scales(matrix.groups());
    matrix.codes(row, codes.data());
    matrix.scales(row, scales.data());
    if (matrix.zeros)
      matrix.zeros(row, zeros.data());
    codec.storeRow({codes.data(), scales.data(), matrix.zeros ? zeros.data() : nullptr},
                   matrix.columns, out);
  }

private:
  const Codec &codec;
  CodedMatrix matrix;
};

/// Rows of f32: scale * (code - zero), rounded once.
class ValueRows final : public StoredRows {
public:
  explicit ValueRows(CodedMatrix matrix) : matrix(std::move(matrix)) {}

  void read(int64_t row, uint8_t *out) const override {
    std::vector<uint8_t> codes(matrix.columns);
    std::vector<uint8_t> zeros(matrix.groups(), uint8_t(1u << (matrix.bits - 1)));
    std::vector<float> scales(matrix.groups());
    matrix.codes(row, codes.data());
    matrix.scales(row, scales.data());
    if (matrix.zeros)
      matrix.zeros(row, zeros.data());
    for (int64_t c = 0; c < matrix.columns; ++c) {
      int64_t g = !matrix.groupOf.empty() ? matrix.groupOf[c] : matrix.group ? c / matrix.group : 0;
      float code = matrix.isFloat ? f32FromE4m3(codes[c]) : float(int(codes[c]) - int(zeros[g]));
      storeUnaligned(out + 4 * c, scales[g] * code);
    }
  }

private:
  CodedMatrix matrix;
};

/// The format of ours that holds the codes, scales and zero points of `matrix`.
std::optional<FormatId> formatOf(const CodedMatrix &matrix) {
  if (!matrix.groupOf.empty())
    return std::nullopt;
  for (const FormatInfo &info : allFormats()) {
    bool isKind = info.isWeight && info.side == SideData::None &&
                  info.family == (matrix.isFloat ? CodecFamily::Grid : CodecFamily::Affine) &&
                  info.kind == (matrix.isFloat ? ElementKind::E4M3 : ElementKind::Int);
    bool holdsScales = info.scale == ScaleType::F32 ||
                       (info.scale == ScaleType::F16 && matrix.halfScales);
    bool isShift = info.zero == (matrix.zeros ? ZeroPoint::Integer : ZeroPoint::None);
    // One group may be the whole row.
    bool isGroup = info.groupColumns == matrix.group ||
                   (info.groupColumns == 0 && matrix.groups() == 1);
    if (isKind && holdsScales && isShift && isGroup && info.elementBits == matrix.bits)
      return info.id;
  }
  return std::nullopt;
}

/// "4-bit codes with zero points and f32 scales in groups of 96 columns".
std::string describe(const CodedMatrix &matrix) {
  return fmt::format("{}{} with {} scales {}", matrix.isFloat ? "f8E4M3FN codes" : "", 
                     matrix.isFloat ? "" : fmt::format("{}-bit codes{}", matrix.bits,
                                                       matrix.zeros ? " and zero points" : ""),
                     matrix.halfScales ? "f16" : "f32",
                     !matrix.groupOf.empty() ? std::string("of columns in another order (act-order)")
                     : matrix.group ? fmt::format("for {} columns", matrix.group)
                                    : std::string("for a row"));
}

} // namespace

//===----------------------------------------------------------------------===//
// Numbers in tensors
//===----------------------------------------------------------------------===//

float floatAt(const TensorInfo &tensor, int64_t index) {
  switch (*tensor.format) {
  case FormatId::F32:
    return loadUnaligned<float>(tensor.data + 4 * index);
  case FormatId::F16:
    return f32FromF16(loadUnaligned<uint16_t>(tensor.data + 2 * index));
  default:
    return f32FromBf16(loadUnaligned<uint16_t>(tensor.data + 2 * index));
  }
}

bool holdsHalves(const TensorInfo &scales) {
  if (*scales.format == FormatId::F16)
    return true;
  for (int64_t i = 0, n = int64_t(scales.elements()); i < n; ++i) {
    float value = floatAt(scales, i);
    if (f32FromF16(f16FromF32(value)) != value)
      return false;
  }
  return true;
}

void readWords(const TensorInfo &tensor, int64_t first, int64_t stride, int64_t n, uint32_t *out) {
  for (int64_t i = 0; i < n; ++i)
    out[i] = loadUnaligned<uint32_t>(tensor.data + 4 * (first + i * stride));
}

uint8_t codeOf(const uint32_t *words, unsigned bits, int64_t index) {
  uint64_t at = uint64_t(index) * bits;
  uint64_t held = words[at / 32] >> at % 32;
  if (at % 32 + bits > 32)
    held |= uint64_t(words[at / 32 + 1]) << (32 - at % 32);
  return uint8_t(held & ((1u << bits) - 1));
}

void splitWords(const uint32_t *words, unsigned bits, int64_t n, uint8_t *codes) {
  for (int64_t i = 0; i < n; ++i)
    codes[i] = codeOf(words, bits, i);
}

//===----------------------------------------------------------------------===//
// Rewriter
//===----------------------------------------------------------------------===//

Rewriter::Rewriter(const Checkpoint &owner, std::vector<std::string> &notes)
    : owner(owner), notes(notes) {}

std::vector<std::string> Rewriter::modulesWith(llvm::StringRef suffix) const {
  std::vector<std::string> modules;
  for (const TensorInfo &tensor : owner.tensors())
    if (llvm::StringRef name = tensor.name; name.consume_back(suffix) && !name.empty())
      modules.push_back(name.str());
  return modules;
}

const TensorInfo *Rewriter::find(llvm::StringRef module, llvm::StringRef suffix) const {
  return owner.find((module + suffix).str());
}

llvm::Expected<const TensorInfo *> Rewriter::need(llvm::StringRef module, llvm::StringRef suffix,
                                                  llvm::ArrayRef<llvm::StringRef> storages,
                                                  llvm::ArrayRef<int64_t> shape) const {
  auto tensor = owner.get((module + suffix).str());
  if (!tensor)
    return tensor.takeError();
  const TensorInfo &found = **tensor;
  if (!storages.empty() && !llvm::is_contained(storages, llvm::StringRef(found.storage)))
    return inputError("{}: tensor '{}' is stored as {}; {} is expected here", found.file,
                      found.name, found.storage, fmt::join(storages, " or "));
  bool fits = found.shape.size() == shape.size() && found.elements() > 0;
  for (size_t i = 0; fits && i < shape.size(); ++i)
    fits = shape[i] < 0 || shape[i] == found.shape[i];
  if (fits)
    return &found;
  std::string wanted;
  for (int64_t size : shape)
    wanted += (wanted.empty() ? "" : ", ") + (size < 0 ? std::string("*") : std::to_string(size));
  return inputError("{}: tensor '{}' has the shape {}; [{}] is expected, so that it fits its "
                    "neighbours",
                    found.file, found.name, found.shapeText(), wanted);
}

llvm::Expected<const TensorInfo *> Rewriter::needFloats(llvm::StringRef module,
                                                        llvm::StringRef suffix,
                                                        llvm::ArrayRef<int64_t> shape) const {
  return need(module, suffix, {"F32", "F16", "BF16"}, shape);
}

llvm::Expected<double> Rewriter::scalar(const TensorInfo &tensor) const {
  if (!tensor.format || tensor.elements() != 1)
    return inputError("{}: tensor '{}' is {} {}; one float is expected", tensor.file, tensor.name,
                      tensor.storage, tensor.shapeText());
  float value = floatAt(tensor, 0);
  if (!(value > 0) || !std::isfinite(value))
    return inputError("{}: tensor '{}' is {}; a finite scale above 0 is expected", tensor.file,
                      tensor.name, value);
  return double(value);
}

llvm::Error Rewriter::define(llvm::StringRef module, CodedMatrix matrix, const TensorInfo &from,
                             StoredInput input) {
  TensorInfo weight;
  weight.name = (module + ".weight").str();
  weight.shape = {matrix.rows, matrix.columns};
  weight.file = from.file;
  weight.offset = from.offset;
  weight.storage = from.storage;
  weight.input = std::move(input);
  std::optional<FormatId> format = formatOf(matrix);
  if (!format)
    notes.push_back(fmt::format("{}: tensor '{}': {} are in no format of ours; the weight is read "
                                "as f32 values",
                                from.file, from.name, describe(matrix)));
  weight.format = format.value_or(FormatId::F32);
  auto bytes = bytesFor(*weight.format, matrix.rows, matrix.columns);
  if (!bytes)
    return inputError("{}: tensor '{}': {}", from.file, from.name,
                      llvm::toString(bytes.takeError()));
  weight.bytes = *bytes;
  if (format)
    weight.rows = std::make_shared<CodedRows>(*format, std::move(matrix));
  else
    weight.rows = std::make_shared<ValueRows>(std::move(matrix));
  made.push_back(std::move(weight));
  return llvm::Error::success();
}

void Rewriter::consume(llvm::StringRef module, llvm::ArrayRef<llvm::StringRef> suffixes) {
  for (llvm::StringRef suffix : suffixes)
    consumed.insert((module + suffix).str());
}

std::vector<TensorInfo> Rewriter::take() {
  std::vector<TensorInfo> shown;
  for (const TensorInfo &tensor : owner.tensors())
    if (!consumed.contains(tensor.name))
      shown.push_back(tensor);
  for (TensorInfo &tensor : made)
    shown.push_back(std::move(tensor));
  made.clear();
  return shown;
}

} // namespace qplan
