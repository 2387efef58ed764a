//===- FileMap.cpp - files of a package, opened and mapped ----------------===//
//
// Thin layer over open, pread and mmap whose failures name the file. A file that
// another process truncates while it is mapped ends this process with SIGBUS; plans
// are therefore replaced by rename, never rewritten in place.
//===----------------------------------------------------------------------===//
#include "runtime/src/FileMap.h"

#include "runtime/src/Hash.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

using namespace qplan;

FileMap &FileMap::operator=(FileMap &&other) noexcept {
  std::swap(name, other.name);
  std::swap(handle, other.handle);
  std::swap(bytes, other.bytes);
  std::swap(mapped, other.mapped);
  return *this;
}

FileMap::~FileMap() {
  if (mapped)
    munmap(mapped, bytes);
  if (handle >= 0)
    close(handle);
}

Status FileMap::open(const std::string &path) {
  name = path;
  // Without O_NONBLOCK a FIFO in the place of a file would hang.
  handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (handle < 0) {
    bool missing = errno == ENOENT || errno == ENOTDIR;
    return fail(errno == EMFILE || errno == ENFILE || errno == ENOMEM ? QPLAN_MACHINE_FAILURE
                                                                      : QPLAN_INVALID_INPUT,
                "%s: cannot open: %s%s", path.c_str(), systemError(errno).c_str(),
                missing ? "; a plan is the folder that `qplan compile -o` wrote" : "");
  }
  struct stat info;
  if (fstat(handle, &info) != 0)
    return fail(QPLAN_MACHINE_FAILURE, "%s: %s", path.c_str(), systemError(errno).c_str());
  if (!S_ISREG(info.st_mode))
    return fail(QPLAN_INVALID_INPUT, "%s: expected a regular file", path.c_str());
  bytes = static_cast<uint64_t>(info.st_size);
  return {};
}

Status FileMap::map() {
  if (bytes == 0)
    return fail(QPLAN_INVALID_INPUT, "%s: the file is empty", name.c_str());
  void *result = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, handle, 0);
  if (result == MAP_FAILED)
    return fail(QPLAN_MACHINE_FAILURE, "%s: cannot map %llu bytes: %s", name.c_str(),
                static_cast<unsigned long long>(bytes), systemError(errno).c_str());
  mapped = static_cast<uint8_t *>(result);
  return {};
}

void FileMap::prefetch(bool now) const {
  if (!mapped)
    return;
  // Reading ahead a file that does not fit would push out what was read first.
  auto memory =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (bytes <= memory / 2)
    madvise(mapped, bytes, MADV_WILLNEED); // advice: failure changes nothing but speed
#ifdef MADV_POPULATE_READ
  if (now)
    madvise(mapped, bytes, MADV_POPULATE_READ);
#endif
}

Status FileMap::readAt(uint64_t offset, void *out, uint64_t count) const {
  auto *to = static_cast<char *>(out);
  while (count > 0) {
    ssize_t got = pread(handle, to, std::min<uint64_t>(count, 1 << 30), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return fail(QPLAN_MACHINE_FAILURE, "%s: cannot read: %s", name.c_str(),
                  systemError(errno).c_str());
    if (got == 0)
      return fail(QPLAN_INVALID_INPUT, "%s: ends at byte %llu, expected %llu more bytes",
                  name.c_str(), static_cast<unsigned long long>(offset),
                  static_cast<unsigned long long>(count));
    to += got;
    offset += static_cast<uint64_t>(got);
    count -= static_cast<uint64_t>(got);
  }
  return {};
}

Status FileMap::read(uint64_t limit, std::string &text) const {
  if (bytes > limit)
    return fail(QPLAN_INVALID_INPUT, "%s: %llu bytes, at most %llu expected", name.c_str(),
                static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(limit));
  text.resize(bytes);
  return readAt(0, text.data(), bytes);
}

Status FileMap::checksum(uint64_t offset, uint64_t &hash) const {
  constexpr uint64_t piece = 1 << 20;
  std::unique_ptr<char[]> buffer(new char[piece]);
  XxHash64 state;
  while (offset < bytes) {
    uint64_t count = std::min(piece, bytes - offset);
    if (Status status = readAt(offset, buffer.get(), count); status.failed())
      return status;
    state.update(buffer.get(), count);
    offset += count;
  }
  hash = state.digest();
  return {};
}
