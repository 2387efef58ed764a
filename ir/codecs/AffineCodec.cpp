//===- AffineCodec.cpp - our integer formats ------------------------------===//
//
// A row is [codes][scales][zero points]: codes of b bits, LSB first in a stream
// of bits; one f16 scale a group or one f32 scale a row; zero points of b bits,
// LSB first. value = scale * (code - zero), with zero = 2^(b-1) when symmetric.
// The scales that rule Mse finds may be negative then.
// This is what GPTQ, AWQ and compressed-tensors mean, in one order of bytes.
//
//===----------------------------------------------------------------------===//
#include "ir/Failure.h"
#include "ir/codecs/BitStream.h"
#include "ir/codecs/Codecs.h"
#include "ir/codecs/Elements.h"
#include "ir/codecs/Numbers.h"
#include <algorithm>
#include <cmath>

namespace qplan {
namespace {

/// Columns coded at a time: a multiple of 8, so that chunks of codes end on bytes.
constexpr int64_t chunkColumns = 512;

/// The grid of one group: value = scale * (code - zero), lowest <= code <= highest.
struct Grid {
  float scale = 0;
  int32_t zero = 0;
};

/// codes[i] = x[i] / scale + zero, rounded, within [lowest, highest].
void quantize(const float *x, int64_t n, Grid grid, int32_t lowest, int32_t highest,
              uint8_t *codes) {
  const float low = static_cast<float>(lowest - grid.zero);
  const float high = static_cast<float>(highest - grid.zero);
  if (grid.scale == 0) {
    std::memset(codes, grid.zero, n);
    return;
  }
  for (int64_t i = 0; i < n; ++i)
    codes[i] = static_cast<uint8_t>(roundEven(clampTo(x[i] / grid.scale, low, high)) + grid.zero);
}

/// Sum of terms[n], n <= chunkColumns, in one fixed order that vectorises.
float sumOf(const float *terms, int64_t n) {
  constexpr int64_t lanes = 8;
  float sums[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int64_t j = 0; j < lanes; ++j)
      sums[j] += terms[i + j];
  for (; i < n; ++i)
    sums[0] += terms[i];
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

/// A group of values with the weights of its errors (null: all 1).
struct Group {
  const float *x;
  const float *weight;
  int64_t n;
};

/// Sum of w * (x - scale * q)^2, where low <= q <= high are the codes less the zero point.
double squaredError(const Group &group, float scale, float low, float high) {
  float terms[chunkColumns];
  const float inverse = 1.0f / scale;
  double sum = 0;
  for (int64_t begin = 0; begin < group.n; begin += chunkColumns) {
    const int64_t n = std::min(chunkColumns, group.n - begin);
    const float *x = group.x + begin;
    for (int64_t i = 0; i < n; ++i) {
      float q = static_cast<float>(roundEven(clampTo(x[i] * inverse, low, high)));
      float error = x[i] - scale * q;
      terms[i] = error * error;
    }
    if (group.weight)
      for (int64_t i = 0; i < n; ++i)
        terms[i] *= group.weight[begin + i];
    sum += sumOf(terms, n);
  }
  return sum;
}

/// The scale with the least squared error for the codes that `scale` gives; 0: there is none.
float leastSquaresScale(const Group &group, float scale, float low, float high) {
  double projection = 0, energy = 0;
  const float inverse = 1.0f / scale;
  for (int64_t i = 0; i < group.n; ++i) {
    float q = static_cast<float>(roundEven(clampTo(group.x[i] * inverse, low, high)));
    float weighted = group.weight ? group.weight[i] * q : q;
    projection += static_cast<double>(weighted) * group.x[i];
    energy += static_cast<double>(weighted) * q;
  }
  return energy > 0 ? static_cast<float>(projection / energy) : 0.0f;
}

class AffineCodec final : public Codec {
public:
  explicit AffineCodec(const FormatInfo &info)
      : Codec(info), highest((1 << info.elementBits) - 1),
        // Activations use -127..127 only, so that kernels may negate codes.
        lowest(info.isWeight ? 0 : 1) {}

  void decodeRow(const uint8_t *row, int64_t columns, float *x, TensorSide tensor) const override {
    Places at(info, columns);
    uint8_t codes[chunkColumns];
    for (int64_t g = 0; g < at.groups; ++g) {
      Grid grid = gridOf(row, at, g, tensor);
      int64_t end = std::min(columns, (g + 1) * at.group);
      for (int64_t begin = g * at.group; begin < end; begin += chunkColumns) {
        int64_t n = std::min(chunkColumns, end - begin);
        unpackBits(row, begin, n, info.elementBits, codes);
        expandCodes(codes, n, grid.scale, 0, grid.zero, false, x + begin);
      }
    }
  }

  void gridRow(const uint8_t *row, int64_t columns, GridRow &out,
               TensorSide tensor) const override {
    Places at(info, columns);
    out.codes.resize(columns);
    unpackBits(row, 0, columns, info.elementBits, out.codes.data());
    out.values = elementValues(info.id);
    out.group = at.group;
    out.hasMin = info.panelMin;
    out.scale.resize(at.groups);
    out.min.resize(out.hasMin ? at.groups : 0);
    for (int64_t g = 0; g < at.groups; ++g) {
      Grid grid = gridOf(row, at, g, tensor);
      out.scale[g] = grid.scale;
      // At most 11 + 8 bits: exact. 0 - x keeps +0 where the zero point is 0.
      if (out.hasMin)
        out.min[g] = 0.0f - grid.scale * static_cast<float>(grid.zero);
    }
  }

  bool storesCodes() const override { return true; }
  void storeCodes(const uint8_t *codes, int64_t columns, uint8_t *row, TensorSide) const override {
    packBits(codes, columns, info.elementBits, row);
  }

  void storeRow(const RowParts &parts, int64_t columns, uint8_t *row) const override {
    Places at(info, columns);
    storeCodes(parts.codes, columns, row, {});
    if (info.zero == ZeroPoint::Integer)
      std::memset(row + at.zeros, 0, (at.groups * info.elementBits + 7) / 8);
    for (int64_t g = 0; g < at.groups; ++g)
      storeGrid({parts.scales[g], parts.zeros ? parts.zeros[g] : info.offset}, at, g, row);
  }

protected:
  llvm::Error encode(const float *x, int64_t columns, const EncodeOptions &options,
                     uint8_t *out) const override {
    Places at(info, columns);
    if (info.zero == ZeroPoint::Integer)
      std::memset(out + at.zeros, 0, (at.groups * info.elementBits + 7) / 8);
    uint8_t codes[chunkColumns];
    for (int64_t g = 0; g < at.groups; ++g) {
      int64_t begin = g * at.group, n = std::min(columns - begin, at.group);
      const float *weight = options.importance ? options.importance + begin : nullptr;
      Grid grid = chooseGrid({x + begin, weight, n}, options);
      // f32 rows cannot overflow: the scale is below the largest magnitude.
      if (!(grid.scale <= 65504.0f) && info.scale == ScaleType::F16)
        return inputError("{}: columns {} to {} are too large for the f16 scales of {}; keep the "
                          "tensor in a float format or use int8",
                          subjectOf(options), begin, begin + n - 1, info.name);
      storeGrid(grid, at, g, out);
      for (int64_t done = 0; done < n; done += chunkColumns) {
        int64_t count = std::min(chunkColumns, n - done);
        quantize(x + begin + done, count, grid, lowest, highest, codes);
        packBits(codes, count, info.elementBits, out + (begin + done) * info.elementBits / 8);
      }
    }
    return llvm::Error::success();
  }

private:
  /// Where the parts of a row lie, in bytes from its start.
  struct Places {
    int64_t group, groups, scales, zeros;
    Places(const FormatInfo &info, int64_t columns)
        : group(info.groupColumns ? info.groupColumns : columns),
          groups((columns + group - 1) / group), scales((columns * info.elementBits + 7) / 8),
          zeros(scales + groups * (info.scale == ScaleType::F16 ? 2 : 4)) {}
  };

  Grid gridOf(const uint8_t *row, const Places &at, int64_t g, TensorSide tensor) const {
    Grid grid;
    if (info.isPerTensor())
      grid.scale = tensor.scale();
    else if (info.scale == ScaleType::F16)
      grid.scale = f32FromF16(loadUnaligned<uint16_t>(row + at.scales + 2 * g));
    else
      grid.scale = loadUnaligned<float>(row + at.scales + 4 * g);
    grid.zero = info.offset;
    if (info.zero == ZeroPoint::Integer) {
      uint8_t zero;
      unpackBits(row + at.zeros, g, 1, info.elementBits, &zero);
      grid.zero = zero;
    }
    return grid;
  }

  void storeGrid(const Grid &grid, const Places &at, int64_t g, uint8_t *row) const {
    if (info.scale == ScaleType::F16)
      storeUnaligned(row + at.scales + 2 * g, f16FromF32(grid.scale));
    else if (info.scale == ScaleType::F32)
      storeUnaligned(row + at.scales + 4 * g, grid.scale);
    if (info.zero == ZeroPoint::Integer)
      for (unsigned b = 0; b < info.elementBits; ++b)
        if (grid.zero >> b & 1)
          row[at.zeros + (g * info.elementBits + b) / 8] |= 1 << ((g * info.elementBits + b) % 8);
  }

  /// `scale`, of either sign, as it will be read back. Subnormal f16 scales are rounded up:
  /// rounding down would be coarse enough to saturate the largest values.
  float stored(float scale) const {
    if (info.scale != ScaleType::F16)
      return scale;
    uint16_t half = f16FromF32(std::fabs(scale));
    if (half < 0x0400 && f32FromF16(half) < std::fabs(scale))
      ++half;
    return std::copysign(f32FromF16(half), scale);
  }

  /// The grid that reaches from range.min to range.max (and includes 0).
  Grid gridOver(Range range) const {
    Grid grid;
    if (info.zero == ZeroPoint::None) {
      grid.scale = stored(std::max(-range.min, range.max) / (0.5f * info.divisorHalves));
      grid.zero = info.offset;
      return grid;
    }
    float low = std::min(range.min, 0.0f), high = std::max(range.max, 0.0f);
    grid.scale = stored(high / highest - low / highest); // the difference itself may overflow
    if (grid.scale > 0)
      grid.zero = roundEven(clampTo(-low / grid.scale, 0, static_cast<float>(highest)));
    return grid;
  }

  double errorOf(const Group &group, const Grid &grid) const {
    return squaredError(group, grid.scale, static_cast<float>(lowest - grid.zero),
                        static_cast<float>(highest - grid.zero));
  }

  Grid chooseGrid(const Group &group, const EncodeOptions &options) const {
    if (info.isPerTensor())
      return {options.tensor.scale(), info.offset};
    Range range;
    if (info.zero == ZeroPoint::None) {
      range.max = largestMagnitude(group.x, group.n);
      range.min = -range.max;
    } else {
      range = valueRange(group.x, group.n);
    }
    Grid grid = gridOver(range);
    if (options.rule == ScaleRule::Max || grid.scale == 0 || !(grid.scale <= 65504.0f))
      return grid;
    Search search{group, range, grid, errorOf(group, grid)};
    refine(search);
    if (info.zero == ZeroPoint::None && info.isWeight) {
      // Codes reach one step further down than up: a negative scale gives that step to the
      // positive end.
      const Grid turned{-grid.scale, grid.zero};
      Search mirrored{group, range, turned, errorOf(group, turned)};
      refine(mirrored);
      if (mirrored.error < search.error)
        return mirrored.best;
    }
    return search.best;
  }

  /// The best grid so far, and what it was found with.
  struct Search {
    const Group &group;
    Range range;
    Grid best;
    double error;
    float low = 1, high = 1; ///< factors of the range that gave `best`
  };

  /// Rule Mse: narrower ranges, coarse then fine, then the least-squares scale for the best codes.
  /// The sign of the scale stays.
  void refine(Search &search) const {
    const float sign = std::copysign(1.0f, search.best.scale);
    auto consider = [&](float lowFactor, float highFactor) {
      Grid grid = gridOver({search.range.min * lowFactor, search.range.max * highFactor});
      if (!(grid.scale > 0) || !(grid.scale <= 65504.0f))
        return;
      grid.scale *= sign;
      double error = errorOf(search.group, grid);
      if (error < search.error) {
        search.error = error;
        search.best = grid;
        search.low = lowFactor;
        search.high = highFactor;
      }
    };
    for (float factor : {0.9f, 0.8f, 0.7f, 0.6f})
      consider(factor, factor);
    if (info.elementBits < 4) // few levels: clipping most of the range pays
      for (float factor : {0.5f, 0.4f, 0.3f})
        consider(factor, factor);
    for (float step : {0.05f, 0.025f}) {
      const float at = search.low;
      consider(at - step, at - step);
      consider(at + step, at + step);
    }
    if (info.zero == ZeroPoint::Integer)
      for (float step : {0.1f, 0.05f}) { // the two ends on their own
        const float lowAt = search.low, highAt = search.high;
        consider(lowAt - step, highAt);
        consider(lowAt + step, highAt);
        consider(search.low, highAt - step);
        consider(search.low, highAt + step);
      }
    for (int i = 0; i < 2; ++i) {
      Grid grid = search.best;
      grid.scale =
          stored(leastSquaresScale(search.group, grid.scale, static_cast<float>(lowest - grid.zero),
                                   static_cast<float>(highest - grid.zero)));
      if (!(grid.scale * sign > 0) || grid.scale == search.best.scale)
        break;
      if (double error = errorOf(search.group, grid); error < search.error) {
        search.error = error;
        search.best = grid;
      }
    }
  }

  int32_t highest, lowest;
};

} // namespace

std::unique_ptr<Codec> makeAffineCodec(const FormatInfo &info) {
  return std::make_unique<AffineCodec>(info);
}

} // namespace qplan
