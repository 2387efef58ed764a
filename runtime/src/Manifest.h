//===- Manifest.h - what the runtime reads of manifest.json ---------------===//
//
// The manifest describes a whole plan; loading one needs only the part below. The
// rest is handed to the caller as text. Everything in it is untrusted: depth,
// counts, sizes and names are checked before they are used.
//===----------------------------------------------------------------------===//
#ifndef QPLAN_RUNTIME_SRC_MANIFEST_H
#define QPLAN_RUNTIME_SRC_MANIFEST_H

#include "runtime/src/Status.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace qplan {

/// One entry of "files".
struct ManifestFile {
  uint64_t bytes = 0;
  uint64_t hash = 0; ///< xxh64 of the file; of weights.bin: of the bytes after its header
};

/// The part of manifest.json that loading depends on.
struct Manifest {
  static constexpr int64_t version = 1;              ///< value of "qplan_manifest"
  static constexpr uint64_t maxBytes = 256ull << 20; ///< larger files are refused unread

  std::string text; ///< the whole file
  std::string name, producer, architecture, triple, cpu;
  std::string features; ///< comma separated, as CpuFeatures.h reads them
  int64_t vocabulary = 0, context = 0;
  std::map<std::string, ManifestFile, std::less<>> files;

  /// The entry of a file, or null.
  const ManifestFile *find(std::string_view file) const;
};

/// Parses `text`; messages begin with `file`, its path.
Status parseManifest(std::string text, const std::string &file, Manifest &out);

} // namespace qplan

#endif // QPLAN_RUNTIME_SRC_MANIFEST_H
