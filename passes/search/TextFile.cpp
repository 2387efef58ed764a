//===- TextFile.cpp - small files read and written whole ------------------===//

#include "passes/search/TextFile.h"

#include "ir/Failure.h"

#include <llvm/Support/FileSystem.h>
#include <llvm/Support/Signals.h>
#include <llvm/Support/raw_ostream.h>
#include <unistd.h>

namespace qplan {

llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>>
readTextFile(llvm::StringRef path, llvm::StringRef what, uint64_t limit) {
  llvm::sys::fs::file_status status;
  if (auto code = llvm::sys::fs::status(path, status))
    return inputError("{}: cannot read this {}: {}", path.str(), what.str(), code.message());
  if (!llvm::sys::fs::is_regular_file(status))
    return inputError("{}: expected a {} file, found something that is no regular file", path.str(),
                      what.str());
  if (status.getSize() > limit)
    return inputError("{}: this {} has {} bytes, expected at most {}", path.str(), what.str(),
                      status.getSize(), limit);
  auto buffer =
      llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return inputError("{}: cannot read this {}: {}", path.str(), what.str(),
                      buffer.getError().message());
  return std::move(*buffer);
}

llvm::Error writeTextFile(llvm::StringRef path, llvm::StringRef what, llvm::StringRef text) {
  int descriptor = -1;
  llvm::SmallString<256> aside;
  auto failed = [&](std::error_code code) {
    return machineError("{}: cannot write this {} ({} bytes): {}", path.str(), what.str(),
                        text.size(), code.message());
  };
  if (auto code =
          llvm::sys::fs::createUniqueFile(path + ".tmp-%%%%%%%%", descriptor, aside, {},
                                          llvm::sys::fs::all_read | llvm::sys::fs::all_write))
    return failed(code);
  llvm::sys::RemoveFileOnSignal(aside);
  std::error_code code;
  {
    llvm::raw_fd_ostream stream(descriptor, /*shouldClose=*/true);
    stream << text;
    stream.flush();
    code = stream.error();
    if (!code && ::fsync(descriptor) != 0)
      code = std::error_code(errno, std::generic_category());
    stream.clear_error(); // handled here; the destructor would abort
  }
  if (!code)
    code = llvm::sys::fs::rename(aside, path);
  if (code)
    (void)llvm::sys::fs::remove(aside);
  llvm::sys::DontRemoveFileOnSignal(aside);
  return code ? failed(code) : llvm::Error::success();
}

} // namespace qplan
