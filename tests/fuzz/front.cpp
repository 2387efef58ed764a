//===- front.cpp - fuzz target of the reader of fronts ---------------------===//
//
// Whatever is accepted must print as text that is accepted again and means the same.
//
//===----------------------------------------------------------------------===//
#include "passes/search/Front.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  using namespace qplan;
  auto front = parseFront({reinterpret_cast<const char *>(data), size}, "fuzz");
  if (!front) {
    llvm::consumeError(front.takeError());
    return 0;
  }
  auto again = parseFront(printFront(*front), "again");
  if (!again || !(*again == *front))
    std::abort();
  return 0;
}
