//===- StreamHash.h - xxh64 of a stream -------------------------*- C++ -*-===//
//
// The 64-bit xxHash (seed 0) of bytes that arrive in pieces. Equal to
// llvm::xxHash64 of the whole; needed because weights are never in memory at once.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_PACKAGE_STREAMHASH_H
#define QPLAN_CODEGEN_PACKAGE_STREAMHASH_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace qplan {

/// Streaming xxh64. Copyable; a copy continues on its own.
class StreamHash {
public:
  StreamHash();
  void update(const void *data, size_t size);
  /// The hash of everything so far; update() may go on afterwards.
  uint64_t digest() const;

private:
  uint64_t lanes[4];
  uint8_t pending[32];
  size_t pendingBytes = 0;
  uint64_t totalBytes = 0;
};

/// 16 lower-case hexadecimal digits, as manifests and recipes write hashes.
std::string hashText(uint64_t hash);

} // namespace qplan
#endif // QPLAN_CODEGEN_PACKAGE_STREAMHASH_H
