//===- HfFolder.cpp - a Hugging Face folder as a checkpoint ---------------===//

#include "ir/import/HfFolder.h"
#include "ir/Failure.h"
#include "ir/import/JsonText.h"
#include "ir/import/MappedFile.h"
#include "ir/import/Safetensors.h"

#include <filesystem>
#include <map>

namespace qplan {

namespace fs = std::filesystem;
using nlohmann::json;

static constexpr const char *indexName = "model.safetensors.index.json";
static constexpr const char *singleName = "model.safetensors";

namespace {

class HfFolder : public Checkpoint {
public:
  explicit HfFolder(llvm::StringRef path) : Checkpoint(CheckpointKind::HuggingFace, path.str()) {}
  llvm::Error open();

private:
  std::string inFolder(llvm::StringRef name) const {
    return (fs::path(path()) / name.str()).string();
  }
  llvm::Error refuseOtherTools();
  llvm::Error openSharded();
  llvm::Error openShard(const std::string &fileName);
  llvm::Error checkIndex(const std::map<std::string, std::string> &index);
  void readLicense();
  std::vector<std::unique_ptr<MappedFile>> files;
  std::vector<llvm::ArrayRef<uint8_t>> headers;
};

} // namespace

/// The first string member of `object` among `keys`, or "".
static std::string textOf(const json &object, std::initializer_list<const char *> keys) {
  for (const char *key : keys)
    if (auto found = object.find(key); found != object.end() && found->is_string())
      return found->get<std::string>();
  return {};
}

static llvm::Error methodError(const json &quantization, llvm::StringRef file) {
  std::string method;
  if (quantization.is_object()) {
    method = textOf(quantization, {"quant_method", "quant_algo"});
    // Early bitsandbytes checkpoints do not name themselves.
    if (method.empty() &&
        (quantization.contains("load_in_4bit") || quantization.contains("load_in_8bit")))
      method = "bitsandbytes";
  }
  return inputError("{}: the checkpoint is already quantized with '{}', which this build cannot "
                    "import; give the original checkpoint (F32, F16 or BF16) or a GGUF file",
                    file.str(), method.empty() ? "an unnamed method" : method);
}

llvm::Error checkUnquantized(const json &config, llvm::StringRef file) {
  auto isSet = [](const json &object, const char *key) {
    auto found = object.find(key);
    return found != object.end() && !found->is_null();
  };
  for (const char *key : {"quantization_config", "compression_config"})
    if (isSet(config, key))
      return methodError(config[key], file);
  if (isSet(config, "text_config") && config["text_config"].is_object() &&
      isSet(config["text_config"], "quantization_config"))
    return methodError(config["text_config"]["quantization_config"], file);
  if (isSet(config, "architecture") && isSet(config, "mapping"))
    return inputError("{}: is a TensorRT-LLM checkpoint, which this build cannot import; give the "
                      "Hugging Face checkpoint it was made from",
                      file.str());
  return llvm::Error::success();
}

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

/// Side files by which other tools say that the tensors are theirs.
llvm::Error HfFolder::refuseOtherTools() {
  for (const char *name : {"hf_quant_config.json", "quantize_config.json", "quant_config.json"}) {
    std::string side = companionFile(name);
    if (side.empty())
      continue;
    auto content = readJsonFile(side);
    if (!content)
      return content.takeError();
    if (auto inner = content->find("quantization"); inner != content->end())
      return methodError(*inner, side);
    // quantize_config.json is GPTQ's and quant_config.json AutoAWQ's when they do not say.
    if (textOf(*content, {"quant_method", "quant_algo"}).empty())
      (*content)["quant_method"] = name[5] == 'i' ? "gptq" : name[0] == 'h' ? "modelopt" : "awq";
    return methodError(*content, side);
  }
  return llvm::Error::success();
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
  if (llvm::Error error = checkUnquantized(configuration, configFile))
    return error;
  if (llvm::Error error = refuseOtherTools())
    return error;
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
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<Checkpoint>> openHfFolder(llvm::StringRef path) {
  auto folder = std::make_unique<HfFolder>(path);
  if (llvm::Error error = folder->open())
    return std::move(error);
  return folder;
}

} // namespace qplan
