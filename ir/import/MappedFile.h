//===- MappedFile.h - a file mapped read-only -------------------*- C++ -*-===//
//
// Checkpoints are larger than memory, so every reader works on a private
// read-only mapping: opening costs nothing, the page cache decides what stays.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_IMPORT_MAPPEDFILE_H
#define QPLAN_IR_IMPORT_MAPPEDFILE_H

#include <cstdint>
#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <memory>
#include <string>

namespace qplan {

/// A regular file mapped read-only for as long as the object lives. The mapping
/// is `size()` bytes; the first byte is page aligned. The file must not shrink meanwhile:
/// reading beyond its new end raises SIGBUS.
class MappedFile {
public:
  /// Maps `path`. Errors: missing, not a regular file (InvalidInput); not
  /// readable, not mappable (MachineFailure). An empty file has size 0.
  static llvm::Expected<std::unique_ptr<MappedFile>> open(llvm::StringRef path);
  ~MappedFile();
  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;

  /// Every byte of the file; valid while this object lives.
  llvm::ArrayRef<uint8_t> bytes() const { return {start, length}; }
  const uint8_t *data() const { return start; }
  /// Bytes of the file when it was opened.
  uint64_t size() const { return length; }
  /// The path as it was given to open().
  const std::string &path() const { return name; }

private:
  MappedFile(std::string name, const uint8_t *start, uint64_t length)
      : name(std::move(name)), start(start), length(length) {}
  std::string name;
  const uint8_t *start;
  uint64_t length;
};

} // namespace qplan
#endif // QPLAN_IR_IMPORT_MAPPEDFILE_H
