//===- statistics.cpp - fuzz target of the statistics reader --------------===//
//
// Whatever is accepted must print as text that is accepted again and means the same.
//
//===----------------------------------------------------------------------===//
#include "passes/search/Statistics.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  using namespace qplan;
  auto statistics = parseStatistics({reinterpret_cast<const char *>(data), size}, "fuzz");
  if (!statistics) {
    llvm::consumeError(statistics.takeError());
    return 0;
  }
  auto again = parseStatistics(printStatistics(*statistics), "again");
  if (!again || !(*again == *statistics))
    std::abort();
  return 0;
}
