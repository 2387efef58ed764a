//===- safetensors.cpp - fuzz the safetensors reader ----------------------===//
//
// Any bytes are parsed or refused; what is accepted must lie inside the input,
// in order, without holes.
//
//===----------------------------------------------------------------------===//
#include "ir/import/Safetensors.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto parsed = qplan::Safetensors::parse({data, size}, "input");
  if (!parsed) {
    llvm::consumeError(parsed.takeError());
    return 0;
  }
  uint64_t end = parsed->header.size();
  for (const qplan::SafetensorsEntry &entry : parsed->tensors) {
    if (entry.offset != end)
      std::abort();
    end += entry.bytes;
  }
  if (end != size)
    std::abort();
  return 0;
}
