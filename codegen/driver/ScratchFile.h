//===- ScratchFile.h - memory that may be written back -----------*- C++ -*-===//
//
// Large data of calibration lies in a file without a name, so that a model that is
// larger than memory is paged and not killed.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_SCRATCHFILE_H
#define QPLAN_CODEGEN_DRIVER_SCRATCHFILE_H

#include <cstdint>
#include <llvm/Support/Error.h>

namespace qplan {

class ScratchFile {
public:
  ScratchFile() = default;
  ScratchFile(ScratchFile &&other) noexcept;
  ScratchFile &operator=(ScratchFile &&other) noexcept;
  ~ScratchFile();

  /// `size` bytes of zeros, mapped from a file in the folder for temporary files. `what` is what
  /// errors (machine) say they are for.
  static llvm::Expected<ScratchFile> create(uint64_t size, llvm::StringRef what);

  uint8_t *data() const { return memory; }
  uint64_t size() const { return bytes; }

private:
  uint8_t *memory = nullptr;
  uint64_t bytes = 0;
};

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_SCRATCHFILE_H
