//===- BitStream.h - codes of 1 to 8 bits, one after another ----*- C++ -*-===//
//
// Codes lie in bytes least significant bit first, without gaps, so that code i
// begins at bit i * bits. The last byte of a row is filled with zeros.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_CODECS_BITSTREAM_H
#define QPLAN_IR_CODECS_BITSTREAM_H

#include <cstdint>
#include <cstring>

namespace qplan {

/// Writes n codes of `bits` bits from the start of `out`, LSB first.
inline void packBits(const uint8_t *codes, int64_t n, unsigned bits, uint8_t *out) {
  if (bits == 8) {
    std::memcpy(out, codes, n);
  } else if (bits == 4) {
    for (int64_t i = 0; i < n / 2; ++i)
      out[i] = static_cast<uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
    if (n % 2)
      out[n / 2] = codes[n - 1];
  } else {
    uint32_t held = 0; // bits not yet written, the first in the lowest
    unsigned have = 0;
    for (int64_t i = 0; i < n; ++i) {
      held |= static_cast<uint32_t>(codes[i]) << have;
      for (have += bits; have >= 8; have -= 8, held >>= 8)
        *out++ = static_cast<uint8_t>(held);
    }
    if (have)
      *out = static_cast<uint8_t>(held);
  }
}

/// Reads what packBits writes, beginning with code `first`.
inline void unpackBits(const uint8_t *in, int64_t first, int64_t n, unsigned bits, uint8_t *codes) {
  if (bits == 8) {
    std::memcpy(codes, in + first, n);
  } else if (bits == 4 && first % 2 == 0) {
    in += first / 2;
    for (int64_t i = 0; i < n / 2; ++i) {
      codes[2 * i] = in[i] & 15;
      codes[2 * i + 1] = in[i] >> 4;
    }
    if (n % 2)
      codes[n - 1] = in[n / 2] & 15;
  } else {
    const uint8_t *next = in + first * bits / 8;
    const uint32_t mask = (1u << bits) - 1;
    unsigned have = 0, skip = first * bits % 8;
    uint32_t held = 0; // bits read and not yet used
    for (int64_t i = 0; i < n; ++i) {
      while (have < bits + skip) { // no byte is read before it is needed: rows end there
        held |= static_cast<uint32_t>(*next++) << have;
        have += 8;
      }
      codes[i] = static_cast<uint8_t>(held >> skip & mask);
      held >>= skip + bits;
      have -= skip + bits;
      skip = 0;
    }
  }
}

} // namespace qplan
#endif // QPLAN_IR_CODECS_BITSTREAM_H
