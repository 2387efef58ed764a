//===- ScratchFile.cpp - memory that may be written back ------------------===//
//
// See ScratchFile.h.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/ScratchFile.h"

#include "ir/Failure.h"

#include <cerrno>
#include <fcntl.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/Path.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace qplan;

ScratchFile::ScratchFile(ScratchFile &&other) noexcept
    : memory(std::exchange(other.memory, nullptr)), bytes(std::exchange(other.bytes, 0)) {}

ScratchFile &ScratchFile::operator=(ScratchFile &&other) noexcept {
  std::swap(memory, other.memory);
  std::swap(bytes, other.bytes);
  return *this;
}

ScratchFile::~ScratchFile() {
  if (memory)
    munmap(memory, bytes);
}

llvm::Expected<ScratchFile> ScratchFile::create(uint64_t size, llvm::StringRef what) {
  ScratchFile made;
  if (size == 0)
    return made;
  llvm::SmallString<128> path;
  int file = -1;
  auto failed = [&](std::error_code code) {
    return machineError("calibration needs {} bytes in {} for {}: {}; set TMPDIR to a folder with "
                        "room",
                        size, path.str().str(), what.str(), code.message());
  };
  llvm::sys::path::system_temp_directory(/*ErasedOnReboot=*/true, path);
  llvm::sys::path::append(path, "qplan-live-%%%%%%%%");
  if (auto code = llvm::sys::fs::createUniqueFile(path, file, path))
    return failed(code);
  llvm::sys::fs::remove(path);
  int status = posix_fallocate(file, 0, off_t(size));
  void *mapped = MAP_FAILED;
  if (status == 0) {
    mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    status = errno;
  }
  close(file);
  if (mapped == MAP_FAILED)
    return failed(std::error_code(status, std::generic_category()));
  made.memory = static_cast<uint8_t *>(mapped);
  made.bytes = size;
  return made;
}
