//===- Link.cpp - shared objects ------------------------------------------===//
//
// lld as a library: no linker of the system is needed, for any architecture.
//
//===----------------------------------------------------------------------===//
#include "codegen/cpu/Parts.h"
#include "codegen/package/InterruptCleanup.h"
#include "ir/Failure.h"
#include <lld/Common/Driver.h>
#include <llvm/ADT/STLExtras.h>
#include <llvm/ObjCopy/ConfigManager.h>
#include <llvm/ObjCopy/ObjCopy.h>
#include <llvm/Object/Binary.h>
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
  if (result.retCode == 0)
    return llvm::Error::success();
  // What lld says where its output cannot be written, all else is ours.
  if (llvm::StringRef(text).contains("failed to open") ||
      llvm::StringRef(text).contains("failed to write"))
    return machineError("linking the model: {}; set TMPDIR to a folder with space",
                        llvm::StringRef(text).trim().str());
  return defectError("linking the model failed: {}", text);
}

/// A folder for the files that lld reads and writes; removed with them, by an interrupt as well.
class LinkFolder {
public:
  explicit LinkFolder(llvm::StringRef target)
      : emulation(target == "aarch64" ? "aarch64linux" : "elf_x86_64") {}
  ~LinkFolder() {
    if (!folder.empty())
      llvm::sys::fs::remove_directories(folder);
    for (int token : registered)
      unregisterCleanup(token);
  }

  llvm::Error open() {
    if (std::error_code error = llvm::sys::fs::createUniqueDirectory("qplan-link", folder))
      return machineError("{}: no temporary folder for linking ({}); set TMPDIR",
                          folder.str().str(), error.message());
    registered.push_back(registerCleanup(folder, /*directory=*/true));
    return llvm::Error::success();
  }

  /// Writes a file; returns its path.
  llvm::Expected<std::string> add(llvm::StringRef name, llvm::ArrayRef<char> bytes) {
    std::string path = pathOf(name);
    if (llvm::Error error = writeFile(path, bytes))
      return std::move(error);
    return path;
  }

  /// Runs lld with `arguments`; returns what it writes.
  llvm::Expected<llvm::SmallVector<char, 0>> link(std::vector<std::string> arguments) {
    const std::string output = pathOf("out");
    arguments.insert(arguments.begin(), {"ld.lld", "-m", emulation, "--threads=1",
                                         "--build-id=none", "-o", output});
    if (llvm::Error error = runLinker(arguments))
      return std::move(error);
    auto linked = llvm::MemoryBuffer::getFile(output, /*IsText=*/false,
                                              /*RequiresNullTerminator=*/false);
    if (!linked)
      return machineError("{}: cannot be read back ({})", output, linked.getError().message());
    llvm::StringRef bytes = (*linked)->getBuffer();
    return llvm::SmallVector<char, 0>(bytes.begin(), bytes.end());
  }

private:
  std::string pathOf(llvm::StringRef name) {
    std::string path = folder.str().str() + "/" + name.str();
    registered.push_back(registerCleanup(path, /*directory=*/false));
    return path;
  }

  const std::string emulation;
  llvm::SmallString<128> folder;
  llvm::SmallVector<int> registered;
};

} // namespace

llvm::Expected<llvm::SmallVector<char, 0>>
linkSharedObject(llvm::ArrayRef<char> object, llvm::StringRef name, const Target &target) {
  LinkFolder folder(target.arch);
  if (llvm::Error error = folder.open())
    return std::move(error);
  llvm::StringRef exports = "{ global: qplan_model_query; local: *; };\n";
  auto input = folder.add("model.o", object);
  if (!input)
    return input.takeError();
  auto script = folder.add("exports", {exports.data(), exports.size()});
  if (!script)
    return script.takeError();
  return folder.link({"-shared", "-soname=model.so", "--hash-style=gnu", "-znoexecstack", "-znow",
                      "--defsym=qplan_model_query=" + name.str() + "_query",
                      "--version-script=" + *script, *input});
}

llvm::Expected<llvm::SmallVector<char, 0>>
mergeObjects(llvm::ArrayRef<llvm::SmallVector<char, 0>> objects, const Target &target) {
  LinkFolder folder(target.arch);
  if (llvm::Error error = folder.open())
    return std::move(error);
  std::vector<std::string> arguments = {"-r"};
  for (auto [i, object] : llvm::enumerate(objects)) {
    auto path = folder.add(std::to_string(i) + ".o", object);
    if (!path)
      return path.takeError();
    arguments.push_back(std::move(*path));
  }
  auto merged = folder.link(std::move(arguments));
  if (!merged)
    return merged;
  auto binary = llvm::object::createBinary({{merged->data(), merged->size()}, "model.o"});
  if (!binary)
    return defectError("the merged object is broken: {}", llvm::toString(binary.takeError()));
  llvm::objcopy::ConfigManager config;
  config.ELF.LocalizeHidden = true;
  llvm::SmallVector<char, 0> result;
  llvm::raw_svector_ostream stream(result);
  if (llvm::Error error = llvm::objcopy::executeObjcopyOnBinary(config, **binary, stream))
    return defectError("hiding symbols of the merged object failed: {}",
                       llvm::toString(std::move(error)));
  return result;
}

} // namespace qplan
