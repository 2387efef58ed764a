//===- GgmlSuperblocks.cpp - GGML's blocks of 256 values ------------------===//
//
// The K-quants, byte for byte as GGUF files hold them, and Q8_K, the activation
// format that goes with them (int8_b256). A super-block has f16
// scales for all of it and small integers that scale groups of 16 or 32 of its
// values. Each unpacks to codes, scales and minima; the value follows from those
// in the order of operations of GGML: (d*sc)*q, or (d*sc)*q - dmin*m.
//
//===----------------------------------------------------------------------===//
#include "ir/Failure.h"
#include "ir/codecs/Codecs.h"
#include "ir/codecs/Elements.h"
#include "ir/codecs/Numbers.h"
#include <algorithm>

namespace qplan {
namespace {

constexpr int64_t blockSize = 256;

/// One super-block, unpacked. Groups are FormatInfo::groupColumns wide.
struct Superblock {
  uint8_t codes[blockSize];
  float scale[16];
  float min[16];
};

float f16At(const uint8_t *from) { return f32FromF16(loadUnaligned<uint16_t>(from)); }

/// scales[16] qs[64] d dmin; scale in the low and minimum in the high nibble.
void unpackQ2K(const uint8_t *block, Superblock &out) {
  const uint8_t *codes = block + 16;
  const float d = f16At(block + 80), dmin = f16At(block + 82);
  for (int g = 0; g < 16; ++g) {
    out.scale[g] = d * static_cast<float>(block[g] & 15);
    out.min[g] = -(dmin * static_cast<float>(block[g] >> 4));
  }
  for (int i = 0; i < blockSize; ++i) // two halves of 128; 32 bytes hold 4 x 32 values
    out.codes[i] = codes[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
}

/// hmask[32] qs[64] scales[12] d; codes get offset 4, scales offset 32.
void unpackQ3K(const uint8_t *block, Superblock &out) {
  const uint8_t *mask = block, *codes = block + 32, *scales = block + 96;
  const float d = f16At(block + 108);
  for (int g = 0; g < 16; ++g) {
    int low = scales[g & 7] >> (g < 8 ? 0 : 4) & 15;
    int high = scales[8 + (g & 3)] >> (2 * (g >> 2)) & 3;
    out.scale[g] = d * static_cast<float>((low | high << 4) - 32);
  }
  for (int i = 0; i < blockSize; ++i) {
    int low = codes[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
    out.codes[i] = static_cast<uint8_t>(low | (mask[i % 32] >> (i / 32) & 1) << 2);
  }
}

/// d dmin scales[12]: eight 6-bit scales and minima, as in q4_K and q5_K.
void unpackScalesAndMinima(const uint8_t *block, Superblock &out) {
  const float d = f16At(block), dmin = f16At(block + 2);
  const uint8_t *s = block + 4;
  for (int j = 0; j < 8; ++j) {
    int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    int min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
    out.scale[j] = d * static_cast<float>(scale);
    out.min[j] = -(dmin * static_cast<float>(min));
  }
}

/// ... qs[128]: 32 bytes hold 32 values in low and the next 32 in high nibbles.
void unpackQ4K(const uint8_t *block, Superblock &out) {
  unpackScalesAndMinima(block, out);
  const uint8_t *codes = block + 16;
  for (int i = 0; i < blockSize; ++i)
    out.codes[i] = codes[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
}

/// ... qh[32] qs[128]: bit i/32 of qh[i%32] is bit 4 of value i.
void unpackQ5K(const uint8_t *block, Superblock &out) {
  unpackScalesAndMinima(block, out);
  const uint8_t *high = block + 16, *codes = block + 48;
  for (int i = 0; i < blockSize; ++i) {
    int low = codes[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
    out.codes[i] = static_cast<uint8_t>(low | (high[i % 32] >> (i / 32) & 1) << 4);
  }
}

/// ql[128] qh[64] i8 scales[16] d; in each half of 128 values, the 64 low-nibble values come
/// first and qh holds four 2-bit fields a byte.
void unpackQ6K(const uint8_t *block, Superblock &out) {
  const uint8_t *low = block, *high = block + 128, *scales = block + 192;
  const float d = f16At(block + 208);
  for (int g = 0; g < 16; ++g)
    out.scale[g] = d * static_cast<float>(static_cast<int8_t>(scales[g]));
  for (int i = 0; i < blockSize; ++i) {
    int half = i / 128, at = i % 128;
    int nibble = low[half * 64 + at % 64] >> (at / 64 * 4) & 15;
    int pair = high[half * 32 + at % 32] >> (at / 32 * 2) & 3;
    out.codes[i] = static_cast<uint8_t>(nibble | pair << 4);
  }
}

/// f32 d, i8 qs[256], i16 sums[16].
void unpackQ8K(const uint8_t *block, Superblock &out) {
  out.scale[0] = loadUnaligned<float>(block);
  for (int i = 0; i < blockSize; ++i)
    out.codes[i] = block[4 + i] ^ 0x80;
}

class GgmlSuperblockCodec final : public Codec {
public:
  explicit GgmlSuperblockCodec(const FormatInfo &info) : Codec(info) {
    switch (info.id) {
    case FormatId::Q2_K:
      unpack = unpackQ2K;
      break;
    case FormatId::Q3_K:
      unpack = unpackQ3K;
      break;
    case FormatId::Q4_K:
      unpack = unpackQ4K;
      break;
    case FormatId::Q5_K:
      unpack = unpackQ5K;
      break;
    case FormatId::Q6_K:
      unpack = unpackQ6K;
      break;
    default:
      unpack = unpackQ8K;
    }
  }

  void decodeRow(const uint8_t *row, int64_t columns, float *x, TensorSide) const override {
    Superblock block = {};
    const int64_t group = info.groupColumns;
    for (int64_t b = 0; b < columns / blockSize; ++b, row += info.blockBytes, x += blockSize) {
      unpack(row, block);
      for (int64_t g = 0; g < blockSize / group; ++g)
        expandCodes(block.codes + g * group, group, block.scale[g], block.min[g], info.offset,
                    info.panelMin, x + g * group);
    }
  }

  void gridRow(const uint8_t *row, int64_t columns, GridRow &out, TensorSide) const override {
    const int64_t groups = blockSize / info.groupColumns, blocks = columns / blockSize;
    out.codes.resize(columns);
    out.scale.resize(blocks * groups);
    out.min.resize(info.panelMin ? blocks * groups : 0);
    out.group = info.groupColumns;
    out.values = elementValues(info.id);
    out.hasMin = info.panelMin;
    Superblock block = {};
    for (int64_t b = 0; b < blocks; ++b, row += info.blockBytes) {
      unpack(row, block);
      std::copy_n(block.codes, blockSize, out.codes.data() + b * blockSize);
      std::copy_n(block.scale, groups, out.scale.data() + b * groups);
      if (out.hasMin)
        std::copy_n(block.min, groups, out.min.data() + b * groups);
    }
  }

protected:
  llvm::Error encode(const float *x, int64_t columns, const EncodeOptions &options,
                     uint8_t *out) const override {
    const float *importance = options.importance;
    const bool weighted = options.rule == ScaleRule::Mse && importance && info.isWeight;
    if (options.rule != ScaleRule::Max && !weighted)
      return usageError("{} is written by GGML's own rules, which have no search without "
                        "importance; use method max, or imatrix for the K-quants",
                        info.name);
    for (int64_t b = 0; b < columns; b += blockSize, out += info.blockBytes) {
      if (!info.isWeight)
        encodeQ8K(x + b, out);
      else if (!encodeKQuant(info, x + b, weighted ? importance + b : nullptr, out))
        return inputError("{}: columns {} to {} are too large for the f16 scales of {}; keep the "
                          "tensor in a float format or use int8",
                          subjectOf(options), b, b + blockSize - 1, info.name);
    }
    return llvm::Error::success();
  }

private:
  /// The value of largest magnitude becomes -127, whatever its sign.
  static void encodeQ8K(const float *x, uint8_t *out) {
    std::memset(out, 0, 292);
    float largest = 0;
    for (int64_t i = 0; i < blockSize; ++i)
      if ((x[i] < 0 ? -x[i] : x[i]) > (largest < 0 ? -largest : largest))
        largest = x[i];
    const float inverse = -127.0f / largest;
    // Zeros, and magnitudes so small that their reciprocal is infinite.
    if ((std::bit_cast<uint32_t>(inverse) & 0x7f800000u) == 0x7f800000u)
      return;
    storeUnaligned(out, 1.0f / inverse);
    constexpr float magic = 12582912.0f; // rounds to nearest even
    for (int64_t g = 0; g < 16; ++g) {
      int32_t sum = 0;
      for (int64_t i = 16 * g; i < 16 * g + 16; ++i) {
        int32_t code =
            std::bit_cast<int32_t>(inverse * x[i] + magic) - std::bit_cast<int32_t>(magic);
        code = std::min(code, 127);
        out[4 + i] = static_cast<uint8_t>(code);
        sum += code;
      }
      storeUnaligned(out + 260 + 2 * g, static_cast<int16_t>(sum));
    }
  }

  void (*unpack)(const uint8_t *, Superblock &);
};

} // namespace

std::unique_ptr<Codec> makeGgmlSuperblockCodec(const FormatInfo &info) {
  return std::make_unique<GgmlSuperblockCodec>(info);
}

} // namespace qplan
