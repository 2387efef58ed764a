//===- Hash.h - xxHash64, the checksum of plan packages -------------------===//
//
// The 64-bit xxHash over bytes, whole or in pieces, with seed 0 unless told.
// Used for every checksum in a package by the compiler (which writes them) and by
// the runtime (which checks them). A checksum finds accidents, not attacks.
//===----------------------------------------------------------------------===//
#ifndef QPLAN_RUNTIME_SRC_HASH_H
#define QPLAN_RUNTIME_SRC_HASH_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace qplan {

/// Hash of a stream of bytes; the pieces may be cut anywhere.
class XxHash64 {
public:
  explicit XxHash64(uint64_t seed = 0);

  /// Appends `size` bytes.
  void update(const void *data, size_t size);

  /// Hash of all bytes appended so far; more may follow.
  uint64_t digest() const;

private:
  uint64_t lanes[4];
  uint64_t seed;
  uint64_t total = 0;
  unsigned char pending[32]; ///< the last total % 32 bytes
};

/// Hash of one buffer.
uint64_t xxh64(const void *data, size_t size, uint64_t seed = 0);

/// Sixteen lower-case hexadecimal digits, most significant first.
std::string hashText(uint64_t hash);

/// Reads what hashText writes (either case). False when `text` is anything else.
bool parseHash(std::string_view text, uint64_t &hash);

} // namespace qplan

#endif // QPLAN_RUNTIME_SRC_HASH_H
