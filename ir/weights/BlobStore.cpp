//===- BlobStore.cpp - constants that methods made, by content ------------===//
//
// A blob file: "QPB1", u32 length of the format's name, the name, u32 rank, i64
// dimensions, rows, the f32 numbers beside them if any. All little-endian. The name is the hash of these bytes.
//
//===----------------------------------------------------------------------===//

#include "ir/weights/BlobStore.h"
#include "ir/Failure.h"

#include <bit>
#include <cstring>
#include <filesystem>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/Endian.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/SHA256.h>
#include <llvm/Support/raw_ostream.h>

namespace qplan {

namespace fs = std::filesystem;
static constexpr uint32_t maxRank = 4;
static constexpr size_t nameDigits = 32;

/// A blob and what keeps its bytes.
struct BlobStore::Entry {
  Blob blob;
  std::vector<uint8_t> memory;      ///< header and rows, when in memory
  std::unique_ptr<MappedFile> file; ///< when in a folder
};

BlobStore::BlobStore() = default;
BlobStore::BlobStore(std::string folder) : folder(std::move(folder)) {}
BlobStore::~BlobStore() = default;

/// Rows and columns of a shape of 1 to 4 positive dimensions; none when it is not that
/// or its size overflows.
static std::optional<std::pair<int64_t, int64_t>> matrixOf(llvm::ArrayRef<int64_t> shape) {
  if (shape.empty() || shape.size() > maxRank)
    return std::nullopt;
  int64_t rows = 1;
  for (int64_t dimension : shape)
    if (dimension <= 0)
      return std::nullopt;
  for (int64_t dimension : shape.drop_back())
    if (__builtin_mul_overflow(rows, dimension, &rows))
      return std::nullopt;
  return std::pair(rows, shape.back());
}

template <typename T>
static void append(std::vector<uint8_t> &out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i)
    out.push_back(static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i)));
}

static std::vector<uint8_t> serialize(llvm::ArrayRef<int64_t> shape, FormatId format,
                                      llvm::ArrayRef<uint8_t> bytes) {
  std::vector<uint8_t> out = {'Q', 'P', 'B', '1'};
  llvm::StringRef name = formatName(format);
  append(out, static_cast<uint32_t>(name.size()));
  out.insert(out.end(), name.begin(), name.end());
  append(out, static_cast<uint32_t>(shape.size()));
  for (int64_t dimension : shape)
    append(out, dimension);
  out.insert(out.end(), bytes.begin(), bytes.end());
  return out;
}

/// Reads a header and checks the size; `subject` is for messages. The blob's bytes
/// point into `contents`.
static llvm::Expected<Blob> deserialize(llvm::ArrayRef<uint8_t> contents,
                                        const std::string &subject) {
  auto damaged = [&](const char *why) {
    return inputError("{}: is damaged ({}); delete it and make it again", subject, why);
  };
  using namespace llvm::support::endian;
  if (contents.size() < 8 || std::memcmp(contents.data(), "QPB1", 4) != 0)
    return damaged("not a blob");
  uint64_t nameBytes = read32le(contents.data() + 4), position = 8;
  if (nameBytes > 64 || contents.size() < position + nameBytes + 4)
    return damaged("short header");
  auto format =
      parseFormat({reinterpret_cast<const char *>(contents.data() + position), nameBytes});
  if (!format)
    return format.takeError();
  position += nameBytes;
  uint64_t rank = read32le(contents.data() + position);
  position += 4;
  if (rank < 1 || rank > maxRank || contents.size() < position + 8 * rank)
    return damaged("rank");
  Blob blob;
  blob.format = *format;
  for (uint64_t i = 0; i < rank; ++i, position += 8)
    blob.shape.push_back(static_cast<int64_t>(read64le(contents.data() + position)));
  blob.bytes = contents.drop_front(position);
  auto matrix = matrixOf(blob.shape);
  if (!matrix)
    return damaged("shape");
  auto needed = bytesFor(blob.format, matrix->first, matrix->second);
  if (!needed)
    return needed.takeError();
  if (*needed != blob.bytes.size())
    return damaged("size");
  return blob;
}

static std::string nameOf(llvm::ArrayRef<uint8_t> contents) {
  return llvm::toHex(llvm::SHA256::hash(contents), /*LowerCase=*/true).substr(0, nameDigits);
}

llvm::Error BlobStore::writeFile(const std::string &name, llvm::ArrayRef<uint8_t> contents) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    return machineError("{}: cannot be made: {}", folder, error.message());
  std::string path = (fs::path(folder) / (name + ".blob")).string();
  if (fs::exists(path, error))
    return llvm::Error::success(); // same name, same contents
  // Written aside, then renamed: a reader never sees half a blob.
  auto aside = llvm::sys::fs::TempFile::create(path + "-%%%%%%");
  if (!aside)
    return machineError("{}: cannot be written: {}", path, llvm::toString(aside.takeError()));
  llvm::raw_fd_ostream out(aside->FD, /*shouldClose=*/false);
  out.write(reinterpret_cast<const char *>(contents.data()), contents.size());
  out.flush();
  if (out.has_error()) {
    std::string message = out.error().message();
    out.clear_error();
    llvm::consumeError(aside->discard());
    return machineError("{}: cannot be written: {}", path, message);
  }
  if (llvm::Error failure = aside->keep(path))
    return machineError("{}: cannot be written: {}", path, llvm::toString(std::move(failure)));
  return llvm::Error::success();
}

llvm::Expected<std::string> BlobStore::put(llvm::ArrayRef<int64_t> shape, FormatId format,
                                           llvm::ArrayRef<uint8_t> bytes) {
  auto matrix = matrixOf(shape);
  if (!matrix)
    return defectError("blob of shape [{}]: 1 to 4 positive dimensions are expected",
                       fmt::join(shape, ", "));
  auto needed = bytesFor(format, matrix->first, matrix->second);
  if (!needed)
    return needed.takeError();
  if (*needed != bytes.size())
    return defectError("blob of shape [{}] in {} needs {} bytes, given {}", fmt::join(shape, ", "),
                       formatName(format).str(), *needed, bytes.size());
  std::vector<uint8_t> contents = serialize(shape, format, bytes);
  std::string name = nameOf(contents);
  std::lock_guard<std::mutex> lock(mutex);
  if (entries.contains(name))
    return name;
  if (!folder.empty()) {
    if (llvm::Error error = writeFile(name, contents))
      return std::move(error);
    return name; // mapped by the first get
  }
  auto entry = std::make_unique<Entry>();
  entry->memory = std::move(contents);
  auto blob = deserialize(entry->memory, "blob " + name);
  if (!blob)
    return blob.takeError();
  entry->blob = std::move(*blob);
  entries[name] = std::move(entry);
  return name;
}

llvm::Expected<std::string> BlobStore::putFloats(llvm::ArrayRef<int64_t> shape,
                                                 llvm::ArrayRef<float> values) {
  static_assert(std::endian::native == std::endian::little);
  return put(shape, FormatId::F32,
             {reinterpret_cast<const uint8_t *>(values.data()), values.size() * sizeof(float)});
}

llvm::Expected<const Blob *> BlobStore::load(llvm::StringRef name) {
  std::string path = (fs::path(folder) / (name.str() + ".blob")).string();
  auto file = MappedFile::open(path);
  if (!file)
    return file.takeError();
  if (nameOf((*file)->bytes()) != name)
    return inputError("{}: is damaged (its contents do not hash to its name); delete it and make "
                      "it again",
                      path);
  auto blob = deserialize((*file)->bytes(), path);
  if (!blob)
    return blob.takeError();
  auto entry = std::make_unique<Entry>();
  entry->blob = std::move(*blob);
  entry->file = std::move(*file);
  const Blob *result = &entry->blob;
  entries[name] = std::move(entry);
  return result;
}

llvm::Expected<const Blob *> BlobStore::get(llvm::StringRef name) {
  std::lock_guard<std::mutex> lock(mutex);
  auto found = entries.find(name);
  if (found != entries.end())
    return &found->second->blob;
  // The name becomes part of a path: nothing but digits may pass.
  bool isName = name.size() == nameDigits && llvm::all_of(name, llvm::isHexDigit);
  if (folder.empty() || !isName)
    return inputError("no blob is called '{}'", name.str());
  return load(name);
}

llvm::Expected<std::vector<float>> BlobStore::floats(llvm::StringRef name) {
  auto blob = get(name);
  if (!blob)
    return blob.takeError();
  if ((*blob)->format != FormatId::F32)
    return inputError("blob '{}' is stored as {}; f32 is expected", name.str(),
                      formatName((*blob)->format).str());
  std::vector<float> values((*blob)->bytes.size() / sizeof(float));
  std::memcpy(values.data(), (*blob)->bytes.data(), values.size() * sizeof(float));
  return values;
}

} // namespace qplan
