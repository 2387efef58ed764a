//===- gguf.cpp - fuzz the GGUF reader ------------------------------------===//
//
// Any bytes are parsed or refused; what is accepted must lie inside the input,
// and every typed access must work on every key or refuse.
//
//===----------------------------------------------------------------------===//
#include "ir/import/Gguf.h"

#include <cstdlib>

template <typename T>
static void ignore(llvm::Expected<T> value) {
  if (!value)
    llvm::consumeError(value.takeError());
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto parsed = qplan::Gguf::parse({data, size}, "input");
  if (!parsed) {
    llvm::consumeError(parsed.takeError());
    return 0;
  }
  const qplan::Gguf &gguf = **parsed;
  for (const qplan::GgufTensor &tensor : gguf.tensors())
    if (tensor.offset > size || tensor.bytes > size - tensor.offset)
      std::abort();
  for (const std::string &key : gguf.keys()) {
    ignore(gguf.unsignedValue(key));
    ignore(gguf.signedValue(key));
    ignore(gguf.floatValue(key));
    ignore(gguf.boolValue(key));
    ignore(gguf.stringValue(key));
    ignore(gguf.strings(key));
    ignore(gguf.integers(key));
    ignore(gguf.floats(key));
  }
  return 0;
}
