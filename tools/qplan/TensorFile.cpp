//===- TensorFile.cpp - safetensors files of ids and logits ---------------===//

#include "tools/qplan/TensorFile.h"

#include "ir/Failure.h"
#include "tools/qplan/Output.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

namespace qplan {

llvm::Expected<TensorFile> TensorFile::open(const std::string &path) {
  auto mapped = MappedFile::open(path);
  if (!mapped)
    return mapped.takeError();
  auto parsed = Safetensors::parse((*mapped)->bytes(), path);
  if (!parsed)
    return parsed.takeError();
  TensorFile result;
  result.file = std::move(*mapped);
  result.header = std::move(*parsed);
  return result;
}

const SafetensorsEntry *TensorFile::find(llvm::StringRef name) const {
  for (const SafetensorsEntry &entry : header.tensors)
    if (entry.name == name)
      return &entry;
  return nullptr;
}

llvm::Expected<const SafetensorsEntry *> TensorFile::get(llvm::StringRef name) const {
  if (const SafetensorsEntry *entry = find(name))
    return entry;
  std::string names;
  for (const SafetensorsEntry &entry : header.tensors)
    if (names.size() < 200)
      names += (names.empty() ? "" : ", ") + entry.name;
  return inputError("{}: has no tensor `{}`; it holds {}", file->path(), name.str(),
                    names.empty() ? "none" : names);
}

llvm::Expected<IdTensor> TensorFile::ids(llvm::StringRef name) const {
  auto entry = get(name);
  if (!entry)
    return entry.takeError();
  bool wide = (*entry)->dtype == "I64";
  if (!wide && (*entry)->dtype != "I32")
    return inputError("{}: tensor `{}` is {}; expected I32", file->path(), name.str(),
                      (*entry)->dtype);
  IdTensor result;
  result.shape = (*entry)->shape;
  const uint8_t *at = file->data() + (*entry)->offset;
  result.values.resize((*entry)->bytes / (wide ? 8 : 4));
  for (size_t i = 0; i < result.values.size(); ++i) {
    int32_t narrow;
    std::memcpy(&narrow, at + i * (wide ? 8 : 4), 4);
    if (wide) {
      int64_t value;
      std::memcpy(&value, at + i * 8, 8);
      if (value < 0 || value > std::numeric_limits<int32_t>::max())
        return inputError("{}: tensor `{}`: element {} is {}, which is no token id", file->path(),
                          name.str(), i, value);
      narrow = int32_t(value);
    }
    result.values[i] = narrow;
  }
  return result;
}

llvm::Expected<FloatTensor> TensorFile::floats(llvm::StringRef name) const {
  auto entry = get(name);
  if (!entry)
    return entry.takeError();
  if ((*entry)->dtype != "F32")
    return inputError("{}: tensor `{}` is {}; expected F32", file->path(), name.str(),
                      (*entry)->dtype);
  FloatTensor result;
  result.shape = (*entry)->shape;
  result.values.resize((*entry)->bytes / 4);
  if (!result.values.empty())
    std::memcpy(result.values.data(), file->data() + (*entry)->offset, (*entry)->bytes);
  return result;
}

llvm::Error writeTensors(const std::string &path, std::vector<TensorToWrite> tensors) {
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorToWrite &a, const TensorToWrite &b) { return a.name < b.name; });
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  uint64_t offset = 0;
  for (const TensorToWrite &tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.bytes.size()}}};
    offset += tensor.bytes.size();
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i)
    bytes[size_t(i)] = char(uint64_t(text.size()) >> (8 * i));
  bytes.reserve(8 + text.size() + offset);
  bytes += text;
  for (const TensorToWrite &tensor : tensors)
    bytes.append(reinterpret_cast<const char *>(tensor.bytes.data()), tensor.bytes.size());
  return writeFileWhole(path, bytes);
}

} // namespace qplan
