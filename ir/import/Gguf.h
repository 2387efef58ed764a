//===- Gguf.h - reader of one GGUF file -------------------------*- C++ -*-===//
//
// Decides what a valid GGUF is (versions 2 and 3) and gives typed access to its
// metadata and tensors. Values and strings stay in the mapping; only the table
// of keys, the table of tensors and one 16-byte view per listed string are made.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_IMPORT_GGUF_H
#define QPLAN_IR_IMPORT_GGUF_H

#include <cstdint>
#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringMap.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <memory>
#include <string>
#include <vector>

namespace qplan {

/// Type ids of metadata values, as stored.
enum class GgufType : uint32_t {
  U8,
  I8,
  U16,
  I16,
  U32,
  I32,
  F32,
  Bool,
  String,
  Array,
  U64,
  I64,
  F64
};

/// One metadata value; everything points into the file's bytes.
struct GgufValue {
  GgufType type = GgufType::U8;
  /// Array: type of the elements; otherwise `type`.
  GgufType element = GgufType::U8;
  /// Elements; 1 unless an array.
  uint64_t count = 1;
  /// First element, packed and unaligned; null for strings.
  const uint8_t *data = nullptr;
  /// The string, or the strings of an array.
  std::vector<llvm::StringRef> strings;
};

/// A type of stored tensors: what the container says about it.
struct GgmlType {
  uint32_t id;
  const char *name;     ///< "Q4_0"
  uint32_t blockLength; ///< elements; 0: retired or unknown size
  uint32_t blockBytes;
};
/// The type with that id; null when the id was never assigned or is retired.
const GgmlType *ggmlType(uint32_t id);

/// One tensor as the file describes it.
struct GgufTensor {
  std::string name;
  const GgmlType *type = nullptr;
  /// Row-major, Hugging Face order: the reverse of the file's ne[].
  std::vector<int64_t> shape;
  /// Distance from the beginning of the file, and size, in bytes; both inside the file.
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

/// The parsed tables of one GGUF file. Refers to the bytes it was parsed from, which
/// must outlive it.
class Gguf {
public:
  /// Parses and checks `bytes`; `path` is for messages. Errors (InvalidInput) name the
  /// file and the key or tensor.
  static llvm::Expected<std::unique_ptr<Gguf>> parse(llvm::ArrayRef<uint8_t> bytes,
                                                     llvm::StringRef path);

  uint32_t version() const { return fileVersion; }
  llvm::ArrayRef<GgufTensor> tensors() const { return tensorTable; }
  /// Everything before the tensor data: magic, metadata, tensor table, padding.
  llvm::ArrayRef<uint8_t> header() const { return headerBytes; }
  const std::string &path() const { return file; }

  /// The value of `key`, or null.
  const GgufValue *find(llvm::StringRef key) const;
  bool contains(llvm::StringRef key) const { return find(key) != nullptr; }
  /// Keys in file order.
  llvm::ArrayRef<std::string> keys() const { return keyOrder; }

  /// Typed access. Without a fallback a missing key is an error; a value of another type
  /// always is. Integers of any width are accepted where they fit; floats accept f32 and f64.
  llvm::Expected<uint64_t> unsignedValue(llvm::StringRef key) const;
  llvm::Expected<uint64_t> unsignedValue(llvm::StringRef key, uint64_t fallback) const;
  llvm::Expected<int64_t> signedValue(llvm::StringRef key) const;
  llvm::Expected<int64_t> signedValue(llvm::StringRef key, int64_t fallback) const;
  llvm::Expected<double> floatValue(llvm::StringRef key) const;
  llvm::Expected<double> floatValue(llvm::StringRef key, double fallback) const;
  llvm::Expected<bool> boolValue(llvm::StringRef key) const;
  llvm::Expected<bool> boolValue(llvm::StringRef key, bool fallback) const;
  llvm::Expected<llvm::StringRef> stringValue(llvm::StringRef key) const;
  llvm::Expected<llvm::StringRef> stringValue(llvm::StringRef key, llvm::StringRef fallback) const;
  /// Arrays. strings() gives views into the file; the others convert each element.
  llvm::Expected<llvm::ArrayRef<llvm::StringRef>> strings(llvm::StringRef key) const;
  llvm::Expected<std::vector<int64_t>> integers(llvm::StringRef key) const;
  llvm::Expected<std::vector<double>> floats(llvm::StringRef key) const;

private:
  friend class GgufParser;
  Gguf() = default;
  llvm::Expected<const GgufValue *> require(llvm::StringRef key) const;
  llvm::Error typeError(llvm::StringRef key, llvm::StringRef expected) const;
  std::string file;
  uint32_t fileVersion = 0;
  llvm::ArrayRef<uint8_t> headerBytes;
  std::vector<GgufTensor> tensorTable;
  std::vector<std::string> keyOrder;
  llvm::StringMap<GgufValue> values;
};

} // namespace qplan
#endif // QPLAN_IR_IMPORT_GGUF_H
