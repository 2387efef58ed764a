//===- Hash.cpp - xxHash64, the checksum of plan packages -----------------===//
//
// Four lanes of 64 bits over stripes of 32 bytes, as the published specification
// of XXH64 says. Little-endian hosts only, as everything in a package.
//===----------------------------------------------------------------------===//
#include "runtime/src/Hash.h"

#include <bit>
#include <cstring>

using namespace qplan;

static constexpr uint64_t prime1 = 0x9E3779B185EBCA87u;
static constexpr uint64_t prime2 = 0xC2B2AE3D27D4EB4Fu;
static constexpr uint64_t prime3 = 0x165667B19E3779F9u;
static constexpr uint64_t prime4 = 0x85EBCA77C2B2AE63u;
static constexpr uint64_t prime5 = 0x27D4EB2F165667C5u;
static constexpr size_t stripe = 32;

template <typename T>
static T load(const unsigned char *data) {
  T value;
  std::memcpy(&value, data, sizeof(T));
  return value;
}

static uint64_t mix(uint64_t lane, uint64_t word) {
  return std::rotl(lane + word * prime2, 31) * prime1;
}

static void mixStripe(uint64_t lanes[4], const unsigned char *data) {
  for (int i = 0; i < 4; ++i)
    lanes[i] = mix(lanes[i], load<uint64_t>(data + 8 * i));
}

XxHash64::XxHash64(uint64_t seed)
    : lanes{seed + prime1 + prime2, seed + prime2, seed, seed - prime1}, seed(seed) {}

void XxHash64::update(const void *data, size_t size) {
  const auto *at = static_cast<const unsigned char *>(data);
  size_t held = total % stripe;
  total += size;
  if (held + size < stripe) {
    if (size)
      std::memcpy(pending + held, at, size);
    return;
  }
  if (held) {
    std::memcpy(pending + held, at, stripe - held);
    mixStripe(lanes, pending);
    at += stripe - held;
    size -= stripe - held;
  }
  for (; size >= stripe; at += stripe, size -= stripe)
    mixStripe(lanes, at);
  if (size)
    std::memcpy(pending, at, size);
}

uint64_t XxHash64::digest() const {
  uint64_t hash = seed + prime5;
  if (total >= stripe) {
    hash = std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) +
           std::rotl(lanes[3], 18);
    for (uint64_t lane : lanes)
      hash = (hash ^ mix(0, lane)) * prime1 + prime4;
  }
  hash += total;
  const unsigned char *at = pending;
  size_t left = total % stripe;
  for (; left >= 8; at += 8, left -= 8)
    hash = std::rotl(hash ^ mix(0, load<uint64_t>(at)), 27) * prime1 + prime4;
  if (left >= 4) {
    hash = std::rotl(hash ^ load<uint32_t>(at) * prime1, 23) * prime2 + prime3;
    at += 4;
    left -= 4;
  }
  for (; left; ++at, --left)
    hash = std::rotl(hash ^ *at * prime5, 11) * prime1;
  hash = (hash ^ hash >> 33) * prime2;
  hash = (hash ^ hash >> 29) * prime3;
  return hash ^ hash >> 32;
}

uint64_t qplan::xxh64(const void *data, size_t size, uint64_t seed) {
  XxHash64 hash(seed);
  hash.update(data, size);
  return hash.digest();
}

std::string qplan::hashText(uint64_t hash) {
  std::string text(16, '0');
  for (int i = 15; i >= 0; --i, hash >>= 4)
    text[i] = "0123456789abcdef"[hash & 15];
  return text;
}

bool qplan::parseHash(std::string_view text, uint64_t &hash) {
  if (text.size() != 16)
    return false;
  hash = 0;
  for (char c : text) {
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0)
      return false;
    hash = hash << 4 | static_cast<uint64_t>(digit);
  }
  return true;
}
