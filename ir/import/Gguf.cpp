//===- Gguf.cpp - reader of one GGUF file ---------------------------------===//
//
// One pass over the tables. Every count is compared with the bytes that are left
// before anything is allocated for it.
//
//===----------------------------------------------------------------------===//

#include "ir/import/Gguf.h"
#include "ir/Failure.h"

#include <bit>
#include <cstring>
#include <llvm/Support/Endian.h>
#include <llvm/Support/MathExtras.h>

namespace qplan {

static constexpr uint64_t maxElements = uint64_t(1) << 30; // the reference reader's limit
static constexpr uint64_t maxNameBytes = 63;

const GgmlType *ggmlType(uint32_t id) {
  static constexpr GgmlType types[] = {
      {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},
      {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},
      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},      {10, "Q2_K", 256, 84},
      {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
      {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66},
      {17, "IQ2_XS", 256, 74},  {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},
      {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},  {22, "IQ2_S", 256, 82},
      {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
      {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},
      {29, "IQ1_M", 256, 56},   {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},
      {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},    {40, "NVFP4", 64, 36},
      {41, "Q1_0", 0, 0},       {42, "Q2_0", 0, 0}};
  for (const GgmlType &type : types)
    if (type.id == id)
      return &type;
  return nullptr;
}

static const char *typeName(GgufType type) {
  static constexpr const char *names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                          "bool", "string", "array", "u64", "i64", "f64"};
  return names[static_cast<uint32_t>(type)];
}

/// Bytes of one stored value; 0 for strings and arrays.
static unsigned typeBytes(GgufType type) {
  static constexpr uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return sizes[static_cast<uint32_t>(type)];
}

/// Reads the tables front to back. Members return false once the file is found wrong;
/// `problem` then says why.
class GgufParser {
public:
  GgufParser(llvm::ArrayRef<uint8_t> bytes, Gguf &result) : bytes(bytes), result(result) {}
  bool parse() { return readHead() && readValues() && readTensors() && placeTensors(); }
  std::string problem;

private:
  template <typename... Args>
  bool fail(fmt::format_string<Args...> format, Args &&...args) {
    problem = fmt::format(format, std::forward<Args>(args)...);
    return false;
  }
  uint64_t left() const { return bytes.size() - position; }
  template <typename T>
  bool read(T &value, const char *what) {
    if (left() < sizeof(T))
      return fail("ends inside {}; it was cut off", what);
    value = llvm::support::endian::read<T, llvm::endianness::little>(bytes.data() + position);
    position += sizeof(T);
    return true;
  }
  bool readString(llvm::StringRef &text, const char *what);
  bool readType(GgufType &type, llvm::StringRef key);
  bool readHead();
  bool readValues();
  bool readValue(llvm::StringRef key, GgufValue &value);
  bool readScalars(llvm::StringRef key, GgufValue &value);
  bool readAlignment();
  bool readTensors();
  bool readTensor(GgufTensor &tensor);
  bool sizeTensor(GgufTensor &tensor);
  bool placeTensors();

  llvm::ArrayRef<uint8_t> bytes;
  Gguf &result;
  uint64_t position = 0;
  uint64_t tensorCount = 0, valueCount = 0;
  uint64_t alignment = 32;
};

bool GgufParser::readString(llvm::StringRef &text, const char *what) {
  uint64_t length;
  if (!read(length, what))
    return false;
  if (length > left() || length > maxElements)
    return fail("{} claims {} bytes, but {} are left", what, length, left());
  text = {reinterpret_cast<const char *>(bytes.data() + position), static_cast<size_t>(length)};
  position += length;
  return true;
}

bool GgufParser::readHead() {
  if (bytes.size() < 4 || std::memcmp(bytes.data(), "GGUF", 4) != 0)
    return fail("does not begin with GGUF");
  position = 4;
  if (!read(result.fileVersion, "the version"))
    return false;
  if ((result.fileVersion & 0xffff) == 0)
    return fail("has version {:#x}: it was written for a big-endian machine; convert it again "
                "for a little-endian one",
                result.fileVersion);
  if (result.fileVersion != 2 && result.fileVersion != 3)
    return fail("is GGUF version {}; versions 2 and 3 can be read", result.fileVersion);
  if (!read(tensorCount, "the number of tensors") || !read(valueCount, "the number of keys"))
    return false;
  // The shortest key record has 8 + 1 + 4 + 1 bytes, the shortest tensor record 8 + 1 + 4 + 8 + 4
  // + 8.
  if (valueCount > left() / 14)
    return fail("claims {} metadata keys in {} bytes", valueCount, left());
  if (tensorCount > left() / 33)
    return fail("claims {} tensors in {} bytes", tensorCount, left());
  return true;
}

bool GgufParser::readType(GgufType &type, llvm::StringRef key) {
  uint32_t id;
  if (!read(id, "a metadata type"))
    return false;
  if (id > static_cast<uint32_t>(GgufType::F64))
    return fail("key '{}': unknown value type {}", key.str(), id);
  type = static_cast<GgufType>(id);
  return true;
}

bool GgufParser::readScalars(llvm::StringRef key, GgufValue &value) {
  uint64_t width = typeBytes(value.element);
  if (value.count > left() / width)
    return fail("key '{}': claims {} values of {} bytes, but {} bytes are left", key.str(),
                value.count, width, left());
  value.data = bytes.data() + position;
  position += value.count * width;
  return true;
}

bool GgufParser::readValue(llvm::StringRef key, GgufValue &value) {
  if (!readType(value.type, key))
    return false;
  value.element = value.type;
  if (value.type == GgufType::Array) {
    if (!readType(value.element, key) || !read(value.count, "an array's length"))
      return false;
    if (value.element == GgufType::Array)
      return fail("key '{}': arrays of arrays are not allowed", key.str());
    if (value.count > maxElements)
      return fail("key '{}': claims {} elements; at most {} are allowed", key.str(), value.count,
                  maxElements);
  }
  if (value.element != GgufType::String)
    return readScalars(key, value);
  if (value.count > left() / 8) // each string has at least its length
    return fail("key '{}': claims {} strings, but {} bytes are left", key.str(), value.count,
                left());
  value.strings.resize(value.count);
  for (llvm::StringRef &text : value.strings)
    if (!readString(text, "a metadata string"))
      return fail("key '{}': {}", key.str(), std::string(problem));
  return true;
}

bool GgufParser::readValues() {
  for (uint64_t i = 0; i < valueCount; ++i) {
    llvm::StringRef key;
    if (!readString(key, "a metadata key"))
      return false;
    if (key.empty())
      return fail("metadata key {} is empty", i);
    GgufValue value;
    if (!readValue(key, value))
      return false;
    if (!result.values.try_emplace(key, std::move(value)).second)
      return fail("key '{}' appears twice", key.str());
    result.keyOrder.push_back(key.str());
  }
  return readAlignment();
}

bool GgufParser::readAlignment() {
  const GgufValue *value = result.find("general.alignment");
  if (!value)
    return true;
  if (value->type != GgufType::U32)
    return fail("general.alignment is of type {}; u32 is expected", typeName(value->type));
  alignment = llvm::support::endian::read32le(value->data);
  if (!std::has_single_bit(alignment))
    return fail("general.alignment is {}; a power of two is expected", alignment);
  return true;
}

/// Fills in `bytes`.
bool GgufParser::sizeTensor(GgufTensor &tensor) {
  const GgmlType &type = *tensor.type;
  if (type.blockLength == 0)
    return fail("tensor '{}' is stored as {}, which this build cannot read", tensor.name,
                type.name);
  auto columns = static_cast<uint64_t>(tensor.shape.back());
  if (columns % type.blockLength != 0)
    return fail("tensor '{}': rows of {} elements are no multiple of the {} elements of a {} block",
                tensor.name, columns, type.blockLength, type.name);
  uint64_t elements = 1, size = 0;
  for (int64_t dimension : tensor.shape)
    if (__builtin_mul_overflow(elements, static_cast<uint64_t>(dimension), &elements))
      return fail("tensor '{}': shape [{}] is too large to be true", tensor.name,
                  fmt::join(tensor.shape, ", "));
  if (__builtin_mul_overflow(elements / type.blockLength, uint64_t(type.blockBytes), &size))
    return fail("tensor '{}': shape [{}] is too large to be true", tensor.name,
                fmt::join(tensor.shape, ", "));
  tensor.bytes = size;
  return true;
}

bool GgufParser::readTensor(GgufTensor &tensor) {
  llvm::StringRef name;
  if (!readString(name, "a tensor name"))
    return false;
  if (name.empty() || name.size() > maxNameBytes)
    return fail("a tensor name has {} bytes; 1 to {} are expected", name.size(), maxNameBytes);
  tensor.name = name.str();
  uint32_t rank, id;
  if (!read(rank, "the tensor table"))
    return false;
  if (rank < 1 || rank > 4)
    return fail("tensor '{}' has {} dimensions; 1 to 4 are expected", tensor.name, rank);
  tensor.shape.resize(rank);
  // ne[0] runs fastest: store in reverse to get row-major order.
  for (uint32_t i = rank; i-- > 0;) {
    if (!read(tensor.shape[i], "the tensor table"))
      return false;
    if (tensor.shape[i] < 0)
      return fail("tensor '{}' has a dimension of {}", tensor.name, tensor.shape[i]);
  }
  if (!read(id, "the tensor table") || !read(tensor.offset, "the tensor table"))
    return false;
  tensor.type = ggmlType(id);
  if (!tensor.type)
    return fail("tensor '{}' has type id {}, which is unknown or was retired; convert the model "
                "again with a current tool",
                tensor.name, id);
  return sizeTensor(tensor);
}

bool GgufParser::readTensors() {
  result.tensorTable.resize(tensorCount);
  llvm::StringMap<bool> names;
  for (GgufTensor &tensor : result.tensorTable) {
    if (!readTensor(tensor))
      return false;
    if (!names.try_emplace(tensor.name, true).second)
      return fail("tensor '{}' appears twice", tensor.name);
  }
  return true;
}

/// Checks that the tensors follow each other, padded, inside the file; makes their
/// offsets count from the beginning of the file.
bool GgufParser::placeTensors() {
  uint64_t start = llvm::alignTo(position, alignment);
  if (start > bytes.size() && tensorCount != 0)
    return fail("ends before its tensor data; it was cut off");
  start = std::min<uint64_t>(start, bytes.size());
  uint64_t dataBytes = bytes.size() - start, expected = 0;
  for (GgufTensor &tensor : result.tensorTable) {
    if (tensor.offset != expected)
      return fail("tensor '{}' lies at byte {} of the data; {} is expected (tensors in order, "
                  "padded to {} bytes)",
                  tensor.name, tensor.offset, expected, alignment);
    if (expected > dataBytes || tensor.bytes > dataBytes - expected)
      return fail("tensor '{}' needs {} bytes from byte {} of the data, but the file holds {}; it "
                  "was cut off",
                  tensor.name, tensor.bytes, expected, dataBytes);
    expected = llvm::alignTo(expected + tensor.bytes, alignment);
    tensor.offset += start;
  }
  result.headerBytes = bytes.take_front(start);
  return true;
}

llvm::Expected<std::unique_ptr<Gguf>> Gguf::parse(llvm::ArrayRef<uint8_t> bytes,
                                                  llvm::StringRef path) {
  std::unique_ptr<Gguf> result(new Gguf());
  result->file = path.str();
  GgufParser parser(bytes, *result);
  if (!parser.parse())
    return inputError("{}: {}", path.str(), parser.problem);
  return result;
}

//===----------------------------------------------------------------------===//
// Typed access
//===----------------------------------------------------------------------===//

const GgufValue *Gguf::find(llvm::StringRef key) const {
  auto found = values.find(key);
  return found == values.end() ? nullptr : &found->second;
}

llvm::Expected<const GgufValue *> Gguf::require(llvm::StringRef key) const {
  if (const GgufValue *value = find(key))
    return value;
  return inputError("{}: has no metadata key '{}'", file, key.str());
}

llvm::Error Gguf::typeError(llvm::StringRef key, llvm::StringRef expected) const {
  const GgufValue *value = find(key);
  std::string found = typeName(value->element);
  if (value->type == GgufType::Array)
    found = "array of " + found;
  return inputError("{}: metadata key '{}' is {}; {} is expected", file, key.str(), found,
                    expected.str());
}

/// Element `index` as an integer; none for other types and for u64 above the signed range.
static std::optional<int64_t> integerAt(const GgufValue &value, uint64_t index) {
  using namespace llvm::support::endian;
  const uint8_t *at = value.data + index * typeBytes(value.element);
  switch (value.element) {
  case GgufType::U8:
    return *at;
  case GgufType::I8:
    return static_cast<int8_t>(*at);
  case GgufType::U16:
    return read16le(at);
  case GgufType::I16:
    return static_cast<int16_t>(read16le(at));
  case GgufType::U32:
    return read32le(at);
  case GgufType::I32:
    return static_cast<int32_t>(read32le(at));
  case GgufType::I64:
    return static_cast<int64_t>(read64le(at));
  case GgufType::U64:
    if (read64le(at) <= static_cast<uint64_t>(INT64_MAX))
      return static_cast<int64_t>(read64le(at));
    return std::nullopt;
  default:
    return std::nullopt;
  }
}

/// Element `index` as a float; integers are no floats.
static std::optional<double> floatAt(const GgufValue &value, uint64_t index) {
  const uint8_t *at = value.data + index * typeBytes(value.element);
  if (value.element == GgufType::F32)
    return std::bit_cast<float>(llvm::support::endian::read32le(at));
  if (value.element == GgufType::F64)
    return std::bit_cast<double>(llvm::support::endian::read64le(at));
  return std::nullopt;
}

static bool isNumber(GgufType type) { return typeBytes(type) != 0 && type != GgufType::Bool; }

llvm::Expected<int64_t> Gguf::signedValue(llvm::StringRef key) const {
  auto value = require(key);
  if (!value)
    return value.takeError();
  if (isNumber((*value)->type))
    if (std::optional<int64_t> number = integerAt(**value, 0))
      return *number;
  return typeError(key, "an integer");
}

llvm::Expected<uint64_t> Gguf::unsignedValue(llvm::StringRef key) const {
  auto number = signedValue(key);
  if (!number)
    return number.takeError();
  if (*number < 0)
    return inputError("{}: metadata key '{}' is {}; it cannot be negative", file, key.str(),
                      *number);
  return static_cast<uint64_t>(*number);
}

llvm::Expected<double> Gguf::floatValue(llvm::StringRef key) const {
  auto value = require(key);
  if (!value)
    return value.takeError();
  if (isNumber((*value)->type))
    if (std::optional<double> number = floatAt(**value, 0))
      return *number;
  return typeError(key, "a float");
}

llvm::Expected<bool> Gguf::boolValue(llvm::StringRef key) const {
  auto value = require(key);
  if (!value)
    return value.takeError();
  if ((*value)->type != GgufType::Bool)
    return typeError(key, "a boolean");
  return *(*value)->data != 0;
}

llvm::Expected<llvm::StringRef> Gguf::stringValue(llvm::StringRef key) const {
  auto value = require(key);
  if (!value)
    return value.takeError();
  if ((*value)->type != GgufType::String)
    return typeError(key, "a string");
  return (*value)->strings.front();
}

llvm::Expected<uint64_t> Gguf::unsignedValue(llvm::StringRef key, uint64_t fallback) const {
  return contains(key) ? unsignedValue(key) : fallback;
}
llvm::Expected<int64_t> Gguf::signedValue(llvm::StringRef key, int64_t fallback) const {
  return contains(key) ? signedValue(key) : fallback;
}
llvm::Expected<double> Gguf::floatValue(llvm::StringRef key, double fallback) const {
  return contains(key) ? floatValue(key) : fallback;
}
llvm::Expected<bool> Gguf::boolValue(llvm::StringRef key, bool fallback) const {
  return contains(key) ? boolValue(key) : fallback;
}
llvm::Expected<llvm::StringRef> Gguf::stringValue(llvm::StringRef key,
                                                  llvm::StringRef fallback) const {
  return contains(key) ? stringValue(key) : fallback;
}

llvm::Expected<llvm::ArrayRef<llvm::StringRef>> Gguf::strings(llvm::StringRef key) const {
  auto value = require(key);
  if (!value)
    return value.takeError();
  if ((*value)->type != GgufType::Array || (*value)->element != GgufType::String)
    return typeError(key, "an array of strings");
  return llvm::ArrayRef<llvm::StringRef>((*value)->strings);
}

llvm::Expected<std::vector<int64_t>> Gguf::integers(llvm::StringRef key) const {
  auto value = require(key);
  if (!value)
    return value.takeError();
  const GgufValue &array = **value;
  bool isIntegers = array.type == GgufType::Array && isNumber(array.element) &&
                    array.element != GgufType::F32 && array.element != GgufType::F64;
  if (!isIntegers)
    return typeError(key, "an array of integers");
  std::vector<int64_t> result(array.count);
  for (uint64_t i = 0; i < array.count; ++i) {
    std::optional<int64_t> number = integerAt(array, i);
    if (!number)
      return inputError("{}: metadata key '{}': element {} does not fit 63 bits", file, key.str(),
                        i);
    result[i] = *number;
  }
  return result;
}

llvm::Expected<std::vector<double>> Gguf::floats(llvm::StringRef key) const {
  auto value = require(key);
  if (!value)
    return value.takeError();
  const GgufValue &array = **value;
  if (array.type != GgufType::Array ||
      (array.element != GgufType::F32 && array.element != GgufType::F64))
    return typeError(key, "an array of floats");
  std::vector<double> result(array.count);
  for (uint64_t i = 0; i < array.count; ++i)
    result[i] = *floatAt(array, i);
  return result;
}

} // namespace qplan
