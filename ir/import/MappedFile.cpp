//===- MappedFile.cpp - a file mapped read-only ---------------------------===//

#include "ir/import/MappedFile.h"
#include "ir/Failure.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace qplan {

static llvm::Error openError(const std::string &path, int error) {
  if (error == ENOENT || error == ENOTDIR)
    return inputError("{}: no such file", path);
  if (error == ELOOP || error == ENAMETOOLONG)
    return inputError("{}: is no path of a file: {}", path, std::strerror(error));
  return machineError("{}: cannot be opened: {}", path, std::strerror(error));
}

llvm::Expected<std::unique_ptr<MappedFile>> MappedFile::open(llvm::StringRef path) {
  std::string name = path.str();
  // O_NONBLOCK: opening a pipe that nobody writes must not hang.
  int descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    return openError(name, errno);
  struct stat status;
  if (fstat(descriptor, &status) != 0) {
    int error = errno;
    ::close(descriptor);
    return openError(name, error);
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(descriptor);
    return inputError("{}: is not a regular file", name);
  }
  auto length = static_cast<uint64_t>(status.st_size);
  void *start = nullptr;
  if (length != 0) {
    start = mmap(nullptr, length, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (start == MAP_FAILED) {
      int error = errno;
      ::close(descriptor);
      return machineError("{}: {} bytes cannot be mapped: {}", name, length, std::strerror(error));
    }
  }
  ::close(descriptor);
  return std::unique_ptr<MappedFile>(
      new MappedFile(std::move(name), static_cast<const uint8_t *>(start), length));
}

MappedFile::~MappedFile() {
  if (start)
    munmap(const_cast<uint8_t *>(start), length);
}

} // namespace qplan
