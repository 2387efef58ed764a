//===- Safetensors.cpp - reader of one safetensors file -------------------===//
//
// The header is read as a stream of JSON events, not as a tree: a header may be
// 100 MB long, and only events show a duplicate name.
//
//===----------------------------------------------------------------------===//

#include "ir/import/Safetensors.h"
#include "ir/Failure.h"

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringSet.h>
#include <llvm/Support/Endian.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

namespace qplan {

/// The reference reader's limit on the length of the header.
static constexpr uint64_t maxHeaderBytes = 100'000'000;

unsigned safetensorsBits(llvm::StringRef dtype) {
  struct Row {
    const char *name;
    unsigned bits;
  };
  static constexpr Row rows[] = {
      {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
      {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
      {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
      {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
      {"I64", 64},        {"U64", 64}};
  for (const Row &row : rows)
    if (dtype == row.name)
      return row.bits;
  return 0;
}

namespace {

/// Takes the events of the header. It is three levels deep at most, except inside
/// unknown fields of a tensor, which are skipped whole.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
public:
  Safetensors result;
  std::string problem; ///< empty while all is well

  bool null() override {
    if (place != Place::MetadataValue)
      return scalar("null");
    place = Place::Top;
    return true;
  }
  bool boolean(bool) override { return scalar("a boolean"); }
  bool number_float(double, const std::string &text) override { return scalar(text); }
  bool number_integer(int64_t value) override { return scalar(std::to_string(value)); }
  bool binary(nlohmann::json::binary_t &) override { return fail("holds binary data"); }
  bool number_unsigned(uint64_t value) override;
  bool string(std::string &text) override;
  bool start_object(size_t) override;
  bool key(std::string &name) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool parse_error(size_t position, const std::string &,
                   const nlohmann::detail::exception &) override {
    // The lexer counts the byte that is wrong; eight bytes of length come before the text.
    return fail(fmt::format("the header is not valid JSON at byte {} of the file", 7 + position));
  }

private:
  /// What the next event may be. ...Value: the value of the key just read.
  enum class Place {
    Start,
    Top,
    TensorValue,
    Tensor,
    Dtype,
    ShapeValue,
    Shape,
    OffsetsValue,
    Offsets,
    Skip,
    MetadataValue,
    Metadata,
    MetadataText,
    End
  };

  bool fail(std::string message) {
    if (problem.empty())
      problem = std::move(message);
    return false;
  }
  bool failTensor(const std::string &message) {
    return fail(fmt::format("tensor '{}': {}", current.name, message));
  }
  bool scalar(const std::string &found);
  bool unexpected(const std::string &found);
  bool enterField(const std::string &name);
  bool finishTensor();

  Place place = Place::Start;
  uint64_t skipLevels = 0; ///< open brackets of an unknown field
  bool hasMetadata = false;
  std::string metadataKey;
  llvm::StringSet<> names;
  SafetensorsEntry current;
  std::vector<uint64_t> offsets;
  bool hasDtype = false, hasShape = false, hasOffsets = false;
};

bool HeaderReader::unexpected(const std::string &found) {
  switch (place) {
  case Place::Start:
    return fail("the header is not a JSON object");
  case Place::TensorValue:
    return failTensor(fmt::format("{} where an object with dtype, shape and data_offsets is "
                                  "expected",
                                  found));
  case Place::Dtype:
    return failTensor(fmt::format("dtype is {}; a string is expected", found));
  case Place::ShapeValue:
  case Place::Shape:
    return failTensor(
        fmt::format("shape holds {}; a list of non-negative integers is expected", found));
  case Place::OffsetsValue:
  case Place::Offsets:
    return failTensor(fmt::format("data_offsets holds {}; [begin, end] is expected", found));
  default:
    return fail(fmt::format("__metadata__ holds {}; only strings are allowed", found));
  }
}

bool HeaderReader::scalar(const std::string &found) {
  if (place != Place::Skip)
    return unexpected(found);
  if (skipLevels == 0)
    place = Place::Tensor;
  return true;
}

bool HeaderReader::number_unsigned(uint64_t value) {
  if (place == Place::Shape) {
    if (value > static_cast<uint64_t>(INT64_MAX))
      return failTensor(fmt::format("a dimension of {} cannot be true", value));
    current.shape.push_back(static_cast<int64_t>(value));
    return true;
  }
  if (place == Place::Offsets) {
    offsets.push_back(value);
    return true;
  }
  return scalar(std::to_string(value));
}

bool HeaderReader::string(std::string &text) {
  if (place == Place::Dtype) {
    current.dtype = text;
    place = Place::Tensor;
    return true;
  }
  if (place == Place::MetadataText) {
    result.metadata[metadataKey] = text;
    place = Place::Metadata;
    return true;
  }
  return scalar("a string");
}

bool HeaderReader::start_object(size_t) {
  switch (place) {
  case Place::Start:
    place = Place::Top;
    return true;
  case Place::TensorValue:
    place = Place::Tensor;
    return true;
  case Place::MetadataValue:
    place = Place::Metadata;
    return true;
  case Place::Skip:
    ++skipLevels;
    return true;
  default:
    return unexpected("an object");
  }
}

bool HeaderReader::start_array(size_t) {
  switch (place) {
  case Place::ShapeValue:
    place = Place::Shape;
    return true;
  case Place::OffsetsValue:
    place = Place::Offsets;
    return true;
  case Place::Skip:
    ++skipLevels;
    return true;
  default:
    return unexpected("a list");
  }
}

bool HeaderReader::end_array() {
  if (place == Place::Skip) {
    if (--skipLevels == 0)
      place = Place::Tensor;
    return true;
  }
  place = Place::Tensor;
  return true;
}

bool HeaderReader::key(std::string &name) {
  switch (place) {
  case Place::Top:
    if (name == "__metadata__") {
      if (hasMetadata)
        return fail("__metadata__ appears twice");
      hasMetadata = true;
      place = Place::MetadataValue;
      return true;
    }
    if (!names.insert(name).second)
      return fail(fmt::format("tensor '{}' appears twice in the header", name));
    current = SafetensorsEntry{};
    current.name = name;
    offsets.clear();
    hasDtype = hasShape = hasOffsets = false;
    place = Place::TensorValue;
    return true;
  case Place::Metadata:
    metadataKey = name;
    place = Place::MetadataText;
    return true;
  case Place::Tensor:
    return enterField(name);
  default:
    return true; // inside a skipped field
  }
}

bool HeaderReader::enterField(const std::string &name) {
  bool *seen = name == "dtype"          ? &hasDtype
               : name == "shape"        ? &hasShape
               : name == "data_offsets" ? &hasOffsets
                                        : nullptr;
  if (!seen) {
    place = Place::Skip;
    skipLevels = 0;
    return true;
  }
  if (*seen)
    return failTensor(fmt::format("{} appears twice", name));
  *seen = true;
  place = name == "dtype"   ? Place::Dtype
          : name == "shape" ? Place::ShapeValue
                            : Place::OffsetsValue;
  return true;
}

bool HeaderReader::end_object() {
  switch (place) {
  case Place::Top:
    place = Place::End;
    return true;
  case Place::Metadata:
    place = Place::Top;
    return true;
  case Place::Skip:
    if (--skipLevels == 0)
      place = Place::Tensor;
    return true;
  default:
    return finishTensor();
  }
}

/// Bytes of product(shape) elements of `bits` each; none on overflow or a broken byte.
std::optional<uint64_t> bytesOf(llvm::ArrayRef<int64_t> shape, unsigned bits) {
  uint64_t total = 1;
  for (int64_t dimension : shape)
    if (__builtin_mul_overflow(total, static_cast<uint64_t>(dimension), &total))
      return std::nullopt;
  if (__builtin_mul_overflow(total, static_cast<uint64_t>(bits), &total) || total % 8 != 0)
    return std::nullopt;
  return total / 8;
}

bool HeaderReader::finishTensor() {
  if (!hasDtype || !hasShape || !hasOffsets)
    return failTensor(fmt::format("has no {}", !hasDtype   ? "dtype"
                                               : !hasShape ? "shape"
                                                           : "data_offsets"));
  if (offsets.size() != 2 || offsets[0] > offsets[1])
    return failTensor(
        fmt::format("data_offsets are [{}]; [begin, end] with begin <= end is expected",
                    fmt::join(offsets, ", ")));
  unsigned bits = safetensorsBits(current.dtype);
  if (bits == 0)
    return failTensor(fmt::format("unknown dtype '{}'", current.dtype));
  std::optional<uint64_t> needed = bytesOf(current.shape, bits);
  if (!needed)
    return failTensor(
        fmt::format("{} elements of shape [{}] have no size in whole bytes below 2^64",
                    current.dtype, fmt::join(current.shape, ", ")));
  if (offsets[1] - offsets[0] != *needed)
    return failTensor(fmt::format("{} [{}] needs {} bytes, but data_offsets [{}, {}] span {}",
                                  current.dtype, fmt::join(current.shape, ", "), *needed,
                                  offsets[0], offsets[1], offsets[1] - offsets[0]));
  current.offset = offsets[0];
  current.bytes = *needed;
  result.tensors.push_back(std::move(current));
  place = Place::Top;
  return true;
}

/// Checks that the ranges tile the data of `dataBytes` bytes, and makes the offsets
/// count from the beginning of the file.
llvm::Error placeTensors(Safetensors &parsed, uint64_t headerEnd, uint64_t dataBytes,
                         const std::string &path) {
  // An empty tensor sorts before its neighbour that begins at the same byte.
  llvm::sort(parsed.tensors, [](const SafetensorsEntry &a, const SafetensorsEntry &b) {
    return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
  });
  uint64_t expected = 0;
  for (SafetensorsEntry &entry : parsed.tensors) {
    if (entry.offset != expected)
      return inputError("{}: tensor '{}' begins at byte {} of the data, but the tensors before it "
                        "end at {}; ranges must follow each other without holes or overlap",
                        path, entry.name, entry.offset, expected);
    expected = entry.offset + entry.bytes;
    if (expected > dataBytes)
      return inputError("{}: tensor '{}' ends at byte {} of the data, but the file holds only {}; "
                        "the file was cut off or its header is wrong",
                        path, entry.name, expected, dataBytes);
    entry.offset += headerEnd;
  }
  if (expected != dataBytes)
    return inputError("{}: {} bytes of data, but the header describes {}; the file has bytes that "
                      "belong to no tensor",
                      path, dataBytes, expected);
  return llvm::Error::success();
}

} // namespace

llvm::Expected<Safetensors> Safetensors::parse(llvm::ArrayRef<uint8_t> bytes,
                                               llvm::StringRef path) {
  std::string file = path.str();
  if (bytes.size() < 8)
    return inputError("{}: {} bytes are too short for a safetensors file", file, bytes.size());
  uint64_t length = llvm::support::endian::read64le(bytes.data());
  if (length > maxHeaderBytes || length > bytes.size() - 8)
    return inputError("{}: the header claims {} bytes, but the file has {} and at most {} are "
                      "allowed; this is not a safetensors file, or it was cut off",
                      file, length, bytes.size(), maxHeaderBytes);
  llvm::ArrayRef<uint8_t> text = bytes.slice(8, length);
  if (text.empty() || text.front() != '{')
    return inputError("{}: the header does not begin with '{{'; this is not a safetensors file",
                      file);
  // The JSON lexer takes a NUL byte for the end of its input.
  if (llvm::is_contained(text, uint8_t(0)))
    return inputError("{}: the header holds NUL bytes", file);
  HeaderReader reader;
  bool read = nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  if (!read || !reader.problem.empty())
    return inputError("{}: {}", file,
                      reader.problem.empty() ? "the header is not valid JSON" : reader.problem);
  reader.result.header = bytes.take_front(8 + length);
  if (llvm::Error error = placeTensors(reader.result, 8 + length, bytes.size() - 8 - length, file))
    return std::move(error);
  return std::move(reader.result);
}

} // namespace qplan
