//===- Checkpoint.cpp - what the compiler sees of a checkpoint ------------===//

#include "ir/import/Checkpoint.h"
#include "ir/Failure.h"
#include "ir/import/GgufCheckpoint.h"
#include "ir/import/HfFolder.h"
#include "ir/import/MappedFile.h"

#include <algorithm>
#include <filesystem>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/SHA256.h>

namespace qplan {

namespace fs = std::filesystem;

uint64_t TensorInfo::elements() const {
  uint64_t total = 1;
  for (int64_t dimension : shape)
    total *= static_cast<uint64_t>(dimension);
  return total;
}

std::string TensorInfo::shapeText() const { return fmt::format("[{}]", fmt::join(shape, ", ")); }

Checkpoint::~Checkpoint() = default;

const TensorInfo *Checkpoint::find(llvm::StringRef name) const {
  auto found = byName.find(name);
  return found == byName.end() ? nullptr : &all[found->second];
}

llvm::Expected<const TensorInfo *> Checkpoint::get(llvm::StringRef name) const {
  if (const TensorInfo *tensor = find(name))
    return tensor;
  // The three names at the least edit distance, the usual cause being a spelling.
  std::vector<std::pair<unsigned, llvm::StringRef>> near;
  for (const TensorInfo &tensor : all)
    near.emplace_back(name.edit_distance(tensor.name, true, 12), tensor.name);
  size_t shown = std::min<size_t>(3, near.size());
  std::partial_sort(near.begin(), near.begin() + shown, near.end());
  std::string list;
  for (size_t i = 0; i < shown; ++i)
    list += fmt::format("{}'{}'", i ? ", " : "", near[i].second.str());
  return inputError("{}: has no tensor '{}'; it has {} tensors{}{}", location, name.str(),
                    all.size(), shown ? ", nearest: " : "", list);
}

llvm::Error Checkpoint::add(TensorInfo tensor) {
  auto [slot, isNew] = byName.try_emplace(tensor.name, all.size());
  if (!isNew)
    return inputError("{}: tensor '{}' is also in {}; a name may appear once", tensor.file,
                      tensor.name, all[slot->second].file);
  all.push_back(std::move(tensor));
  return llvm::Error::success();
}

llvm::Error Checkpoint::replaceAll(std::vector<TensorInfo> tensors) {
  all.clear();
  byName.clear();
  for (TensorInfo &tensor : tensors)
    if (llvm::Error error = add(std::move(tensor)))
      return error;
  return llvm::Error::success();
}

void Checkpoint::computeHash(llvm::ArrayRef<llvm::ArrayRef<uint8_t>> headers) {
  llvm::SHA256 sha;
  auto number = [&](uint64_t value) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; ++i)
      bytes[i] = static_cast<uint8_t>(value >> (8 * i));
    sha.update(bytes);
  };
  number(origin == CheckpointKind::Gguf);
  for (llvm::ArrayRef<uint8_t> header : headers) {
    number(header.size());
    sha.update(header);
  }
  sha.update(configuration.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  // Headers of two trainings of one model are equal; 64 bytes from the middle of up to
  // 256 tensors are not, and cost at most 256 page reads.
  size_t step = std::max<size_t>(1, all.size() / 256);
  for (size_t i = 0; i < all.size(); i += step) {
    const TensorInfo &tensor = all[i];
    number(tensor.bytes);
    uint64_t size = std::min<uint64_t>(64, tensor.bytes);
    sha.update(llvm::ArrayRef<uint8_t>(tensor.data + (tensor.bytes - size) / 2, size));
  }
  hash = llvm::toHex(sha.final(), /*LowerCase=*/true);
}

std::string Checkpoint::companionFile(llvm::StringRef fileName) const {
  if (origin != CheckpointKind::HuggingFace || fileName.contains('/'))
    return {};
  fs::path candidate = fs::path(location) / fileName.str();
  // Whatever has the name: opening a broken link or a folder tells what is wrong with it,
  // where passing it over would take another file in its place.
  std::error_code error;
  bool isThere = fs::symlink_status(candidate, error).type() != fs::file_type::not_found;
  return isThere ? candidate.string() : std::string();
}

//===----------------------------------------------------------------------===//
// Recognition
//===----------------------------------------------------------------------===//

/// Why a folder without config.json is no model, with the file that was probably meant.
static llvm::Error explainFolder(const std::string &path) {
  std::error_code error;
  std::vector<std::string> candidates;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error))
    if (it->path().extension() == ".gguf" || fs::is_regular_file(it->path() / "config.json", error))
      candidates.push_back(it->path().string());
  llvm::sort(candidates);
  if (candidates.empty())
    return inputError("{}: has no config.json; a Hugging Face folder (config.json and "
                      "model.safetensors) or a GGUF file is expected",
                      path);
  candidates.resize(std::min<size_t>(candidates.size(), 5));
  return inputError("{}: has no config.json; name the model itself, perhaps {}", path,
                    fmt::join(candidates, " or "));
}

/// Protobuf field 1 (ir_version), a small number, then another field: how every ONNX
/// file begins.
static bool looksLikeOnnx(llvm::ArrayRef<uint8_t> head) {
  return head.size() >= 3 && head[0] == 0x08 && head[1] >= 1 && head[1] <= 32 &&
         (head[2] == 0x12 || head[2] == 0x3a || head[2] == 0x42);
}

/// Why a file that is not a GGUF is no model.
static llvm::Error explainFile(const std::string &path, llvm::ArrayRef<uint8_t> head) {
  llvm::StringRef text(reinterpret_cast<const char *>(head.data()), head.size());
  if (llvm::StringRef(path).ends_with(".onnx") || looksLikeOnnx(head))
    return inputError("{}: is an ONNX model, which this build cannot read; give the Hugging Face "
                      "folder or a GGUF file",
                      path);
  if (head.size() > 8 && text[8] == '{')
    return inputError("{}: is a safetensors file, which does not say what model it holds; give "
                      "the folder that has its config.json",
                      path);
  if (text.starts_with("PK\3\4") || text.starts_with("\x80\x02"))
    return inputError("{}: is a PyTorch pickle; convert it to safetensors", path);
  if (text.starts_with("FUGG"))
    return inputError("{}: is a big-endian GGUF; convert it again for a little-endian machine",
                      path);
  if (text.ltrim().starts_with("{"))
    return inputError("{}: is a JSON file; give the folder that holds it", path);
  return inputError(
      "{}: is no model that qplan knows ({}); a Hugging Face folder or a GGUF file is "
      "expected",
      path,
      head.empty() ? "the file is empty"
                   : "it begins with bytes " + llvm::toHex(head.take_front(8), true));
}

llvm::Expected<std::unique_ptr<Checkpoint>> openCheckpoint(llvm::StringRef path) {
  std::string name = path.str();
  std::error_code error;
  fs::file_status status = fs::status(name, error);
  if (status.type() == fs::file_type::not_found)
    return inputError("{}: no such file or folder", name);
  if (fs::is_directory(status)) {
    // A folder that may not be searched is left to the reader, whose error says so.
    if (fs::symlink_status(fs::path(name) / "config.json", error).type() ==
        fs::file_type::not_found)
      return explainFolder(name);
    return openHfFolder(path);
  }
  auto file = MappedFile::open(path);
  if (!file)
    return file.takeError();
  llvm::ArrayRef<uint8_t> head = (*file)->bytes().take_front(16);
  if (head.size() >= 4 && head[0] == 'G' && head[1] == 'G' && head[2] == 'U' && head[3] == 'F')
    return openGguf(path);
  return explainFile(name, head);
}

} // namespace qplan
