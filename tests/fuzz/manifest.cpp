//===- manifest.cpp - fuzz manifest.json ----------------------------------===//
//
// Whatever the text, parsing ends with a manifest that can be used or with a message
// that a caller's buffer of any size can take.
//===----------------------------------------------------------------------===//
#include "runtime/src/Manifest.h"
#include "runtime/src/CpuFeatures.h"

#include <cstdlib>
#include <cstring>

using namespace qplan;

static void require(bool condition) {
  if (!condition)
    std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string text(reinterpret_cast<const char *>(data), size);
  Manifest manifest;
  Status status = parseManifest(text, "manifest.json", manifest);
  char buffer[40];
  require(status.report(buffer, 1 + size % sizeof(buffer)) == status.code);
  if (status.failed()) {
    require(status.code == QPLAN_INVALID_INPUT && !status.message.empty());
    return 0;
  }
  require(manifest.text == text && manifest.vocabulary > 0 && manifest.context > 0);
  for (const auto &[name, entry] : manifest.files)
    require(!name.empty() && name.find('/') == std::string::npos && name != "..");
  (void)missingCpuFeatures(manifest.features);
  return 0;
}
