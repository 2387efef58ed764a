//===- hf_config.cpp - fuzz the JSON files of a folder --------------------===//
//
// The same bytes as config.json, as a shard index and as a weight reference: each
// is read or refused, and a reference that was read prints to itself.
//
//===----------------------------------------------------------------------===//
#include "ir/import/HfFolder.h"
#include "ir/import/JsonText.h"
#include "ir/import/quantized/Quantization.h"
#include "ir/weights/WeightRef.h"

#include <cstdlib>

static void readAsJson(llvm::StringRef text) {
  auto content = qplan::parseJsonObject(text, "input");
  if (!content) {
    llvm::consumeError(content.takeError());
    return;
  }
  auto quantization = qplan::findQuantization(*content, "input");
  llvm::consumeError(quantization.takeError());
  auto index = qplan::readShardIndex(*content, "input");
  if (!index) {
    llvm::consumeError(index.takeError());
    return;
  }
  for (const auto &[tensor, shard] : *index)
    if (shard.find('/') != std::string::npos)
      std::abort();
}

static void readAsReference(llvm::StringRef text) {
  auto ref = qplan::WeightRef::parse(text);
  if (!ref) {
    llvm::consumeError(ref.takeError());
    return;
  }
  auto again = qplan::WeightRef::parse(ref->text());
  if (!again)
    std::abort();
  if (!(*again == *ref))
    std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  llvm::StringRef text(reinterpret_cast<const char *>(data), size);
  readAsJson(text);
  readAsReference(text);
  return 0;
}
