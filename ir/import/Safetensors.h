//===- Safetensors.h - reader of one safetensors file -----------*- C++ -*-===//
//
// Decides what a valid safetensors file is: stricter than the reference reader
// where that one accepts silently (duplicate names, white space before the
// header), equal to it elsewhere. Nothing is copied but the table of tensors.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_IMPORT_SAFETENSORS_H
#define QPLAN_IR_IMPORT_SAFETENSORS_H

#include <cstdint>
#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <map>
#include <string>
#include <vector>

namespace qplan {

/// One tensor as the header describes it.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;          ///< "BF16", "F8_E4M3", ...
  std::vector<int64_t> shape; ///< row-major; empty: a scalar
  uint64_t offset = 0;        ///< bytes from the beginning of the file
  uint64_t bytes = 0;         ///< equals product(shape) * bits(dtype) / 8
};

/// The parsed header of one file.
struct Safetensors {
  /// Ordered by offset; ranges are disjoint and cover the data without holes.
  std::vector<SafetensorsEntry> tensors;
  /// `__metadata__`.
  std::map<std::string, std::string> metadata;
  /// The length word and the header text.
  llvm::ArrayRef<uint8_t> header;

  /// Parses and checks all of `bytes`; `path` is for messages. Errors (InvalidInput)
  /// name the file and the tensor.
  static llvm::Expected<Safetensors> parse(llvm::ArrayRef<uint8_t> bytes, llvm::StringRef path);
};

/// Bits of one element of a safetensors dtype; 0 for an unknown name.
unsigned safetensorsBits(llvm::StringRef dtype);

} // namespace qplan
#endif // QPLAN_IR_IMPORT_SAFETENSORS_H
