//===- weights_header.cpp - fuzz the first bytes of weights.bin -----------===//
//
// A header is accepted only if it says exactly the size of the file.
//===----------------------------------------------------------------------===//
#include "runtime/src/WeightsHeader.h"

#include <cstdlib>

using namespace qplan;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  WeightsHeader header;
  Status status = readWeightsHeader(data, size, size, "weights.bin", header);
  bool accepted = !status.failed();
  if (accepted ? header.totalBytes != size || header.dataOffset != 64
               : status.code != QPLAN_INVALID_INPUT || status.message.empty())
    std::abort();
  return 0;
}
