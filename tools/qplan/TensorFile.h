//===- TensorFile.h - safetensors files of ids and logits -------*- C++ -*-===//
//
// Reads small tensors by name and writes files of several, each whole or not at all. Only what
// `logits` and `eval --ids` need: i32 (i64 is narrowed) and f32.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_TENSORFILE_H
#define QPLAN_TOOLS_QPLAN_TENSORFILE_H

#include "ir/import/MappedFile.h"
#include "ir/import/Safetensors.h"

#include <memory>
#include <string>
#include <vector>

namespace qplan {

/// Whole numbers with a shape, row-major.
struct IdTensor {
  std::vector<int64_t> shape;
  std::vector<int32_t> values;
};

/// Floats with a shape, row-major.
struct FloatTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

/// An open safetensors file.
class TensorFile {
public:
  /// Maps and checks `path`. Errors (input) name it.
  static llvm::Expected<TensorFile> open(const std::string &path);
  bool has(llvm::StringRef name) const { return find(name) != nullptr; }
  /// An I32 or I64 tensor; input error when it is missing, of another dtype, or a value
  /// does not fit 32 bits.
  llvm::Expected<IdTensor> ids(llvm::StringRef name) const;
  /// An F32 tensor; input error when it is missing or of another dtype.
  llvm::Expected<FloatTensor> floats(llvm::StringRef name) const;

private:
  const SafetensorsEntry *find(llvm::StringRef name) const;
  llvm::Expected<const SafetensorsEntry *> get(llvm::StringRef name) const;
  std::unique_ptr<MappedFile> file;
  Safetensors header;
};

/// One tensor to be written; the data is borrowed.
struct TensorToWrite {
  std::string name;
  std::string dtype; ///< "F32", "I32"
  std::vector<int64_t> shape;
  llvm::ArrayRef<uint8_t> bytes;
};

/// The bytes of `values`.
template <typename T>
llvm::ArrayRef<uint8_t> bytesOf(const std::vector<T> &values) {
  return {reinterpret_cast<const uint8_t *>(values.data()), values.size() * sizeof(T)};
}

/// Writes `tensors`, sorted by name, with metadata {"format": "pt"}; data begins at a
/// multiple of 8 bytes. Machine failure naming the path.
llvm::Error writeTensors(const std::string &path, std::vector<TensorToWrite> tensors);

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_TENSORFILE_H
