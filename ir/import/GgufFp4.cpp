//===- GgufFp4.cpp - GGUF's blocks of fp4 as rows of ours -----------------===//
//
// Nibbles: byte j of a group holds element j (low) and j + half (high), where ours
// holds elements 2j and 2j + 1. GGML reads the scale bytes 0x00 and 0x7f of NVFP4
// both as 0.
//
//===----------------------------------------------------------------------===//

#include "ir/import/GgufFp4.h"

namespace qplan {
namespace {

class GgufFp4Rows final : public StoredRows {
public:
  GgufFp4Rows(FormatId format, const uint8_t *data, int64_t columns, float scale)
      : isNv(format == FormatId::NvFp4), data(data), columns(columns), scale(scale) {}

  void read(int64_t row, uint8_t *out) const override {
    const int64_t group = isNv ? 16 : 32, perBlock = isNv ? 4 : 1, blockBytes = isNv ? 36 : 17;
    const int64_t groups = columns / group;
    const uint8_t *from = data + row * (groups / perBlock) * blockBytes;
    for (int64_t g = 0; g < groups; ++g) {
      const uint8_t *block = from + g / perBlock * blockBytes;
      const uint8_t byte = block[g % perBlock];
      out[columns / 2 + g] = isNv && (byte & 0x7f) == 0x7f ? 0 : byte;
      regroup(block + perBlock + g % perBlock * (group / 2), group, out + g * (group / 2));
    }
  }

  std::vector<float> side() const override {
    return isNv ? std::vector<float>{scale} : std::vector<float>();
  }

private:
  static void regroup(const uint8_t *from, int64_t group, uint8_t *to) {
    const int64_t half = group / 2;
    auto code = [&](int64_t i) { return i < half ? from[i] & 15 : from[i - half] >> 4; };
    for (int64_t j = 0; j < half; ++j)
      to[j] = static_cast<uint8_t>(code(2 * j) | code(2 * j + 1) << 4);
  }

  bool isNv;
  const uint8_t *data;
  int64_t columns;
  float scale;
};

} // namespace

std::shared_ptr<const StoredRows> makeGgufFp4Rows(FormatId format, const uint8_t *data,
                                                  int64_t columns, float scale) {
  return std::make_shared<GgufFp4Rows>(format, data, columns, scale);
}

} // namespace qplan
