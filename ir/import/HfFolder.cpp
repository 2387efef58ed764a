//===- HfFolder.cpp - a Hugging Face folder as a checkpoint ---------------===//

#include "ir/import/HfFolder.h"
#include "ir/Failure.h"
#include "ir/import/JsonText.h"
#include "ir/import/MappedFile.h"
#include "ir/import/Safetensors.h"
#include "ir/import/quantized/Quantization.h"

#include <filesystem>
#include <map>

namespace qplan {

namespace fs = std::filesystem;
using nlohmann::json;

static constexpr const char *indexName = "model.safetensors.index.json";
static constexpr const char *singleName = "model.safetensors";

namespace {

/// The tensors of a folder as they are stored, where others are shown in their place.
class StoredTensors : public Checkpoint {
public:
  StoredTensors(const std::string &path, llvm::ArrayRef<TensorInfo> list)
      : Checkpoint(CheckpointKind::HuggingFace, path), list(list) {}
  llvm::Error fill() { return replaceAll(list.vec()); }

private:
  llvm::ArrayRef<TensorInfo> list;
};

class HfFolder : public Checkpoint {
public:
  explicit HfFolder(llvm::StringRef path) : Checkpoint(CheckpointKind::HuggingFace, path.str()) {}
  llvm::Error open();

private:
  std::string inFolder(llvm::StringRef name) const {
    return (fs::path(path()) / name.str()).string();
  }
  llvm::Expected<std::optional<QuantizationConfig>> quantization() const;
  llvm::Error readWeights();
  llvm::Error openSharded();
  llvm::Error openShard(const std::string &fileName);
  llvm::Error checkIndex(const std::map<std::string, std::string> &index);
  void readLicense();
  std::vector<std::unique_ptr<MappedFile>> files;
  std::vector<llvm::ArrayRef<uint8_t>> headers;
  std::unique_ptr<StoredTensors> stored;
};

} // namespace

llvm::Expected<std::map<std::string, std::string>> readShardIndex(const json &index,
                                                                  llvm::StringRef file) {
  auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object())
    return inputError("{}: has no weight_map object", file.str());
  std::map<std::string, std::string> result;
  for (const auto &[tensor, shard] : map->items()) {
    if (!shard.is_string())
      return inputError("{}: weight_map gives tensor '{}' a {}; a file name is expected",
                        file.str(), tensor, shard.type_name());
    auto name = shard.get<std::string>();
    bool isPlain = !name.empty() && name != "." && name != ".." &&
                   name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
    if (!isPlain)
      return inputError("{}: weight_map places tensor '{}' in '{}'; a file name without a folder "
                        "is expected",
                        file.str(), tensor, name);
    result.emplace(tensor, std::move(name));
  }
  if (result.empty())
    return inputError("{}: weight_map lists no tensor", file.str());
  return result;
}

/// What config.json, or a file beside it, says of quantization. ModelOpt's own file says more
/// than config.json does; of the others config.json wins.
llvm::Expected<std::optional<QuantizationConfig>> HfFolder::quantization() const {
  auto found = findQuantization(configuration, inFolder("config.json"));
  if (!found || (*found && (*found)->method != "modelopt"))
    return found;
  for (const char *name : {"hf_quant_config.json", "quantize_config.json", "quant_config.json"}) {
    std::string side = companionFile(name);
    if (side.empty())
      continue;
    auto content = readJsonFile(side);
    if (!content)
      return content.takeError();
    auto description = readSideConfig(std::move(*content), name, side);
    if (!description)
      return description.takeError();
    return std::optional(std::move(*description));
  }
  return found;
}

llvm::Error HfFolder::readWeights() {
  auto described = quantization();
  if (!described)
    return described.takeError();
  if (!*described)
    return llvm::Error::success();
  // The readers' tensors point into a copy of the list that lives as long as this folder.
  stored = std::make_unique<StoredTensors>(path(), tensors());
  if (llvm::Error error = stored->fill())
    return error;
  Rewriter rewriter(*stored, notes);
  if (llvm::Error error = readQuantized(**described, rewriter))
    return error;
  return replaceAll(rewriter.take());
}

llvm::Error HfFolder::openShard(const std::string &fileName) {
  std::string file = inFolder(fileName);
  auto mapped = MappedFile::open(file);
  if (!mapped)
    return mapped.takeError();
  auto parsed = Safetensors::parse((*mapped)->bytes(), file);
  if (!parsed)
    return parsed.takeError();
  for (SafetensorsEntry &entry : parsed->tensors) {
    TensorInfo tensor;
    tensor.format = formatForSafetensorsDtype(entry.dtype);
    tensor.name = std::move(entry.name);
    tensor.storage = std::move(entry.dtype);
    tensor.shape = std::move(entry.shape);
    tensor.bytes = entry.bytes;
    tensor.data = (*mapped)->data() + entry.offset;
    tensor.file = file;
    tensor.offset = entry.offset;
    if (llvm::Error error = add(std::move(tensor)))
      return error;
  }
  headers.push_back(parsed->header);
  files.push_back(std::move(*mapped));
  return llvm::Error::success();
}

llvm::Error HfFolder::checkIndex(const std::map<std::string, std::string> &index) {
  for (const auto &[name, shard] : index) {
    const TensorInfo *tensor = find(name);
    if (!tensor)
      return inputError("{}: the index places tensor '{}' there, but the file does not hold it",
                        inFolder(shard), name);
    if (tensor->file != inFolder(shard))
      return inputError("{}: the index places tensor '{}' in {}, but it is in {}",
                        inFolder(indexName), name, shard, tensor->file);
  }
  for (const TensorInfo &tensor : tensors())
    if (!index.contains(tensor.name))
      notes.push_back(
          fmt::format("{}: tensor '{}' is not listed in {}", tensor.file, tensor.name, indexName));
  return llvm::Error::success();
}

llvm::Error HfFolder::openSharded() {
  auto content = readJsonFile(inFolder(indexName));
  if (!content)
    return content.takeError();
  auto index = readShardIndex(*content, inFolder(indexName));
  if (!index)
    return index.takeError();
  std::map<std::string, std::string> shards; // file -> a tensor it should hold
  for (const auto &[tensor, shard] : *index)
    shards.emplace(shard, tensor);
  for (const auto &[shard, tensor] : shards) {
    std::error_code error;
    if (!fs::exists(inFolder(shard), error))
      return inputError("{}: no such file, but {} places tensor '{}' there; {} files are listed",
                        inFolder(shard), indexName, tensor, shards.size());
    if (llvm::Error failure = openShard(shard))
      return failure;
  }
  return checkIndex(*index);
}

/// LICENSE file, else the licence field of the model card's front matter.
void HfFolder::readLicense() {
  constexpr uint64_t limit = 1 << 20;
  auto read = [&](const char *name) -> std::string {
    std::string file = companionFile(name);
    if (file.empty())
      return {};
    auto mapped = MappedFile::open(file);
    if (!mapped) {
      llvm::consumeError(mapped.takeError()); // a licence we may not read is as none
      return {};
    }
    llvm::ArrayRef<uint8_t> bytes = (*mapped)->bytes();
    return bytes.size() > limit ? std::string() : std::string(bytes.begin(), bytes.end());
  };
  for (const char *name : {"LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING"})
    if (licenseText = read(name); !licenseText.empty())
      return;
  std::string card = read("README.md");
  llvm::StringRef rest(card);
  if (!rest.consume_front("---\n"))
    return;
  for (llvm::StringRef line; !rest.empty() && !rest.starts_with("---");) {
    std::tie(line, rest) = rest.split('\n');
    if (line.consume_front("license:"))
      licenseText = line.trim().trim('"').str();
  }
}

llvm::Error HfFolder::open() {
  std::string configFile = inFolder("config.json");
  auto content = readJsonFile(configFile);
  if (!content)
    return content.takeError();
  configuration = std::move(*content);
  if (!companionFile(indexName).empty()) {
    if (llvm::Error error = openSharded())
      return error;
  } else if (!companionFile(singleName).empty()) {
    if (llvm::Error error = openShard(singleName))
      return error;
  } else {
    bool pickled = !companionFile("pytorch_model.bin").empty() ||
                   !companionFile("pytorch_model.bin.index.json").empty();
    return inputError("{}: has neither {} nor {}{}", path(), indexName, singleName,
                      pickled ? "; its weights are PyTorch pickles: convert them to safetensors"
                              : "");
  }
  readLicense();
  computeHash(headers);
  return readWeights();
}

llvm::Expected<std::unique_ptr<Checkpoint>> openHfFolder(llvm::StringRef path) {
  auto folder = std::make_unique<HfFolder>(path);
  if (llvm::Error error = folder->open())
    return std::move(error);
  return folder;
}

} // namespace qplan
