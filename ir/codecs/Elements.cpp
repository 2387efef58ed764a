//===- Elements.cpp - what numbers codes of up to 8 bits are --------------===//
//
// The parameters of minifloats, the tables of 16 numbers, and the numbers of every
// code, made from them once.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/Elements.h"
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace qplan {
namespace {

/// A table, and how values are rounded to it: the code of a value is order[how many of the
/// thresholds lie below it].
struct CodeTable {
  std::array<float, 16> values;     ///< by code
  std::array<uint8_t, 16> order;    ///< codes by ascending value
  std::array<float, 15> thresholds; ///< ascending
  bool tiesUp;                      ///< a value on a threshold goes to the code above it
};

/// Thresholds half-way between neighbours, in f32 as bitsandbytes computes them.
CodeTable tableOf(std::array<float, 16> values, std::array<uint8_t, 16> order, bool tiesUp) {
  CodeTable table{values, order, {}, tiesUp};
  for (size_t i = 0; i < 15; ++i)
    table.thresholds[i] = (values[order[i]] + values[order[i + 1]]) / 2;
  return table;
}

constexpr std::array<uint8_t, 16> ascending = {0, 1, 2,  3,  4,  5,  6,  7,
                                               8, 9, 10, 11, 12, 13, 14, 15};

const CodeTable &tableFor(ElementKind kind) {
  static const CodeTable nf4 = tableOf(
      {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
       -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
       0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
       0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f},
      ascending, false);
  // The quotients are rounded to f32 once. Codes 0 and 8 are both 0: bitsandbytes writes 8 for
  // positive numbers near 0.
  static const CodeTable fp4 = [] {
    constexpr std::array<float, 8> twelfths = {0, 0.0625f, 8, 12, 4, 6, 2, 3};
    std::array<float, 16> values;
    for (size_t i = 0; i < 8; ++i) {
      values[i] = twelfths[i] / 12.0f;
      values[i + 8] = 0.0f - values[i];
    }
    return tableOf(values, {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3}, false);
  }();
  static const CodeTable iq4 = tableOf(
      {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}, ascending, true);
  return kind == ElementKind::NF4 ? nf4 : kind == ElementKind::FP4 ? fp4 : iq4;
}

bool isTable(ElementKind kind) {
  return kind == ElementKind::NF4 || kind == ElementKind::FP4 || kind == ElementKind::IQ4;
}

/// The number of a code, from its fields.
float minifloatValue(const Minifloat &shape, unsigned code) {
  const unsigned width = shape.exponentBits + shape.mantissaBits;
  const unsigned magnitude = code & ((1u << width) - 1), sign = code >> width;
  const unsigned mantissa = magnitude & ((1u << shape.mantissaBits) - 1);
  const int exponent = static_cast<int>(magnitude >> shape.mantissaBits);
  float value = exponent ? std::ldexp(1.0f + std::ldexp(float(mantissa), -shape.mantissaBits),
                                      exponent - shape.bias)
                         : std::ldexp(float(mantissa), 1 - shape.bias - shape.mantissaBits);
  if (magnitude > shape.highest) // E4M3 has a NaN there, the others infinity first
    value = mantissa ? std::numeric_limits<float>::quiet_NaN()
                     : std::numeric_limits<float>::infinity();
  return sign ? -value : value;
}

std::vector<float> valuesOf(const FormatInfo &info) {
  if (info.elementBits > 8)
    return {};
  std::vector<float> values(size_t(1) << info.elementBits);
  const auto shape = minifloatOf(info.kind);
  for (size_t code = 0; code < values.size(); ++code)
    values[code] = shape                ? minifloatValue(*shape, unsigned(code))
                   : isTable(info.kind) ? tableFor(info.kind).values[code]
                   : info.panelMin      ? float(code)
                                        : float(int(code) - int(info.offset));
  return values;
}

} // namespace

std::optional<Minifloat> minifloatOf(ElementKind kind) {
  switch (kind) {
  case ElementKind::E4M3:
    return Minifloat{4, 3, 7, 0x7e};
  case ElementKind::E5M2:
    return Minifloat{5, 2, 15, 0x7b};
  case ElementKind::E3M4:
    return Minifloat{3, 4, 3, 0x6f};
  case ElementKind::E2M5:
    return Minifloat{2, 5, 1, 0x7f};
  case ElementKind::E3M2:
    return Minifloat{3, 2, 3, 0x1f};
  case ElementKind::E2M3:
    return Minifloat{2, 3, 1, 0x1f};
  case ElementKind::E2M1:
    return Minifloat{2, 1, 1, 0x07};
  case ElementKind::E1M2:
    return Minifloat{1, 2, 1, 0x07};
  case ElementKind::E3M0:
    return Minifloat{3, 0, 3, 0x07};
  default:
    return std::nullopt;
  }
}

llvm::ArrayRef<float> elementValues(FormatId id) {
  static const std::vector<std::vector<float>> all = [] {
    std::vector<std::vector<float>> made;
    for (const FormatInfo &info : allFormats())
      made.push_back(valuesOf(info));
    return made;
  }();
  return all[id];
}

float largestElement(FormatId id) {
  const FormatInfo &info = formatInfo(id);
  if (const auto shape = minifloatOf(info.kind))
    return elementValues(id)[shape->highest];
  if (info.isInteger())
    return float(info.offset - 1);
  float largest = 0;
  for (float value : elementValues(id))
    largest = std::max(largest, std::abs(value));
  return largest;
}

const std::array<float, 256> &dynamicMap() {
  static const std::array<float, 256> map = [] {
    std::array<float, 256> made = {0.0f, 1.0f};
    size_t next = 2;
    for (int i = 0; i < 7; ++i) {
      const int parts = 1 << i;
      const float step = (1.0f - 0.1f) / float(parts);
      // As torch.linspace: from the nearer end, rounded once.
      auto bound = [&](int k) {
        return k < (parts + 1) / 2 ? std::fma(step, float(k), 0.1f)
                                   : std::fma(-step, float(parts - k), 1.0f);
      };
      for (int k = 0; k < parts; ++k) {
        const float value = float(std::pow(10.0, i - 6)) * ((bound(k) + bound(k + 1)) / 2);
        made[next++] = value;
        made[next++] = -value;
      }
    }
    std::sort(made.begin(), made.end());
    return made;
  }();
  return map;
}

void roundToElement(ElementKind kind, const float *v, int64_t n, uint8_t *codes) {
  if (const auto shape = minifloatOf(kind)) {
    const Minifloat fields = *shape;
    for (int64_t i = 0; i < n; ++i)
      codes[i] = minifloatFromF32(fields, v[i]);
    return;
  }
  const CodeTable &table = tableFor(kind);
  constexpr int64_t chunk = 64;
  for (int64_t begin = 0; begin < n; begin += chunk) {
    const int64_t count = std::min(chunk, n - begin);
    int32_t below[chunk] = {};
    // Threshold by threshold: comparisons of vectors, no branches.
    for (float threshold : table.thresholds)
      if (table.tiesUp)
        for (int64_t i = 0; i < count; ++i)
          below[i] += v[begin + i] >= threshold;
      else
        for (int64_t i = 0; i < count; ++i)
          below[i] += v[begin + i] > threshold;
    for (int64_t i = 0; i < count; ++i)
      codes[begin + i] = table.order[size_t(below[i])];
  }
}

} // namespace qplan
