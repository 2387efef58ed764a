//===- BlobStore.h - constants that methods made, by content ----*- C++ -*-===//
//
// Smoothing vectors, GPTQ results and other constants that are in no checkpoint.
// A blob is a shape, a format and encoded rows, and its name is the hash of all
// three: equal constants are stored once, and an IR that names a blob is
// reproducible. In memory, or one file per blob in a folder.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_WEIGHTS_BLOBSTORE_H
#define QPLAN_IR_WEIGHTS_BLOBSTORE_H

#include "ir/Formats.h"
#include "ir/import/MappedFile.h"

#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringMap.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace qplan {

/// One constant. `shape` has 1 to 4 dimensions; `bytes` are its rows (all dimensions
/// but the last) in storage of `format`, then the f32 numbers beside them (SideData), bytesFor in
/// all, owned by the store, of any alignment.
struct Blob {
  std::vector<int64_t> shape;
  FormatId format;
  llvm::ArrayRef<uint8_t> bytes;
};

/// Holds blobs by name; thread safe. Blobs stay valid as long as the store.
class BlobStore {
public:
  /// Blobs in anonymous memory.
  BlobStore();
  /// Blobs as files `NAME.blob` in `folder`, made on the first put; read by mapping.
  explicit BlobStore(std::string folder);
  ~BlobStore();

  /// Stores f32 values, row-major, and returns the name: 32 hexadecimal digits.
  /// Errors: the values do not fill the shape (Defect), disk (MachineFailure).
  llvm::Expected<std::string> putFloats(llvm::ArrayRef<int64_t> shape,
                                        llvm::ArrayRef<float> values);
  /// Stores rows already encoded in `format`, and the numbers beside them.
  llvm::Expected<std::string> put(llvm::ArrayRef<int64_t> shape, FormatId format,
                                  llvm::ArrayRef<uint8_t> bytes);
  /// The blob of that name. Errors: unknown name, damaged file (InvalidInput).
  llvm::Expected<const Blob *> get(llvm::StringRef name);
  /// The values of an f32 blob, copied.
  llvm::Expected<std::vector<float>> floats(llvm::StringRef name);

private:
  struct Entry;
  llvm::Error writeFile(const std::string &name, llvm::ArrayRef<uint8_t> contents);
  llvm::Expected<const Blob *> load(llvm::StringRef name);
  std::string folder; ///< empty: memory only
  std::mutex mutex;   ///< guards entries
  llvm::StringMap<std::unique_ptr<Entry>> entries;
};

} // namespace qplan
#endif // QPLAN_IR_WEIGHTS_BLOBSTORE_H
