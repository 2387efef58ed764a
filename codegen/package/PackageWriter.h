//===- PackageWriter.h - writes m.qplan/ ------------------------*- C++ -*-===//
//
// The plan package appears whole or not at all: everything is written into a
// hidden directory beside the target, synced, and renamed. This file decides the
// names in the package, the 64-byte header of weights.bin, and the "files" part of the
// manifest. No time stamp and no path enters the package.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_PACKAGE_PACKAGEWRITER_H
#define QPLAN_CODEGEN_PACKAGE_PACKAGEWRITER_H

#include "runtime/src/Hash.h"

#include <cstdint>
#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace qplan {

/// Bytes before the first weight in weights.bin: "QPLANW1\0", u64 total bytes, u64
/// data offset (64), u64 xxh64 of the bytes from the data offset on, zeros; little-endian.
constexpr uint64_t weightsHeaderBytes = 64;

/// Writes one package. Use: create, then the weights, then files, then commit.
/// Destroying an uncommitted writer removes everything it wrote; so does an interrupt
/// where InterruptCleanup.h's handler is installed. Not thread-safe.
class PackageWriter {
public:
  /// Checks the target and makes the directory beside it. `target` may be absent, an
  /// empty directory, or an existing plan, which commit() replaces. Errors: anything
  /// else at `target` (wrong usage), an unwritable folder (machine failure).
  static llvm::Expected<std::unique_ptr<PackageWriter>> create(llvm::StringRef target);
  ~PackageWriter();
  PackageWriter(const PackageWriter &) = delete;
  PackageWriter &operator=(const PackageWriter &) = delete;

  /// Starts weights.bin, `totalBytes` long with its header (>= 64), and reserves the space:
  /// a full disk is found here (machine failure, naming path and bytes needed).
  llvm::Error beginWeights(uint64_t totalBytes);

  /// Writes `bytes` at `offset`, which counts from the start of the file and must not
  /// lie below the end of the previous write (or the header); gaps become zeros.
  llvm::Error writeWeights(uint64_t offset, llvm::ArrayRef<uint8_t> bytes);

  /// Fills up to the total with zeros, writes the header, syncs.
  llvm::Error finishWeights();

  /// Writes one further file ("model.o", "model.so", "model.h", "tokenizer.json",
  /// "recipe.txt", ...). A plain name, not used before, not "manifest.json".
  llvm::Error addFile(llvm::StringRef name, llvm::StringRef contents);

  /// Adds "files" {name: {"bytes", "xxh64"}} (names sorted) to `manifest`, whose first
  /// key must be "qplan_manifest", writes manifest.json, syncs, and renames the package into
  /// place. weights.bin's "xxh64" is that of its header; other files' is over all their bytes.
  llvm::Error commit(nlohmann::ordered_json manifest);

  /// Where the package will be.
  const std::string &targetPath() const { return target; }

private:
  struct WrittenFile {
    std::string name;
    uint64_t bytes = 0;
    uint64_t hash = 0;
  };
  PackageWriter() = default;
  llvm::Error makeAside();
  llvm::Expected<int> createFile(llvm::StringRef name);
  llvm::Error appendWeights(const void *data, size_t size);
  llvm::Error appendZeros(uint64_t count);
  llvm::Error moveIntoPlace();
  llvm::Error failed(llvm::StringRef name, uint64_t bytes, int code) const;

  std::string target;       ///< final path, symbolic links resolved
  std::string aside;        ///< the directory being filled
  int asideDescriptor = -1; ///< open and locked as long as this writer lives
  int weightsDescriptor = -1;
  uint64_t weightsTotal = 0;
  uint64_t weightsAt = 0;
  bool weightsDone = false;
  bool committed = false;
  XxHash64 weightsHash;
  std::vector<WrittenFile> files;
  std::vector<int> cleanups; ///< registrations with InterruptCleanup
};

} // namespace qplan
#endif // QPLAN_CODEGEN_PACKAGE_PACKAGEWRITER_H
