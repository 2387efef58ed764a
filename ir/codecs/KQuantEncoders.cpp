//===- KQuantEncoders.cpp - values to GGML's K-quants ---------------------===//
//
// Byte for byte what GGML's reference quantizers store, without and with
// importance. All five go the same way: fit a grid to each group of 16 or 32,
// fit small integers to the groups' scales (and minima), then round the values
// anew to the grids as they will be read back. Groups whose stored scale is zero
// keep the codes of the first step. They differ in weights and in the searches.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/Codecs.h"
#include "ir/codecs/KQuantSearch.h"
#include "ir/codecs/Numbers.h"
#include <algorithm>
#include <cmath>

namespace qplan {
namespace {

constexpr int blockSize = 256;

/// What is stored of a super-block, before packing. Scales of q3_K have offset 32.
struct Coded {
  uint8_t codes[blockSize] = {};
  int scale[16] = {}, minimum[16] = {};
  uint16_t d = 0, dmin = 0; ///< f16
};

/// Formats whose groups have a minimum: q2_K, q4_K and q5_K.
struct MinimumRules {
  int group, top, scaleTop; ///< columns of a group, largest code, largest stored scale
  StepSearch plain;         ///< without importance
};

constexpr StepSearch weightedSearch{-0.9f, 0.05f, 36};
constexpr MinimumRules q2Rules{16, 3, 15, {-0.5f, 0.1f, 15, true}};
constexpr MinimumRules q4Rules{32, 15, 63, {-1.0f, 0.1f, 20}};
constexpr MinimumRules q5Rules{32, 31, 63, {-0.5f, 0.1f, 15}};

float sumOfSquares(const float *x, int n) {
  float sum = 0;
  for (int i = 0; i < n; ++i)
    sum += x[i] * x[i];
  return sum;
}

/// Weights of one group where importance is known: `spread` is a mean square of the super-block.
void weighByImportance(const float *x, const float *importance, float spread, int n, float *out) {
  for (int i = 0; i < n; ++i)
    out[i] = importance[i] * std::sqrt(spread + x[i] * x[i]);
}

void weighByMagnitude(const float *x, const MinimumRules &rules, float *out) {
  const float base =
      rules.group == 16 ? 0.0f : std::sqrt(sumOfSquares(x, rules.group) / float(rules.group));
  for (int i = 0; i < rules.group; ++i)
    out[i] = base + std::abs(x[i]);
}

/// Integers for the scales or minima of the groups, none negative: the largest becomes `top`.
uint16_t storeByLargest(const float *values, int n, int top, int *out) {
  const float most = std::max(0.0f, *std::max_element(values, values + n));
  const float inverse = most > 0 ? static_cast<float>(top) / most : 0.0f;
  for (int g = 0; g < n; ++g)
    out[g] = std::min<int>(top, static_cast<uint8_t>(nearestInt(inverse * values[g])));
  return f16FromF32(most / static_cast<float>(top));
}

uint16_t storeBySearch(const WeightedGroup &values, int top, int *out) {
  uint8_t codes[16];
  const float scale = searchPositive(values, top, codes);
  std::copy_n(codes, values.n, out);
  return f16FromF32(scale);
}

void roundToStored(const float *x, int n, float scale, float minimum, int lowest, int highest,
                   uint8_t *codes) {
  if (scale == 0)
    return;
  for (int i = 0; i < n; ++i)
    codes[i] = static_cast<uint8_t>(
        std::clamp(nearestInt((x[i] + minimum) / scale), lowest, highest) - lowest);
}

Coded encodeWithMinimum(const float *x, const float *importance, const MinimumRules &rules) {
  Coded out;
  const int n = rules.group, groups = blockSize / n;
  float weight[32], scales[16], minima[16], sums[16] = {};
  const float meanSquare = sumOfSquares(x, blockSize) / blockSize;
  const float spread = n == 16 ? meanSquare : 2 * sumOfSquares(x, blockSize) / blockSize;
  for (int g = 0; g < groups; ++g) {
    const float *part = x + g * n;
    if (importance)
      weighByImportance(part, importance + g * n, spread, n, weight);
    else
      weighByMagnitude(part, rules, weight);
    for (int i = 0; i < n; ++i)
      sums[g] += weight[i];
    scales[g] = searchWithMinimum({n, part, weight}, rules.top,
                                  importance ? weightedSearch : rules.plain, out.codes + g * n,
                                  minima[g]);
  }
  if (importance) {
    out.d = storeBySearch({groups, scales, sums}, rules.scaleTop, out.scale);
    out.dmin = storeBySearch({groups, minima, sums}, rules.scaleTop, out.minimum);
  } else {
    out.d = storeByLargest(scales, groups, rules.scaleTop, out.scale);
    out.dmin = storeByLargest(minima, groups, rules.scaleTop, out.minimum);
  }
  const float d = f32FromF16(out.d), dmin = f32FromF16(out.dmin);
  for (int g = 0; g < groups; ++g)
    roundToStored(x + g * n, n, d * static_cast<float>(out.scale[g]),
                  dmin * static_cast<float>(out.minimum[g]), 0, rules.top, out.codes + g * n);
  return out;
}

/// The scale of largest magnitude, the first of equals.
float largestScale(const float *scales) {
  float most = 0;
  for (int g = 0; g < 16; ++g)
    if (std::abs(scales[g]) > std::abs(most))
      most = scales[g];
  return most;
}

Coded encodeQ3K(const float *x, const float *importance) {
  Coded out;
  float weight[16], scales[16], sums[16] = {};
  const float spread = 2 * sumOfSquares(x, blockSize) / blockSize;
  for (int g = 0; g < 16; ++g) {
    const float *part = x + g * 16;
    if (!importance) {
      scales[g] = descendSigned(16, part, 4, out.codes + g * 16);
      continue;
    }
    weighByImportance(part, importance + g * 16, spread, 16, weight);
    for (float w : weight)
      sums[g] += w;
    scales[g] = searchSigned({16, part, weight}, 4, out.codes + g * 16);
  }
  if (importance) {
    uint8_t stored[16];
    out.d = f16FromF32(searchSigned({16, scales, sums}, 32, stored));
    std::copy_n(stored, 16, out.scale);
  } else if (const float most = largestScale(scales); most != 0) {
    const float inverse = -32.0f / most;
    for (int g = 0; g < 16; ++g)
      out.scale[g] = std::clamp(nearestInt(inverse * scales[g]), -32, 31) + 32;
    out.d = f16FromF32(1 / inverse);
  }
  const float d = f32FromF16(out.d);
  for (int g = 0; g < 16; ++g)
    roundToStored(x + g * 16, 16, d * static_cast<float>(out.scale[g] - 32), 0, -4, 3,
                  out.codes + g * 16);
  return out;
}

Coded encodeQ6K(const float *x, const float *importance) {
  Coded out;
  float weight[16], scales[16];
  for (int g = 0; g < 16; ++g) {
    const float *part = x + g * 16;
    for (int i = 0; i < 16; ++i)
      weight[i] = importance ? importance[g * 16 + i] : part[i] * part[i];
    scales[g] = searchSigned({16, part, weight}, 32, out.codes + g * 16);
  }
  const float most = largestScale(scales);
  if (std::abs(most) < 1e-15f)
    return Coded();
  const float inverse = -128.0f / most;
  out.d = f16FromF32(1 / inverse);
  const float d = f32FromF16(out.d);
  for (int g = 0; g < 16; ++g) {
    out.scale[g] = static_cast<int8_t>(std::min(127, nearestInt(inverse * scales[g])));
    roundToStored(x + g * 16, 16, d * static_cast<float>(out.scale[g]), 0, -32, 31,
                  out.codes + g * 16);
  }
  return out;
}

/// Two low bits of each code: 32 bytes hold 4 x 32 values.
void packPairs(const Coded &coded, uint8_t *out) {
  for (int i = 0; i < blockSize; ++i)
    out[i / 128 * 32 + i % 32] |= (coded.codes[i] & 3) << (i / 32 % 4 * 2);
}

/// Four low bits of each code: 32 bytes hold 2 x 32 values.
void packNibbles(const Coded &coded, uint8_t *out) {
  for (int i = 0; i < blockSize; ++i)
    out[i / 64 * 32 + i % 32] |= (coded.codes[i] & 15) << (i / 32 % 2 * 4);
}

/// Bit `bit` of each code: byte i % 32 has those of 8 values.
void packHighBits(const Coded &coded, int bit, uint8_t *out) {
  for (int i = 0; i < blockSize; ++i)
    out[i % 32] |= (coded.codes[i] >> bit & 1) << (i / 32);
}

void packQ2K(const Coded &coded, uint8_t *block) {
  for (int g = 0; g < 16; ++g)
    block[g] = static_cast<uint8_t>(coded.scale[g] | coded.minimum[g] << 4);
  packPairs(coded, block + 16);
  storeUnaligned(block + 80, coded.d);
  storeUnaligned(block + 82, coded.dmin);
}

void packQ3K(const Coded &coded, uint8_t *block) {
  packHighBits(coded, 2, block);
  packPairs(coded, block + 32);
  for (int g = 0; g < 16; ++g) {
    block[96 + g % 8] |= (coded.scale[g] & 15) << (g / 8 * 4);
    block[104 + g % 4] |= (coded.scale[g] >> 4) << (g / 4 * 2);
  }
  storeUnaligned(block + 108, coded.d);
}

/// d, dmin and eight 6-bit scales and minima, as q4_K and q5_K begin.
void packScalesAndMinima(const Coded &coded, uint8_t *block) {
  storeUnaligned(block, coded.d);
  storeUnaligned(block + 2, coded.dmin);
  uint8_t *out = block + 4;
  for (int j = 0; j < 4; ++j) {
    const int scale = coded.scale[j + 4], minimum = coded.minimum[j + 4];
    out[j] = static_cast<uint8_t>(coded.scale[j] | scale >> 4 << 6);
    out[j + 4] = static_cast<uint8_t>(coded.minimum[j] | minimum >> 4 << 6);
    out[j + 8] = static_cast<uint8_t>((scale & 15) | (minimum & 15) << 4);
  }
}

void packQ6K(const Coded &coded, uint8_t *block) {
  for (int i = 0; i < blockSize; ++i) {
    const int half = i / 128, at = i % 128;
    block[half * 64 + at % 64] |= (coded.codes[i] & 15) << (at / 64 * 4);
    block[128 + half * 32 + at % 32] |= (coded.codes[i] >> 4) << (at / 32 * 2);
  }
  for (int g = 0; g < 16; ++g)
    block[192 + g] = static_cast<uint8_t>(coded.scale[g]);
  storeUnaligned(block + 208, coded.d);
}

bool isFinite16(uint16_t half) { return (half & 0x7c00) != 0x7c00; }

} // namespace

bool encodeKQuant(const FormatInfo &info, const float *x, const float *importance,
                  uint8_t *block) {
  std::memset(block, 0, info.blockBytes);
  // Beyond what any of them can hold, and where sums of squares would overflow.
  if (largestMagnitude(x, blockSize) > 1e9f)
    return false;
  Coded coded;
  switch (info.id) {
  case FormatId::Q2_K:
    coded = encodeWithMinimum(x, importance, q2Rules);
    packQ2K(coded, block);
    break;
  case FormatId::Q3_K:
    coded = encodeQ3K(x, importance);
    packQ3K(coded, block);
    break;
  case FormatId::Q4_K:
    coded = encodeWithMinimum(x, importance, q4Rules);
    packScalesAndMinima(coded, block);
    packNibbles(coded, block + 16);
    break;
  case FormatId::Q5_K:
    coded = encodeWithMinimum(x, importance, q5Rules);
    packScalesAndMinima(coded, block);
    packHighBits(coded, 4, block + 16);
    packNibbles(coded, block + 48);
    break;
  default:
    coded = encodeQ6K(x, importance);
    packQ6K(coded, block);
  }
  return isFinite16(coded.d) && isFinite16(coded.dmin);
}

} // namespace qplan
