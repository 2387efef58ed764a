//===- PackageWriter.cpp - writes m.qplan/ --------------------------------===//
//
// Replacing an existing plan is one exchange of two names, so that a reader sees the old
// plan or the new one. The hidden directory is locked by its writer: one that nobody
// has locked was left by a killed process, and the next writer of the target removes it.
//
//===----------------------------------------------------------------------===//
#include "codegen/package/PackageWriter.h"

#include "codegen/package/InterruptCleanup.h"
#include "ir/Failure.h"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/Endian.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/Path.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace qplan {
namespace {

constexpr llvm::StringLiteral manifestName = "manifest.json";
constexpr llvm::StringLiteral weightsName = "weights.bin";
constexpr llvm::StringLiteral asideMark = ".unfinished-";

std::string errorText(int code) { return std::generic_category().message(code); }

/// Writes all of `data` at the descriptor's position; an errno value, 0 when done.
int writeFully(int descriptor, const void *data, size_t size) {
  auto *at = static_cast<const char *>(data);
  while (size > 0) {
    // Linux writes at most 2 GiB at a time.
    ssize_t count = ::write(descriptor, at, std::min<size_t>(size, size_t(1) << 30));
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return errno;
    at += count;
    size -= static_cast<size_t>(count);
  }
  return 0;
}

/// Whether `path` is a directory that holds a manifest of ours.
bool isPlan(const std::string &path) {
  int descriptor =
      ::open((path + "/" + manifestName.str()).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    return false;
  char start[256]; // it is the first key
  ssize_t count = ::read(descriptor, start, sizeof start);
  ::close(descriptor);
  return count > 0 &&
         llvm::StringRef(start, static_cast<size_t>(count)).contains("\"qplan_manifest\"");
}

bool isEmptyDirectory(const std::string &path) {
  std::error_code code;
  llvm::sys::fs::directory_iterator entries(path, code), end;
  return !code && entries == end;
}

/// Removes a flat or nested directory; errors are ignored, for nothing could be done.
void removeTree(const std::string &path) { (void)llvm::sys::fs::remove_directories(path); }

/// Final path of `target`: without a trailing slash, and where a symbolic link leads.
std::string resolveTarget(llvm::StringRef target) {
  while (target.size() > 1 && target.ends_with("/"))
    target = target.drop_back();
  llvm::SmallString<256> real;
  if (!llvm::sys::fs::real_path(target, real))
    return real.str().str();
  llvm::SmallString<256> absolute = target;
  (void)llvm::sys::fs::make_absolute(absolute);
  return absolute.str().str();
}

/// Removes what a killed writer of the same target left behind.
void removeStale(llvm::StringRef folder, const std::string &prefix) {
  std::error_code code;
  std::vector<std::string> stale;
  for (llvm::sys::fs::directory_iterator entry(folder, code), end; !code && entry != end;
       entry.increment(code))
    if (llvm::sys::path::filename(entry->path()).starts_with(prefix))
      stale.push_back(entry->path());
  for (const std::string &path : stale) {
    int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor < 0)
      continue;
    struct stat status;
    // A young one may be between its creation and its lock.
    bool old = ::fstat(descriptor, &status) == 0 && ::time(nullptr) - status.st_mtime > 60;
    if (old && ::flock(descriptor, LOCK_EX | LOCK_NB) == 0)
      removeTree(path);
    ::close(descriptor);
  }
}

/// Whether `name` may be a file of the package.
bool isPlainName(llvm::StringRef name) {
  return !name.empty() && name.size() <= 100 && name.front() != '.' &&
         llvm::all_of(name,
                      [](char c) { return llvm::isAlnum(c) || c == '.' || c == '_' || c == '-'; });
}

void syncDirectory(const std::string &path) {
  int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    return;
  ::fsync(descriptor); // some file systems refuse this; the files themselves are synced
  ::close(descriptor);
}

} // namespace

llvm::Error PackageWriter::failed(llvm::StringRef name, uint64_t bytes, int code) const {
  std::string needs = bytes ? fmt::format(" ({} bytes)", bytes) : std::string();
  llvm::StringRef advice =
      code == ENOSPC || code == EDQUOT ? "; free some space, or write elsewhere with -o" : "";
  return machineError("{}/{}: cannot write this file{}: {}{}", target, name.str(), needs,
                      errorText(code), advice.str());
}

llvm::Expected<std::unique_ptr<PackageWriter>> PackageWriter::create(llvm::StringRef target) {
  if (target.empty())
    return usageError("the output path is empty; name one with -o, for example -o model.qplan");
  std::unique_ptr<PackageWriter> writer(new PackageWriter);
  writer->target = resolveTarget(target);
  llvm::sys::fs::file_status status;
  auto code = llvm::sys::fs::status(writer->target, status);
  if (code && code != std::errc::no_such_file_or_directory)
    return machineError("{}: cannot write a plan here: {}", writer->target, code.message());
  if (!code && !llvm::sys::fs::is_directory(status))
    return usageError("{}: a file is in the way; a plan is a directory: remove the file, or name "
                      "another path with -o",
                      writer->target);
  if (!code && !isPlan(writer->target) && !isEmptyDirectory(writer->target))
    return usageError("{}: this directory is no plan (it has files but no manifest.json of qplan) "
                      "and is left alone; name another path with -o",
                      writer->target);
  if (auto error = writer->makeAside())
    return std::move(error);
  return writer;
}

llvm::Error PackageWriter::makeAside() {
  llvm::StringRef folder = llvm::sys::path::parent_path(target);
  std::string prefix =
      fmt::format(".{}{}", llvm::sys::path::filename(target).str(), asideMark.str());
  removeStale(folder, prefix);
  std::string pattern = fmt::format("{}/{}XXXXXX", folder.str(), prefix);
  if (!::mkdtemp(pattern.data()))
    return machineError("{}: cannot make a plan in {}: {}", target, folder.str(), errorText(errno));
  aside = pattern;
  cleanups.push_back(registerCleanup(aside, /*directory=*/true));
  asideDescriptor = ::open(aside.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (asideDescriptor < 0)
    return machineError("{}: cannot open {}: {}", target, aside, errorText(errno));
  // Not every file system has locks; then leftovers stay, which does no harm.
  (void)::flock(asideDescriptor, LOCK_EX | LOCK_NB);
  // mkdtemp makes it private; a plan is as readable as any other output.
  mode_t mask = ::umask(0);
  ::umask(mask);
  (void)::fchmod(asideDescriptor, 0777 & ~mask);
  return llvm::Error::success();
}

PackageWriter::~PackageWriter() {
  if (weightsDescriptor >= 0)
    ::close(weightsDescriptor);
  if (!aside.empty() && !committed)
    removeTree(aside);
  if (asideDescriptor >= 0)
    ::close(asideDescriptor);
  for (int token : cleanups)
    unregisterCleanup(token);
}

llvm::Expected<int> PackageWriter::createFile(llvm::StringRef name) {
  if (committed)
    return defectError("package: '{}' comes after the commit", name.str());
  bool used = llvm::any_of(files, [&](const WrittenFile &file) { return file.name == name; });
  if (!isPlainName(name) || used)
    return defectError("package: '{}' is no new plain file name", name.str());
  std::string path = aside + "/" + name.str();
  cleanups.push_back(registerCleanup(path, /*directory=*/false));
  int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0)
    return failed(name, 0, errno);
  return descriptor;
}

llvm::Error PackageWriter::beginWeights(uint64_t totalBytes) {
  if (weightsDescriptor >= 0 || weightsDone || totalBytes < weightsHeaderBytes ||
      totalBytes > uint64_t(1) << 60)
    return defectError("package: weights of {} bytes begin at the wrong time", totalBytes);
  auto descriptor = createFile(weightsName);
  if (!descriptor)
    return descriptor.takeError();
  weightsDescriptor = *descriptor;
  weightsTotal = totalBytes;
  weightsAt = weightsHeaderBytes;
  // Reserving finds a full disk before an hour of work, not after it.
  int code = ::fallocate(weightsDescriptor, 0, 0, static_cast<off_t>(totalBytes)) ? errno : 0;
  if (code == EOPNOTSUPP || code == ENOSYS) {
    struct statvfs space;
    code = 0;
    if (::fstatvfs(weightsDescriptor, &space) == 0 &&
        static_cast<__uint128_t>(space.f_bavail) * space.f_frsize < totalBytes)
      code = ENOSPC;
  }
  if (code)
    return failed(weightsName, totalBytes, code);
  if (::lseek(weightsDescriptor, weightsHeaderBytes, SEEK_SET) < 0)
    return failed(weightsName, totalBytes, errno);
  return llvm::Error::success();
}

llvm::Error PackageWriter::appendWeights(const void *data, size_t size) {
  if (int code = writeFully(weightsDescriptor, data, size))
    return failed(weightsName, weightsTotal, code);
  weightsHash.update(data, size);
  weightsAt += size;
  return llvm::Error::success();
}

llvm::Error PackageWriter::appendZeros(uint64_t count) {
  static const char zeros[1 << 16] = {};
  while (count > 0) {
    size_t piece = std::min<uint64_t>(count, sizeof zeros);
    if (auto error = appendWeights(zeros, piece))
      return error;
    count -= piece;
  }
  return llvm::Error::success();
}

llvm::Error PackageWriter::writeWeights(uint64_t offset, llvm::ArrayRef<uint8_t> bytes) {
  if (weightsDescriptor < 0)
    return defectError("package: weights are written before they begin");
  if (offset < weightsAt || offset > weightsTotal || bytes.size() > weightsTotal - offset)
    return defectError("package: weights [{}, {} bytes] do not lie in [{}, {})", offset,
                       bytes.size(), weightsAt, weightsTotal);
  if (auto error = appendZeros(offset - weightsAt))
    return error;
  return appendWeights(bytes.data(), bytes.size());
}

llvm::Error PackageWriter::finishWeights() {
  if (weightsDescriptor < 0)
    return defectError("package: weights finish before they begin");
  if (auto error = appendZeros(weightsTotal - weightsAt))
    return error;
  uint64_t hash = weightsHash.digest();
  uint8_t header[weightsHeaderBytes] = {'Q', 'P', 'L', 'A', 'N', 'W', '1', 0};
  llvm::support::endian::write64le(header + 8, weightsTotal);
  llvm::support::endian::write64le(header + 16, weightsHeaderBytes);
  llvm::support::endian::write64le(header + 24, hash);
  int code = 0;
  if (::lseek(weightsDescriptor, 0, SEEK_SET) < 0)
    code = errno;
  if (!code)
    code = writeFully(weightsDescriptor, header, sizeof header);
  if (!code && ::fsync(weightsDescriptor) != 0)
    code = errno;
  if (::close(weightsDescriptor) != 0 && !code)
    code = errno;
  weightsDescriptor = -1;
  if (code)
    return failed(weightsName, weightsTotal, code);
  weightsDone = true;
  files.push_back({weightsName.str(), weightsTotal, hash});
  return llvm::Error::success();
}

llvm::Error PackageWriter::addFile(llvm::StringRef name, llvm::StringRef contents) {
  auto descriptor = createFile(name);
  if (!descriptor)
    return descriptor.takeError();
  int code = writeFully(*descriptor, contents.data(), contents.size());
  if (!code && ::fsync(*descriptor) != 0)
    code = errno;
  if (::close(*descriptor) != 0 && !code)
    code = errno;
  if (code)
    return failed(name, contents.size(), code);
  files.push_back({name.str(), contents.size(), xxh64(contents.data(), contents.size())});
  return llvm::Error::success();
}

llvm::Error PackageWriter::commit(nlohmann::ordered_json manifest) {
  if (weightsDescriptor >= 0)
    return defectError("package: weights are not finished");
  if (!manifest.is_object() || manifest.empty() || manifest.begin().key() != "qplan_manifest")
    return defectError("package: the manifest does not begin with 'qplan_manifest'");
  llvm::sort(files, [](const WrittenFile &a, const WrittenFile &b) { return a.name < b.name; });
  auto &list = manifest["files"] = nlohmann::ordered_json::object();
  for (const WrittenFile &file : files)
    list[file.name] = {{"bytes", file.bytes}, {"xxh64", hashText(file.hash)}};
  // Names from a checkpoint may be no UTF-8; a replacement is better than no plan.
  std::string text =
      manifest.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  if (auto error = addFile(manifestName, text))
    return error;
  syncDirectory(aside);
  return moveIntoPlace();
}

llvm::Error PackageWriter::moveIntoPlace() {
  int code = 0;
  bool exchanged = false;
  // rename() replaces nothing and an empty directory, but not the plan that is there.
  if (::rename(aside.c_str(), target.c_str()) != 0) {
    code = errno;
    if ((code == ENOTEMPTY || code == EEXIST) && isPlan(target)) {
      code = ::renameat2(AT_FDCWD, aside.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) ? errno
                                                                                             : 0;
      exchanged = code == 0;
      if (code == EINVAL || code == ENOSYS) { // a file system that cannot exchange
        std::string old = aside + "-old";
        code = ::rename(target.c_str(), old.c_str()) ? errno : 0;
        if (!code && ::rename(aside.c_str(), target.c_str()) != 0) {
          code = errno;
          (void)::rename(old.c_str(), target.c_str());
        }
        if (!code)
          removeTree(old);
      }
    }
  }
  if (code)
    return machineError("{}: cannot move the finished plan into place: {}", target,
                        errorText(code));
  committed = true;
  if (exchanged)
    removeTree(aside); // now the plan that was there before
  syncDirectory(llvm::sys::path::parent_path(target).str());
  return llvm::Error::success();
}

} // namespace qplan
