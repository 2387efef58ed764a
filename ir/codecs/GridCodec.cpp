//===- GridCodec.cpp - minifloats and code tables with scales -------------===//
//
// A row is [codes, LSB first][scales]: value = scale * element(code), rounded once.
// The scale of a group is what is stored for it, times or plus what is kept beside
// the tensor:
//   F32, F16      the number
//   E8M0          2^(byte - 127); 2^(byte - 133) of integers, whose codes count 1/64
//   E4M3          f32(number * tensor's scale)
//   Dynamic8      f32(f32(map[byte] * scale of 256 blocks) + offset)
//   none          the tensor's scale, or that of the block of 128 x 128
// Codes are rounded from x / scale, those of tables from x * (1 / scale).
//
//===----------------------------------------------------------------------===//
#include "ir/Failure.h"
#include "ir/codecs/BitStream.h"
#include "ir/codecs/Codecs.h"
#include "ir/codecs/Elements.h"
#include "ir/codecs/Numbers.h"
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace qplan {
namespace {

/// Columns coded at a time: a multiple of 8, so that chunks of codes end on bytes.
constexpr int64_t chunkColumns = 512;

/// A group's scale: as stored, as read back, and by what its values are divided. The last two
/// differ where the codes do not see the rounding of the scale.
struct GroupScale {
  uint32_t stored = 0;
  float scale = 0, divisor = 0;
};

/// A group of values with the weights of its errors (null: all 1), and where it lies.
struct Group {
  const float *x;
  const float *weight;
  int64_t n;
  int64_t block; ///< its number in the tensor, row by row
};

float f32FromE8m0(uint8_t byte) {
  if (byte == 255)
    return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(byte ? uint32_t(byte) << 23 : 0x00400000u);
}

class GridCodec final : public Codec {
public:
  explicit GridCodec(const FormatInfo &info)
      : Codec(info), values(elementValues(info.id).data()), largest(largestElement(info.id)),
        isTable(!info.isInteger() && !minifloatOf(info.kind)),
        // What largest is in the unit of an E8M0 scale: codes of integers count 1/64.
        unit(info.isInteger() && info.scale == ScaleType::E8M0 ? 0x1p-6f : 1.0f) {}

  void decodeRow(const uint8_t *row, int64_t columns, float *x, TensorSide tensor) const override {
    const Places at(info, columns);
    uint8_t codes[chunkColumns];
    for (int64_t g = 0; g < at.groups; ++g) {
      const float scale = scaleOf(row, at, g, tensor);
      const int64_t end = std::min(columns, (g + 1) * at.group);
      for (int64_t begin = g * at.group; begin < end; begin += chunkColumns) {
        const int64_t n = std::min(chunkColumns, end - begin);
        unpackBits(row, begin, n, info.elementBits, codes);
        for (int64_t i = 0; i < n; ++i)
          x[begin + i] = scale * values[codes[i]];
      }
    }
  }

  void gridRow(const uint8_t *row, int64_t columns, GridRow &out,
               TensorSide tensor) const override {
    const Places at(info, columns);
    out.codes.resize(columns);
    unpackBits(row, 0, columns, info.elementBits, out.codes.data());
    out.values = elementValues(info.id);
    out.group = at.group;
    out.hasMin = false;
    out.min.clear();
    out.scale.resize(at.groups);
    for (int64_t g = 0; g < at.groups; ++g)
      out.scale[g] = scaleOf(row, at, g, tensor);
  }

  bool storesCodes() const override { return true; }
  void storeCodes(const uint8_t *codes, int64_t columns, uint8_t *row,
                  TensorSide) const override {
    packBits(codes, columns, info.elementBits, row);
  }

  void storeRow(const RowParts &parts, int64_t columns, uint8_t *row) const override {
    storeCodes(parts.codes, columns, row, {});
    const Places at(info, columns);
    for (int64_t g = 0; g < at.groups && info.scale != ScaleType::None; ++g)
      storeScale(row, at, g, ofNumber(parts.scales[g]));
  }

protected:
  llvm::Error encode(const float *x, int64_t columns, const EncodeOptions &options,
                     uint8_t *out) const override {
    const Places at(info, columns);
    uint8_t codes[chunkColumns];
    for (int64_t g = 0; g < at.groups; ++g) {
      const int64_t begin = g * at.group, n = std::min(columns - begin, at.group);
      const Group group{x + begin, options.importance ? options.importance + begin : nullptr, n,
                        options.tensor.row * at.groups + g};
      const GroupScale chosen = chooseScale(group, options, at, g);
      if (!fits(chosen.scale))
        return inputError("{}: columns {} to {} are too large for the scales of {}; keep the "
                          "tensor in a float format",
                          subjectOf(options), begin, begin + n - 1, info.name);
      storeScale(out, at, g, chosen);
      for (int64_t done = 0; done < n; done += chunkColumns) {
        const int64_t count = std::min(chunkColumns, n - done);
        roundCodes(x + begin + done, count, chosen.divisor, codes);
        packBits(codes, count, info.elementBits, out + (begin + done) * info.elementBits / 8);
      }
    }
    return llvm::Error::success();
  }

private:
  /// Where the parts of a row lie, in bytes from its start.
  struct Places {
    int64_t group, groups, scales;
    Places(const FormatInfo &info, int64_t columns)
        : group(info.groupColumns ? info.groupColumns : columns),
          groups((columns + group - 1) / group), scales((columns * info.elementBits + 7) / 8) {}
  };

  /// Whether every number of a group with that scale is finite.
  bool fits(float scale) const {
    return std::abs(scale) <= std::numeric_limits<float>::max() / largest;
  }

  float scaleOf(const uint8_t *row, const Places &at, int64_t g, TensorSide tensor) const {
    const uint8_t *from = row + at.scales + g * sizeOfScale(info.scale);
    switch (info.scale) {
    case ScaleType::None:
      if (info.side == SideData::Block128)
        return tensor.at(size_t(tensor.row / 128 * at.groups + g));
      return tensor.scale();
    case ScaleType::F32:
      return loadUnaligned<float>(from);
    case ScaleType::F16:
      return f32FromF16(loadUnaligned<uint16_t>(from));
    default:
      return readBack(*from, tensor, tensor.row * at.groups + g);
    }
  }

  /// The scale that a stored byte means in block `block` of the tensor.
  float readBack(uint8_t byte, TensorSide tensor, int64_t block) const {
    if (info.scale == ScaleType::E8M0)
      return f32FromE8m0(byte) * unit;
    if (info.scale == ScaleType::E4M3)
      return f32FromE4m3(byte & 0x7f) * tensor.scale();
    return dynamicMap()[byte] * tensor.at(size_t(1 + block / 256)) + tensor.at(0);
  }

  void storeScale(uint8_t *row, const Places &at, int64_t g, const GroupScale &chosen) const {
    uint8_t *to = row + at.scales + g * sizeOfScale(info.scale);
    if (info.scale == ScaleType::F32)
      storeUnaligned(to, chosen.stored);
    else if (info.scale == ScaleType::F16)
      storeUnaligned(to, static_cast<uint16_t>(chosen.stored));
    else if (info.scale != ScaleType::None)
      *to = static_cast<uint8_t>(chosen.stored);
  }

  /// Codes of x[n], n <= chunkColumns.
  void roundCodes(const float *x, int64_t n, float divisor, uint8_t *codes) const {
    float v[chunkColumns];
    if (isTable) {
      // bitsandbytes' rule, which has no division by zero.
      const float inverse = 1.0f / std::max(divisor, 1e-38f);
      for (int64_t i = 0; i < n; ++i)
        v[i] = std::clamp(x[i] * inverse, -1.0f, 1.0f);
    } else {
      if (divisor == 0) {
        std::memset(codes, info.offset, n);
        return;
      }
      for (int64_t i = 0; i < n; ++i)
        v[i] = x[i] / divisor;
    }
    if (!info.isInteger())
      return roundToElement(info.kind, v, n, codes);
    constexpr float magic = 12582912.0f; // 1.5 * 2^23: adding it rounds to even
    for (int64_t i = 0; i < n; ++i)
      codes[i] = static_cast<uint8_t>(
          std::bit_cast<int32_t>(std::clamp(v[i], -largest, largest) + magic) -
          std::bit_cast<int32_t>(magic) + info.offset);
  }

  /// Sum of weighted squared errors of a group, in one fixed order.
  double errorOf(const Group &group, const GroupScale &chosen) const {
    uint8_t codes[chunkColumns];
    double sum = 0;
    for (int64_t begin = 0; begin < group.n; begin += chunkColumns) {
      const int64_t n = std::min(chunkColumns, group.n - begin);
      const float *x = group.x + begin;
      roundCodes(x, n, chosen.divisor, codes);
      for (int64_t i = 0; i < n; ++i) {
        const double error = static_cast<double>(chosen.scale * values[codes[i]]) - x[i];
        sum += error * error * (group.weight ? group.weight[begin + i] : 1.0f);
      }
    }
    return sum;
  }

  /// `scale` in the way that it is stored; codes are chosen against that.
  GroupScale stored(float scale, const EncodeOptions &options, int64_t block) const {
    GroupScale result;
    switch (info.scale) {
    case ScaleType::None:
      result.scale = scale;
      break;
    case ScaleType::F32:
      result.stored = std::bit_cast<uint32_t>(scale);
      result.scale = scale;
      break;
    case ScaleType::F16:
      result.stored = f16FromF32(scale);
      result.scale = f32FromF16(static_cast<uint16_t>(result.stored));
      break;
    case ScaleType::E4M3:
      // The range of normal and subnormal numbers: a scale of 0 would lose the block.
      result.stored = e4m3FromF32(std::max(scale / options.tensor.scale(), 0x1p-9f));
      result.scale = readBack(static_cast<uint8_t>(result.stored), options.tensor, block);
      break;
    default:
      break;
    }
    result.divisor = result.scale;
    return result;
  }

  /// A number that the type of stored scales holds exactly: of E4M3 without the tensor's scale, of
  /// Dynamic8 the number of the map.
  GroupScale ofNumber(float number) const {
    GroupScale result;
    switch (info.scale) {
    case ScaleType::F16:
      result.stored = f16FromF32(number);
      break;
    case ScaleType::E8M0:
      result.stored = std::bit_cast<uint32_t>(number) >> 23;
      break;
    case ScaleType::E4M3:
      result.stored = e4m3FromF32(number);
      break;
    case ScaleType::Dynamic8:
      result.stored = static_cast<uint32_t>(
          std::lower_bound(dynamicMap().begin(), dynamicMap().end() - 1, number) -
          dynamicMap().begin());
      break;
    default:
      result.stored = std::bit_cast<uint32_t>(number);
      break;
    }
    return result;
  }

  GroupScale ofByte(int byte, const EncodeOptions &options, int64_t block) const {
    GroupScale result;
    result.stored = static_cast<uint32_t>(byte);
    result.scale = result.divisor = readBack(static_cast<uint8_t>(byte), options.tensor, block);
    return result;
  }

  /// The index of the dynamic map nearest to a block's scale; of two, the lower.
  uint8_t dynamicByte(float scale, const EncodeOptions &options, int64_t block) const {
    const std::array<float, 256> &map = dynamicMap();
    const float nested = std::max(options.tensor.at(size_t(1 + block / 256)), 1e-38f);
    const float v = std::clamp((scale - options.tensor.at(0)) * (1.0f / nested), -1.0f, 1.0f);
    int index = 0;
    while (index < 255 && v > (map[index] + map[index + 1]) / 2)
      ++index;
    return static_cast<uint8_t>(index);
  }

  /// The byte of the least power of two by which nothing saturates; of integers, of the greatest
  /// power up to amax, by which the last code may be a step short.
  int powerFor(float amax) const {
    if (info.isInteger())
      return static_cast<int>(std::bit_cast<uint32_t>(amax) >> 23);
    const uint32_t bits = std::bit_cast<uint32_t>(amax / largest);
    if (bits <= 0x00400000u) // 2^-127
      return 0;
    return std::min(static_cast<int>((bits + 0x7fffffu) >> 23), 254);
  }

  /// Rule Max.
  GroupScale scaleOfMaximum(float amax, const EncodeOptions &options, int64_t block) const {
    switch (info.scale) {
    case ScaleType::E8M0:
      return ofByte(powerFor(amax), options, block);
    case ScaleType::E4M3: {
      // As ModelOpt: amax / (6 * scale) is one division; blocks of zeros get 1.
      const float scale = amax / (largest * options.tensor.scale());
      return ofByte(e4m3FromF32(scale == 0 ? 1.0f : std::max(scale, 0x1p-9f)), options, block);
    }
    case ScaleType::Dynamic8: {
      GroupScale result = ofByte(dynamicByte(amax, options, block), options, block);
      result.divisor = amax; // as bitsandbytes, whose codes precede the rounding of scales
      return result;
    }
    default:
      return stored(amax / largest, options, block);
    }
  }

  GroupScale chooseScale(const Group &group, const EncodeOptions &options, const Places &at,
                         int64_t g) const {
    if (info.scale == ScaleType::None) {
      GroupScale fixed;
      fixed.scale = fixed.divisor = scaleOf(nullptr, at, g, options.tensor);
      return fixed;
    }
    const float amax = largestMagnitude(group.x, group.n);
    const GroupScale first = scaleOfMaximum(amax, options, group.block);
    if (options.rule == ScaleRule::Max || amax == 0)
      return first;
    return search(group, amax, first, options);
  }

  /// Rule Mse.
  GroupScale search(const Group &group, float amax, GroupScale best,
                    const EncodeOptions &options) const {
    double bestError = errorOf(group, best);
    auto consider = [&](const GroupScale &candidate) {
      if (!(candidate.scale > 0) || !fits(candidate.scale))
        return;
      const double error = errorOf(group, candidate);
      if (error < bestError) {
        bestError = error;
        best = candidate;
      }
    };
    const int byte = static_cast<int>(best.stored);
    switch (info.scale) {
    case ScaleType::E8M0:
      for (int other : {byte - 1, byte + 1})
        if (other >= 0 && other < 255)
          consider(ofByte(other, options, group.block));
      return best;
    case ScaleType::E4M3:
      // From half the scale of rule Max to more than 3/2 of it, which is "four over six".
      for (int other = std::max(byte - 8, 1); other <= std::min(byte + 6, 0x7e); ++other)
        consider(ofByte(other, options, group.block));
      return best;
    case ScaleType::Dynamic8:
      for (int other = std::max(byte - 12, 0); other <= std::min(byte + 4, 255); ++other)
        consider(ofByte(other, options, group.block));
      return best;
    default:
      break;
    }
    const float first = amax / largest;
    if (info.elementBits == 8) {
      // The grid of a float repeats with every factor of two: one octave holds every choice
      // but saturation, which the factors below 1 offer.
      for (float factor : {0.75f, 0.875f, 1.125f, 1.25f, 1.375f, 1.5f, 1.75f})
        consider(stored(first * factor, options, group.block));
      return best;
    }
    for (int step = -10; step <= 2; ++step)
      consider(stored(first * (1.0f + 0.04f * float(step)), options, group.block));
    for (int i = 0; i < 2; ++i) {
      const float scale = leastSquaresScale(group, best);
      if (scale == best.scale)
        break;
      consider(stored(scale, options, group.block));
    }
    return best;
  }

  /// The scale with the least squared error for the codes that `chosen` gives; 0: there is none.
  float leastSquaresScale(const Group &group, const GroupScale &chosen) const {
    uint8_t codes[chunkColumns];
    double projection = 0, energy = 0;
    for (int64_t begin = 0; begin < group.n; begin += chunkColumns) {
      const int64_t n = std::min(chunkColumns, group.n - begin);
      roundCodes(group.x + begin, n, chosen.divisor, codes);
      for (int64_t i = 0; i < n; ++i) {
        const double q = values[codes[i]];
        const double weighted = group.weight ? group.weight[begin + i] * q : q;
        projection += weighted * group.x[begin + i];
        energy += weighted * q;
      }
    }
    return energy > 0 ? static_cast<float>(projection / energy) : 0.0f;
  }

  const float *values; ///< by code
  float largest;
  bool isTable;
  float unit;
};

} // namespace

std::unique_ptr<Codec> makeGridCodec(const FormatInfo &info) {
  return std::make_unique<GridCodec>(info);
}

} // namespace qplan
