//===- PartialSums.cpp - a calibration that was interrupted ---------------===//
//
// The file: "QPLANSUM", the hash of the run's key (16 digits), the number of windows and
// a hash of the rest (16 digits each), then the memory of the observers.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/PartialSums.h"

#include "ir/Failure.h"
#include "passes/search/TextFile.h"

#include <cstring>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/xxhash.h>

using namespace qplan;

PartialSums::PartialSums(llvm::StringRef statistics, const StatisticsKey &key) {
  if (statistics.empty())
    return;
  path = statistics.str() + ".partial";
  Statistics identity;
  identity.key = key;
  run = statisticsHash(identity);
}

std::string PartialSums::header(uint64_t windows) const {
  return fmt::format("QPLANSUM{}{:016x}", run, windows);
}

uint64_t PartialSums::load(llvm::MutableArrayRef<uint8_t> memory) const {
  if (path.empty())
    return 0;
  auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                          /*RequiresNullTerminator=*/false);
  if (!file)
    return 0;
  llvm::StringRef text = (*file)->getBuffer();
  uint64_t windows = 0;
  const size_t begin = header(0).size(), end = begin + 16;
  if (text.size() != end + memory.size() ||
      text.slice(begin - 16, begin).getAsInteger(16, windows) ||
      text.take_front(begin) != header(windows) ||
      text.slice(begin, end) != fmt::format("{:016x}", llvm::xxHash64(text.drop_front(end))))
    return 0;
  std::memcpy(memory.data(), text.data() + end, memory.size());
  return windows;
}

llvm::Error PartialSums::store(llvm::ArrayRef<uint8_t> memory, uint64_t windows) const {
  if (path.empty())
    return llvm::Error::success();
  llvm::StringRef sums(reinterpret_cast<const char *>(memory.data()), memory.size());
  std::string text = header(windows) + fmt::format("{:016x}", llvm::xxHash64(sums));
  text += sums;
  return writeTextFile(path, "statistics", text);
}

void PartialSums::remove() const {
  if (!path.empty())
    llvm::sys::fs::remove(path);
}
