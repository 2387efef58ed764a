//===- GgufCheckpoint.cpp - GGUF files as a checkpoint --------------------===//

#include "ir/import/GgufCheckpoint.h"
#include "ir/Failure.h"
#include "ir/import/Gguf.h"
#include "ir/import/GgufFp4.h"
#include "ir/import/MappedFile.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace qplan {

namespace {

class GgufCheckpoint : public Checkpoint {
public:
  explicit GgufCheckpoint(llvm::StringRef path) : Checkpoint(CheckpointKind::Gguf, path.str()) {}
  const Gguf *gguf() const override { return parts.front().get(); }
  llvm::Error open();

private:
  llvm::Error openPart(const std::string &file);
  llvm::Error addTensors(const Gguf &part, const MappedFile &file);
  llvm::Error openOtherParts(uint64_t count);
  /// Gives fp4 tensors their rows, and NVFP4 ones the scale that lies in a tensor of its own.
  llvm::Error resolveFp4();
  llvm::Expected<float> tensorScale(const TensorInfo &tensor, const TensorInfo *found) const;
  std::vector<std::unique_ptr<MappedFile>> files;
  std::vector<std::unique_ptr<Gguf>> parts;
};

/// What remains of a split file's name without "-00001-of-00003.gguf"; none when the
/// name does not end so for the given part (from 1).
std::optional<std::string> splitPrefix(llvm::StringRef path, uint64_t part, uint64_t count) {
  std::string suffix = fmt::format("-{:05}-of-{:05}.gguf", part, count);
  if (!path.ends_with(suffix))
    return std::nullopt;
  return path.drop_back(suffix.size()).str();
}

/// Integers and doubles may lie in a file (expert maps, ...): no weights, but no error.
bool holdsPlainNumbers(uint32_t typeId) { return typeId >= 24 && typeId <= 28; }

std::string readableTypes() {
  std::string list;
  for (const FormatInfo &info : allFormats())
    if (const GgmlType *type = info.ggufType == 65535 ? nullptr : ggmlType(info.ggufType))
      list += (list.empty() ? "" : ", ") + std::string(type->name);
  return list;
}

} // namespace

llvm::Error GgufCheckpoint::addTensors(const Gguf &part, const MappedFile &file) {
  for (const GgufTensor &entry : part.tensors()) {
    TensorInfo tensor;
    tensor.format = formatForGgufType(entry.type->id);
    if (!tensor.format && !holdsPlainNumbers(entry.type->id))
      return inputError(
          "{}: tensor '{}' is stored as {}, which this build cannot read; convert the "
          "model to one of {}",
          part.path(), entry.name, entry.type->name, readableTypes());
    tensor.name = entry.name;
    tensor.storage = entry.type->name;
    tensor.shape = entry.shape;
    tensor.bytes = entry.bytes;
    tensor.data = file.data() + entry.offset;
    tensor.file = part.path();
    tensor.offset = entry.offset;
    if (llvm::Error error = add(std::move(tensor)))
      return error;
  }
  return llvm::Error::success();
}

llvm::Error GgufCheckpoint::openPart(const std::string &file) {
  auto mapped = MappedFile::open(file);
  if (!mapped)
    return mapped.takeError();
  auto part = Gguf::parse((*mapped)->bytes(), file);
  if (!part)
    return part.takeError();
  if (llvm::Error error = addTensors(**part, **mapped))
    return error;
  files.push_back(std::move(*mapped));
  parts.push_back(std::move(*part));
  return llvm::Error::success();
}

llvm::Error GgufCheckpoint::openOtherParts(uint64_t count) {
  std::optional<std::string> prefix = splitPrefix(path(), 1, count);
  if (!prefix)
    return inputError(
        "{}: is part 1 of {}, but its name does not end in '-00001-of-{:05}.gguf', so "
        "the other parts cannot be found",
        path(), count, count);
  for (uint64_t part = 2; part <= count; ++part) {
    std::string file = fmt::format("{}-{:05}-of-{:05}.gguf", *prefix, part, count);
    if (llvm::Error error = openPart(file))
      return llvm::joinErrors(std::move(error), inputError("{}: is split into {} files, which must "
                                                           "lie side by side",
                                                           path(), count));
    auto number = parts.back()->unsignedValue("split.no");
    if (!number)
      return number.takeError();
    auto total = parts.back()->unsignedValue("split.count");
    if (!total)
      return total.takeError();
    if (*number != part - 1 || *total != count)
      return inputError("{}: says it is part {} of {}; part {} of {} is expected", file,
                        *number + 1, *total, part, count);
  }
  auto listed = gguf()->unsignedValue("split.tensors.count", tensors().size());
  if (!listed)
    return listed.takeError();
  if (*listed != tensors().size())
    return inputError("{}: split.tensors.count is {}, but the {} parts hold {} tensors", path(),
                      *listed, count, tensors().size());
  return llvm::Error::success();
}

llvm::Error GgufCheckpoint::open() {
  if (llvm::Error error = openPart(path()))
    return error;
  auto part = gguf()->unsignedValue("split.no", 0);
  if (!part)
    return part.takeError();
  auto count = gguf()->unsignedValue("split.count", 1);
  if (!count)
    return count.takeError();
  if (*count > 99999 || (*part != 0 && *part >= *count))
    return inputError("{}: says it is part {} of {}, which cannot be true", path(), *part + 1,
                      *count);
  if (*part != 0) {
    std::optional<std::string> prefix = splitPrefix(path(), *part + 1, *count);
    return inputError("{}: is part {} of {}; give the first part{}", path(), *part + 1, *count,
                      prefix ? fmt::format(", {}-00001-of-{:05}.gguf", *prefix, *count) : "");
  }
  if (*count > 1)
    if (llvm::Error error = openOtherParts(*count))
      return error;
  if (gguf()->contains("general.license")) {
    auto text = gguf()->stringValue("general.license");
    if (!text)
      return text.takeError();
    licenseText = text->str();
  }
  std::vector<llvm::ArrayRef<uint8_t>> headers;
  for (const auto &each : parts)
    headers.push_back(each->header());
  computeHash(headers);
  return resolveFp4();
}

/// "blk.0.ffn_up.weight" -> "blk.0.ffn_up.scale".
static std::string scaleNameOf(llvm::StringRef weight) {
  weight.consume_back(".weight");
  return (weight + ".scale").str();
}

llvm::Expected<float> GgufCheckpoint::tensorScale(const TensorInfo &tensor,
                                                  const TensorInfo *found) const {
  if (!found)
    return 1.0f; // the converter leaves such scales out
  if (found->format != FormatId::F32 || found->elements() != 1)
    return inputError("{}: tensor '{}' is {} of shape {}; one F32 number, the scale of the NVFP4 "
                      "tensor '{}', is expected (experts with a scale each are not read)",
                      found->file, found->name, found->storage, found->shapeText(), tensor.name);
  float scale;
  std::memcpy(&scale, found->data, sizeof scale);
  if (!std::isfinite(scale) || scale <= 0)
    return inputError("{}: tensor '{}' is {}; a finite scale above 0 is expected", found->file,
                      found->name, scale);
  return scale;
}

llvm::Error GgufCheckpoint::resolveFp4() {
  auto isFp4 = [](const TensorInfo &tensor) {
    return tensor.format == FormatId::MxFp4 || tensor.format == FormatId::NvFp4;
  };
  if (std::none_of(tensors().begin(), tensors().end(), isFp4))
    return llvm::Error::success();
  std::vector<TensorInfo> resolved = tensors().vec();
  std::vector<std::string> used;
  for (TensorInfo &tensor : resolved) {
    if (!isFp4(tensor))
      continue;
    float scale = 1;
    if (const TensorInfo *found = find(scaleNameOf(tensor.name));
        tensor.format == FormatId::NvFp4) {
      auto number = tensorScale(tensor, found);
      if (!number)
        return number.takeError();
      scale = *number;
      if (found)
        used.push_back(found->name);
    }
    tensor.rows = makeGgufFp4Rows(*tensor.format, tensor.data, tensor.shape.back(), scale);
  }
  std::erase_if(resolved, [&](const TensorInfo &tensor) {
    return std::find(used.begin(), used.end(), tensor.name) != used.end();
  });
  return replaceAll(std::move(resolved));
}

llvm::Expected<std::unique_ptr<Checkpoint>> openGguf(llvm::StringRef path) {
  auto checkpoint = std::make_unique<GgufCheckpoint>(path);
  if (llvm::Error error = checkpoint->open())
    return std::move(error);
  return checkpoint;
}

} // namespace qplan
