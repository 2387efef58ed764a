//===- Link.cpp - shared objects ------------------------------------------===//
//
// lld as a library: no linker of the system is needed, for any architecture.
//
//===----------------------------------------------------------------------===//
#include "codegen/cpu/Cpu.h"
#include "codegen/package/InterruptCleanup.h"
#include "ir/Failure.h"
#include <lld/Common/Driver.h>
#include <llvm/ADT/ScopeExit.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/Path.h>
#include <mutex>

LLD_HAS_DRIVER(elf)

namespace qplan {
namespace {

llvm::Error writeFile(const std::string &path, llvm::ArrayRef<char> bytes) {
  std::error_code error;
  llvm::raw_fd_ostream file(path, error, llvm::sys::fs::OF_None);
  if (!error) {
    file.write(bytes.data(), bytes.size());
    file.close();
    error = file.error();
    file.clear_error();
  }
  if (error)
    return machineError("{}: cannot be written while linking ({}); set TMPDIR to a folder with "
                        "space",
                        path, error.message());
  return llvm::Error::success();
}

/// Runs lld; it keeps global state, so one call at a time.
llvm::Error runLinker(llvm::ArrayRef<std::string> arguments) {
  static std::mutex one;
  std::lock_guard<std::mutex> guard(one);
  llvm::SmallVector<const char *> raw;
  for (const std::string &argument : arguments)
    raw.push_back(argument.c_str());
  std::string text;
  llvm::raw_string_ostream messages(text);
  lld::Result result =
      lld::lldMain(raw, messages, messages, {{lld::Gnu, &lld::elf::link}});
  if (result.retCode != 0)
    return defectError("linking model.so failed: {}", text);
  return llvm::Error::success();
}

} // namespace

llvm::Expected<llvm::SmallVector<char, 0>>
linkSharedObject(llvm::ArrayRef<char> object, llvm::StringRef name, const Target &target) {
  llvm::SmallString<128> folder;
  if (std::error_code error = llvm::sys::fs::createUniqueDirectory("qplan-link", folder))
    return machineError("{}: no temporary folder for linking ({}); set TMPDIR", folder.str().str(),
                        error.message());
  auto pathOf = [&](const char *file) { return folder.str().str() + "/" + file; };
  // An interrupt removes them as well.
  llvm::SmallVector<int> registered = {registerCleanup(folder, /*directory=*/true)};
  for (const char *file : {"model.o", "exports", "model.so"})
    registered.push_back(registerCleanup(pathOf(file), /*directory=*/false));
  llvm::scope_exit cleanUp([&] {
    llvm::sys::fs::remove_directories(folder);
    for (int token : registered)
      unregisterCleanup(token);
  });
  llvm::StringRef exports = "{ global: qplan_model_query; local: *; };\n";
  if (llvm::Error error = writeFile(pathOf("model.o"), object))
    return error;
  if (llvm::Error error = writeFile(pathOf("exports"), {exports.data(), exports.size()}))
    return error;
  if (llvm::Error error = runLinker(
          {"ld.lld", "-shared", "-m", target.arch == "aarch64" ? "aarch64linux" : "elf_x86_64",
           "--threads=1", "-soname=model.so", "--build-id=none", "--hash-style=gnu",
           "-znoexecstack", "-znow", "--defsym=qplan_model_query=" + name.str() + "_query",
           "--version-script=" + pathOf("exports"), pathOf("model.o"), "-o", pathOf("model.so")}))
    return error;
  auto linked = llvm::MemoryBuffer::getFile(pathOf("model.so"), /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  if (!linked)
    return machineError("{}: cannot be read back ({})", pathOf("model.so"),
                        linked.getError().message());
  llvm::StringRef bytes = (*linked)->getBuffer();
  return llvm::SmallVector<char, 0>(bytes.begin(), bytes.end());
}

} // namespace qplan
