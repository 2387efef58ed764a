//===- quantized.cpp - fuzz the tensors of quantized checkpoints ----------===//
//
// The first line is the description in config.json, the rest a safetensors image.
// What the readers accept must have rows that can all be made and decoded.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/Codec.h"
#include "ir/import/JsonText.h"
#include "ir/import/Safetensors.h"
#include "ir/import/quantized/Quantization.h"

#include <cstdlib>
#include <llvm/ADT/StringExtras.h>

using namespace qplan;

namespace {

/// The tensors of an image in memory.
class ImageCheckpoint : public Checkpoint {
public:
  ImageCheckpoint() : Checkpoint(CheckpointKind::HuggingFace, "input") {}
  llvm::Error read(llvm::ArrayRef<uint8_t> image) {
    auto parsed = Safetensors::parse(image, "input");
    if (!parsed)
      return parsed.takeError();
    for (SafetensorsEntry &entry : parsed->tensors) {
      TensorInfo tensor;
      tensor.format = formatForSafetensorsDtype(entry.dtype);
      tensor.name = std::move(entry.name);
      tensor.storage = std::move(entry.dtype);
      tensor.shape = std::move(entry.shape);
      tensor.bytes = entry.bytes;
      tensor.data = image.data() + entry.offset;
      tensor.file = "input";
      if (llvm::Error error = add(std::move(tensor)))
        return error;
    }
    return llvm::Error::success();
  }
};

void readRows(const TensorInfo &tensor) {
  // Small files describe small matrices: codes are at least two bits.
  if (tensor.elements() > (1 << 22))
    std::abort();
  const Codec &codec = codecFor(*tensor.format);
  std::vector<uint8_t> row(codec.bytesPerRow(tensor.shape[1]));
  std::vector<float> values(tensor.shape[1]);
  for (int64_t r = 0; r < tensor.shape[0]; ++r) {
    tensor.rows->read(r, row.data());
    codec.decodeRow(row.data(), tensor.shape[1], values.data());
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  llvm::StringRef text(reinterpret_cast<const char *>(data), size);
  auto [head, tail] = text.split('\n');
  auto content = parseJsonObject(head, "input");
  if (!content) {
    llvm::consumeError(content.takeError());
    return 0;
  }
  auto config = readSideConfig(std::move(*content), "quantize_config.json", "input");
  ImageCheckpoint checkpoint;
  llvm::Error error = config ? checkpoint.read(llvm::arrayRefFromStringRef(tail))
                             : config.takeError();
  std::vector<std::string> notes;
  Rewriter tensors(checkpoint, notes);
  if (!error)
    error = readQuantized(*config, tensors);
  if (error) {
    llvm::consumeError(std::move(error));
    return 0;
  }
  for (const TensorInfo &tensor : tensors.take())
    if (tensor.rows)
      readRows(tensor);
  return 0;
}
