//===- Output.cpp - results on stdout, files that appear whole ------------===//

#include "tools/qplan/Output.h"

#include "codegen/package/InterruptCleanup.h"
#include "ir/Failure.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/MemoryBuffer.h>
#include <unistd.h>

namespace qplan {

/// errno of the first write to stdout that failed.
static int firstProblem = 0;

void print(llvm::StringRef text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() && !firstProblem)
    firstProblem = errno ? errno : EIO;
}

bool printNow(llvm::StringRef text) {
  print(text);
  if (std::fflush(stdout) != 0 && !firstProblem)
    firstProblem = errno ? errno : EIO;
  return firstProblem == 0;
}

void printJson(const nlohmann::ordered_json &object) {
  print(object.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

llvm::Error flushOutput() {
  if (std::fflush(stdout) != 0 && !firstProblem)
    firstProblem = errno ? errno : EIO;
  // Whoever closed the pipe has read what they wanted.
  if (!firstProblem || firstProblem == EPIPE)
    return llvm::Error::success();
  return machineError("stdout: cannot write: {}", std::strerror(firstProblem));
}

namespace {

/// Writes everything and syncs; 0 or errno.
int writeDescriptor(int descriptor, llvm::StringRef bytes) {
  while (!bytes.empty()) {
    ssize_t count = ::write(descriptor, bytes.data(), std::min<size_t>(bytes.size(), 1 << 30));
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return errno ? errno : EIO;
    bytes = bytes.drop_front(size_t(count));
  }
  return ::fsync(descriptor) == 0 || errno == EINVAL ? 0 : errno;
}

} // namespace

llvm::Error writeFileWhole(const std::string &path, llvm::StringRef bytes) {
  auto failed = [&](int code) {
    return machineError("{}: cannot write {}: {}", path, sizeText(bytes.size()),
                        std::strerror(code));
  };
  if (llvm::sys::fs::is_directory(path))
    return usageError("{}: is a folder; name a file", path);
  // A device or a pipe cannot be renamed over.
  if (llvm::sys::fs::exists(path) && !llvm::sys::fs::is_regular_file(path)) {
    int descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    int code = descriptor < 0 ? errno : writeDescriptor(descriptor, bytes);
    if (descriptor >= 0)
      ::close(descriptor);
    return code ? failed(code) : llvm::Error::success();
  }
  std::string aside = fmt::format("{}.{}.part", path, ::getpid());
  int descriptor = ::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0)
    return failed(errno);
  int token = registerCleanup(aside, /*directory=*/false);
  int code = writeDescriptor(descriptor, bytes);
  if (::close(descriptor) != 0 && !code)
    code = errno;
  if (!code && ::rename(aside.c_str(), path.c_str()) != 0)
    code = errno;
  if (code)
    ::unlink(aside.c_str());
  unregisterCleanup(token);
  return code ? failed(code) : llvm::Error::success();
}

llvm::Expected<std::string> readTextFile(const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(path, /*IsText=*/false,
                                                   /*RequiresNullTerminator=*/false);
  if (!buffer)
    return inputError("{}: cannot read: {}", path, buffer.getError().message());
  return (*buffer)->getBuffer().str();
}

std::string sizeText(uint64_t bytes) {
  if (bytes < 1000)
    return fmt::format("{} bytes", bytes);
  if (bytes < 1'000'000)
    return fmt::format("{:.1f} kB", double(bytes) / 1e3);
  if (bytes < 1'000'000'000)
    return fmt::format("{:.1f} MB", double(bytes) / 1e6);
  return fmt::format("{:.2f} GB", double(bytes) / 1e9);
}

} // namespace qplan
