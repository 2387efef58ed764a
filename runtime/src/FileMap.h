//===- FileMap.h - files of a package, opened and mapped ------------------===//
//
// Read-only access to files by descriptor and by mapping. A descriptor is kept so
// that what was checked is what is used, even if the package is replaced on disk
// in the meantime.
//===----------------------------------------------------------------------===//
#ifndef QPLAN_RUNTIME_SRC_FILEMAP_H
#define QPLAN_RUNTIME_SRC_FILEMAP_H

#include "runtime/src/Status.h"

#include <cstdint>
#include <string>

namespace qplan {

/// A regular file open for reading, perhaps mapped. Movable; closes and unmaps itself.
class FileMap {
public:
  FileMap() = default;
  FileMap(FileMap &&other) noexcept { *this = static_cast<FileMap &&>(other); }
  FileMap &operator=(FileMap &&other) noexcept;
  ~FileMap();

  /// Opens a regular file and learns its size.
  Status open(const std::string &path);

  /// Maps the whole file read-only; it must not be empty.
  Status map();

  /// Tells the kernel that all of the mapping will be read soon, unless it is larger than half of
  /// the memory; with `now`, reads it in any case.
  void prefetch(bool now) const;

  /// Reads the whole file into `text`; larger than `limit` bytes is an error.
  Status read(uint64_t limit, std::string &text) const;

  /// Reads exactly `bytes` bytes at `offset` into `out`.
  Status readAt(uint64_t offset, void *out, uint64_t bytes) const;

  /// xxh64 of the bytes from `offset` to the end, read in pieces.
  Status checksum(uint64_t offset, uint64_t &hash) const;

  const std::string &path() const { return name; }
  uint64_t size() const { return bytes; }
  const uint8_t *data() const { return mapped; }
  int descriptor() const { return handle; }

private:
  std::string name;
  int handle = -1;
  uint64_t bytes = 0;
  uint8_t *mapped = nullptr;
};

} // namespace qplan

#endif // QPLAN_RUNTIME_SRC_FILEMAP_H
