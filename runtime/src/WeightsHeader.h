//===- WeightsHeader.h - the first 64 bytes of weights.bin ----------------===//
//
// weights.bin begins with: magic "QPLANW1" and a zero byte, u64 bytes of the whole
// file, u64 offset of the data (64), u64 xxh64 of the bytes from that offset to the
// end, then zeros up to byte 64. Little-endian. Emitted code counts offsets from the
// start of the file, header included.
//===----------------------------------------------------------------------===//
#ifndef QPLAN_RUNTIME_SRC_WEIGHTSHEADER_H
#define QPLAN_RUNTIME_SRC_WEIGHTSHEADER_H

#include "runtime/src/Status.h"

#include <cstdint>
#include <string>

namespace qplan {

/// The header, decoded.
struct WeightsHeader {
  static constexpr uint64_t bytes = 64;

  uint64_t totalBytes = 0; ///< bytes of the file
  uint64_t dataOffset = 0; ///< always 64
  uint64_t dataHash = 0;   ///< xxh64 of [dataOffset, totalBytes)
};

/// Decodes and checks the header at `data`, of which `available` bytes can be read, of a file
/// of `fileBytes` bytes; messages begin with `file`.
Status readWeightsHeader(const uint8_t *data, uint64_t available, uint64_t fileBytes,
                         const std::string &file, WeightsHeader &out);

} // namespace qplan

#endif // QPLAN_RUNTIME_SRC_WEIGHTSHEADER_H
