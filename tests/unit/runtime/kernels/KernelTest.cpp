//===- KernelTest.cpp - running kernels in tests --------------------------===//
//
// The packer here follows the text in Kernels.inc and shares nothing with the
// compiler's packer: each checks the other through the kernels.
//
//===----------------------------------------------------------------------===//
#include "KernelTest.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <sstream>

static constexpr size_t guardBytes = 128;

Memory::Memory(size_t size) : storage(size + 2 * guardBytes + 64, 0xa5), bytes(size) {
  auto address = reinterpret_cast<uintptr_t>(storage.data()) + guardBytes;
  start = guardBytes + (64 - address % 64) % 64;
  std::fill_n(storage.begin() + static_cast<ptrdiff_t>(start), size, 0);
}

bool Memory::guardsIntact() const {
  auto untouched = [](uint8_t byte) { return byte == 0xa5; };
  auto first = storage.begin() + static_cast<ptrdiff_t>(start);
  return std::all_of(storage.begin(), first, untouched) &&
         std::all_of(first + static_cast<ptrdiff_t>(bytes), storage.end(), untouched);
}

int64_t doubleBits(double value) { return std::bit_cast<int64_t>(value); }

static std::vector<int64_t> orderedParams(const Kernel &kernel,
                                          std::map<std::string, int64_t> params) {
  std::vector<int64_t> ordered;
  std::stringstream names(kernel.params);
  for (std::string name; std::getline(names, name, ',');) {
    ordered.push_back(params[name]);
    params.erase(name);
  }
  for (const auto &[name, value] : params)
    ADD_FAILURE() << kernel.name << " has no param " << name;
  return ordered;
}

void Launch::run(const Level &level, std::vector<Memory *> extra) {
  auto found = std::find_if(level.kernels.begin(), level.kernels.end(),
                            [&](const Kernel &k) { return kernel == k.name; });
  ASSERT_NE(found, level.kernels.end()) << kernel;
  buffers.resize(static_cast<size_t>(found->numBuffers));
  weights.resize(static_cast<size_t>(found->numWeights));
  std::vector<int64_t> values = orderedParams(*found, params);
  std::vector<uint8_t *> bufferPointers;
  std::vector<const uint8_t *> weightPointers;
  for (Memory *buffer : buffers)
    bufferPointers.push_back(buffer ? buffer->data() : nullptr);
  for (const Memory *weight : weights)
    weightPointers.push_back(weight ? weight->data() : nullptr);
  std::vector<Memory *> written;
  for (Memory *memory : buffers)
    if (memory && std::find(written.begin(), written.end(), memory) == written.end())
      written.push_back(memory);
  written.insert(written.end(), extra.begin(), extra.end());
  std::vector<std::vector<uint8_t>> before, first;
  for (Memory *memory : written)
    before.push_back(memory->copy<uint8_t>());

  EXPECT_GE(found->tasks(&args, values.data(), 4), 1);
  for (int64_t count : {1, 2, 7}) {
    for (size_t i = 0; i < written.size(); ++i)
      std::copy(before[i].begin(), before[i].end(), written[i]->data());
    /* Parts may run in any order. */
    for (int64_t part = count - 1; part >= 0; --part)
      found->run(&args, values.data(), bufferPointers.data(), weightPointers.data(), part, count);
    for (size_t i = 0; i < written.size(); ++i) {
      EXPECT_TRUE(written[i]->guardsIntact()) << kernel << " wrote outside buffer " << i;
      if (count == 1)
        first.push_back(written[i]->copy<uint8_t>());
      else
        EXPECT_TRUE(first[i] == written[i]->copy<uint8_t>())
            << kernel << " depends on the number of parts (" << count << "), buffer " << i;
    }
  }
}

float halfToFloat(uint16_t bits) {
  int exponent = bits >> 10 & 31, fraction = bits & 1023;
  double value =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return static_cast<float>(bits & 0x8000 ? -value : value);
}

uint16_t floatToHalf(float value) {
  uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  double magnitude = std::fabs(static_cast<double>(value));
  if (magnitude == 0)
    return sign;
  if (magnitude >= 65520)
    return sign | 0x7c00;
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  int unit = std::max(exponent - 11, -24);
  auto steps = static_cast<uint16_t>(std::nearbyint(std::ldexp(magnitude, -unit)));
  /* A carry out of the fraction lands in the exponent, as it should. */
  return static_cast<uint16_t>(sign + (unit == -24 ? steps : ((unit + 24) << 10) + steps));
}

float e4m3ToFloat(uint8_t bits) {
  int exponent = bits >> 3 & 15, fraction = bits & 7;
  double value = exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
  return static_cast<float>(bits & 128 ? -value : value);
}

static int64_t align64(int64_t n) { return (n + 63) / 64 * 64; }

/// The float of a sign, e exponent and m mantissa bits.
static double minifloat(int code, int e, int m, int bias) {
  int exponent = code >> m & ((1 << e) - 1), fraction = code & ((1 << m) - 1);
  double value = exponent == 0 ? std::ldexp(fraction, 1 - bias - m)
                               : std::ldexp((1 << m) + fraction, exponent - bias - m);
  return code >> (e + m) & 1 ? -value : value;
}

/// How an element of coded weights lies, and what its codes stand for.
struct CodedElement {
  int bits;
  int64_t stepColumns, stepBytes;
};
static const std::map<int64_t, CodedElement> codedElements = {
    {QK_U2, {2, 16, 64}},    {QK_U3, {3, 32, 192}}, {QK_U4, {4, 8, 64}},   {QK_U5, {5, 32, 320}},
    {QK_U6, {6, 16, 192}},   {QK_U7, {7, 32, 448}}, {QK_U8, {8, 4, 64}},   {QK_E4M3, {8, 4, 64}},
    {QK_E5M2, {8, 4, 64}},   {QK_E3M4, {8, 4, 64}}, {QK_E2M5, {8, 4, 64}}, {QK_E3M2, {6, 16, 192}},
    {QK_E2M3, {6, 16, 192}}, {QK_E2M1, {4, 8, 64}}, {QK_NF4, {4, 8, 64}},  {QK_FP4, {4, 8, 64}},
    {QK_IQ4, {4, 8, 64}},    {QK_E1M2, {4, 8, 64}}, {QK_E3M0, {4, 8, 64}}, {QK_MX8, {8, 4, 64}},
    {QK_TABLE4, {4, 8, 64}}};

/// What a code of `element` stands for; NaN and infinity where it is none of these.
static double numberOf(int64_t element, int code, int64_t offset) {
  static const double nf4[] = {-1.0,
                               -0.6961928009986877,
                               -0.5250730514526367,
                               -0.39491748809814453,
                               -0.28444138169288635,
                               -0.18477343022823334,
                               -0.09105003625154495,
                               0.0,
                               0.07958029955625534,
                               0.16093020141124725,
                               0.24611230194568634,
                               0.33791524171829224,
                               0.44070982933044434,
                               0.5626170039176941,
                               0.7229568362236023,
                               1.0};
  static const float fp4[] = {0, 0.0625f, 8, 12, 4, 6, 2, 3}; // twelfths
  static const double iq4[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                               1,    13,   25,  38,  53,  69,  89,  113};
  switch (element) {
  case QK_E4M3:
    return (code & 127) == 127 ? NAN : minifloat(code, 4, 3, 7);
  case QK_E5M2:
    return (code & 127) >= 0x7c ? NAN : minifloat(code, 5, 2, 15);
  case QK_E3M4:
    return (code & 127) >= 0x70 ? NAN : minifloat(code, 3, 4, 3);
  case QK_E2M5:
    return minifloat(code, 2, 5, 1);
  case QK_E3M2:
    return minifloat(code, 3, 2, 3);
  case QK_E2M3:
    return minifloat(code, 2, 3, 1);
  case QK_E2M1:
    return minifloat(code, 2, 1, 1);
  case QK_E1M2:
    return minifloat(code, 1, 2, 1);
  case QK_E3M0:
    return minifloat(code, 3, 0, 3);
  case QK_NF4:
    return nf4[code];
  case QK_FP4:
    return static_cast<double>(fp4[code & 7] / 12.0f) * (code & 8 ? -1 : 1);
  case QK_IQ4:
    return iq4[code];
  case QK_MX8:
    return (code - 128) / 64.0;
  case QK_TABLE4: // times tableFactor of the panel
    return code * code / 32.0 - 2;
  default:
    return static_cast<double>(code - offset);
  }
}

/// Panels with tables of their own have different ones.
static double tableFactor(int64_t panel) { return static_cast<double>(1 + panel % 3); }

/// Writes the code of row r, column i of a step: planes of 8, 4, 2 and 1 bits, the lowest
/// bits first.
static void putPlanes(uint8_t *step, int64_t r, int64_t i, int code, const CodedElement &how) {
  int done = 0;
  for (int width : {8, 4, 2, 1}) {
    if (!(how.bits & width))
      continue;
    int64_t perVector = 32 / width;
    int part = code >> done & ((1 << width) - 1);
    step[i / perVector * 64 + 4 * r + i % 4] |=
        static_cast<uint8_t>(part << i % perVector / 4 * width);
    step += how.stepColumns * width * 2;
    done += width;
  }
}

static int64_t scaleSizeOf(int64_t scale) {
  const int64_t sizes[] = {0, 2, 4, 1, 1, 0, 1};
  return sizes[scale];
}

/// The value of a state of tcq rows (ir/codecs/Trellis.h states it).
static double trellisValue(uint32_t state) {
  const uint32_t product = state * 2178900867u;
  int sum = -510;
  for (int shift = 0; shift < 32; shift += 8)
    sum += static_cast<int>(product >> shift & 255);
  return sum / 128.0;
}

void Matrix::fillTrellis(Random &random) {
  const int64_t bytes = K * offset / 800, words = (bytes + 3) / 4;
  const int64_t step = (8 * bytes - 16) * 65536 / K;
  packed = Memory(static_cast<size_t>((N + 15) / 16 * words * 64));
  for (int64_t n = 0; n < N; ++n) {
    auto *word = packed.as<uint32_t>() + n / 16 * words * 16 + n % 16;
    for (int64_t t = 0; t < words; ++t)
      word[t * 16] = static_cast<uint32_t>(random.below(int64_t(1) << 32));
    auto half = floatToHalf(static_cast<float>(0.01 + 0.02 * std::fabs(random.normal())));
    word[0] = static_cast<uint32_t>(half) << 16 | (word[0] & 0xffffu);
    for (int64_t k = 0; k < K; ++k) {
      int64_t first = (k + 1) * step >> 16, t = first / 32;
      uint64_t pair = static_cast<uint64_t>(word[t * 16]) << 32;
      if (t + 1 < words)
        pair |= word[(t + 1) * 16];
      auto state = static_cast<uint32_t>(pair >> (48 - first % 32)) & 0xffffu;
      values[static_cast<size_t>(n * K + k)] = halfToFloat(half) * trellisValue(state);
    }
  }
}

void Matrix::fillMixed(Random &random) {
  const int64_t groups = K / 32, sum = (K * offset / 800 - groups) / 4;
  const int64_t scalesAt = align64(64 + groups), codesAt = scalesAt + align64(groups * 16);
  const int64_t panelBytes = codesAt + sum * 64, panels = (N + 15) / 16;
  const int64_t elements[] = {0, 0, QK_U2, QK_U3, QK_U4, QK_U5, QK_U6, QK_U7, QK_U8};
  packed = Memory(static_cast<size_t>(panels * panelBytes));
  for (int64_t p = 0; p < panels; ++p) {
    uint8_t *panel = packed.data() + p * panelBytes;
    // Equal widths, of which pairs of groups then exchange bits; another way in each panel.
    std::vector<int64_t> widths(static_cast<size_t>(groups), sum / groups);
    for (int64_t g = 0; g < sum % groups; ++g)
      ++widths[static_cast<size_t>(g)];
    auto isWidth = [](int64_t w) { return w >= 2 && w <= 8 && w != 7; };
    for (int64_t swaps = 0; swaps < 20 * groups; ++swaps) {
      int64_t &a = widths[static_cast<size_t>(random.below(groups))];
      int64_t &b = widths[static_cast<size_t>(random.below(groups))];
      int64_t bits = 1 + random.below(3);
      if (&a != &b && isWidth(a + bits) && isWidth(b - bits)) {
        a += bits;
        b -= bits;
      }
    }
    int64_t at = codesAt;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t width = widths[static_cast<size_t>(g)];
      panel[64 + g] = static_cast<uint8_t>(width);
      const CodedElement &how = codedElements.at(elements[width]);
      for (int64_t r = 0; r < 16 && p * 16 + r < N; ++r) {
        float ofRow = 0.001f * static_cast<float>(r + 1);
        std::memcpy(panel + r * 4, &ofRow, 4);
        auto byte = static_cast<uint8_t>((random.below(2) << 7) | (0x20 + random.below(40)));
        panel[scalesAt + g * 16 + r] = byte;
        double step = std::ldexp(static_cast<double>(e4m3ToFloat(byte)) * ofRow,
                                 static_cast<int>(1 - width));
        for (int64_t k = 0; k < 32; ++k) {
          auto code = static_cast<int>(random.below(int64_t(1) << width));
          putPlanes(panel + at + k / how.stepColumns * how.stepColumns * width * 2, r,
                    k % how.stepColumns, code, how);
          values[static_cast<size_t>((p * 16 + r) * K + g * 32 + k)] =
              step * (code - (1 << (width - 1)));
        }
      }
      at += width * 64;
    }
  }
}

Matrix::Matrix(Random &random, int64_t N, int64_t K, int64_t element, int64_t group, int64_t scale,
               int64_t hasMin, int64_t offset)
    : N(N), K(K), element(element), group(group), scale(scale), hasMin(hasMin), offset(offset),
      values(static_cast<size_t>(N * K)) {
  if (element == QK_TRELLIS) {
    fillTrellis(random);
    return;
  }
  if (element == QK_MIXED) {
    fillMixed(random);
    return;
  }
  const int64_t floatColumns[] = {1, 1, 2}, floatBytes[] = {64, 32, 64};
  const bool sparse = element >= QK_SPARSE24;
  const int64_t stored = element % QK_SPARSE24; // what a code is
  auto coded = codedElements.find(stored);
  bool isCoded = coded != codedElements.end();
  const int64_t denseColumns = isCoded ? coded->second.stepColumns : floatColumns[stored];
  const int64_t denseBytes = isCoded ? coded->second.stepBytes : floatBytes[stored];
  int64_t stepColumns = sparse ? 32 : denseColumns;
  int64_t stepBytes = sparse ? 16 / denseColumns * denseBytes + 64 : denseBytes;
  int64_t groups = (K + group - 1) / group, panels = (N + 15) / 16;
  int64_t scaleSize = scaleSizeOf(scale), scalesAt = 0;
  if (scale == QK_SCALE_E4M3 || stored == QK_TABLE4)
    scalesAt = 64;
  else if (scale == QK_SCALE_SUPER)
    scalesAt = (K + 255) / 256 * 32 * (1 + hasMin);
  int64_t codesAt = align64(scalesAt + groups * 16 * scaleSize * (1 + hasMin));
  int64_t steps = (K + stepColumns - 1) / stepColumns;
  int64_t panelBytes = codesAt + align64(steps * stepBytes);
  packed = Memory(static_cast<size_t>(panels * panelBytes));
  for (int64_t panel = 0; stored == QK_TABLE4 && panel < panels; ++panel)
    for (int code = 0; code < 16; ++code)
      packed.as<float>()[panel * panelBytes / 4 + code] =
          static_cast<float>(numberOf(stored, code, 0) * tableFactor(panel));

  auto putScale = [&](int64_t n, int64_t g, int64_t which, double wanted) -> double {
    if (scaleSize == 0)
      return which == 0 ? 1.0 : 0.0;
    uint8_t *panel = packed.data() + n / 16 * panelBytes;
    uint8_t *at = panel + scalesAt + ((g * (1 + hasMin) + which) * 16 + n % 16) * scaleSize;
    auto value = static_cast<float>(wanted);
    if (scale == QK_SCALE_F32) {
      std::memcpy(at, &value, 4);
      return value;
    }
    if (scale == QK_SCALE_E8M0) {
      *at = static_cast<uint8_t>(118 + random.below(6));
      return std::ldexp(1.0, *at - 127);
    }
    if (scale == QK_SCALE_E4M3) {
      float ofRow = 0.001f * static_cast<float>(n % 16 + 1);
      std::memcpy(panel + n % 16 * 4, &ofRow, 4);
      *at = static_cast<uint8_t>(g == 0 ? random.below(8) : 0x20 + random.below(40));
      return static_cast<double>(e4m3ToFloat(*at) * ofRow);
    }
    if (scale == QK_SCALE_SUPER) {
      int64_t super = g * group / 256;
      uint16_t half = floatToHalf(0.0003f * static_cast<float>((n + super + which) % 7 + 1));
      std::memcpy(panel + ((super * (1 + hasMin) + which) * 16 + n % 16) * 2, &half, 2);
      *at = static_cast<uint8_t>(random.below(256));
      return static_cast<double>(static_cast<int8_t>(*at)) * halfToFloat(half);
    }
    uint16_t half = floatToHalf(value);
    std::memcpy(at, &half, 2);
    return halfToFloat(half);
  };
  // The code of row r, column i of a step, xor `flip`.
  auto putNumber = [&](uint8_t *at, int64_t r, int64_t i, int flip) -> double {
    auto value = static_cast<float>(random.normal());
    auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    switch (stored) {
    case QK_F32:
      std::memcpy(at + r * 4, &value, 4);
      return value;
    case QK_F16:
      bits = floatToHalf(value);
      std::memcpy(at + r * 2, &bits, 2);
      return halfToFloat(bits);
    case QK_BF16:
      std::memcpy(at + (2 * r + i) * 2, &bits, 2);
      return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
    default: {
      int code = static_cast<int>(random.below(int64_t{1} << coded->second.bits));
      double number = numberOf(stored, code, hasMin ? 0 : offset);
      if (std::isnan(number))
        number = numberOf(stored, code = 0x3a, 0);
      putPlanes(at, r, i, code ^ flip, coded->second);
      return number;
    }
    }
  };
  // Column i of a sparse step: the first of each four chooses which have a code.
  auto putSparse = [&](uint8_t *at, int64_t r, int64_t i) -> double {
    const uint32_t choices[] = {0, 1, 8, 3, 5, 9, 6, 10, 12};
    uint8_t *maskAt = at + stepBytes - 64 + r * 4;
    uint32_t mask;
    std::memcpy(&mask, maskAt, 4);
    if (i % 4 == 0)
      mask |= choices[random.below(9)] << i;
    std::memcpy(maskAt, &mask, 4);
    if (!(mask >> i & 1))
      return 0;
    const int64_t before = std::popcount(mask >> (i - i % 4) & ((1u << i % 4) - 1));
    const int64_t place = i / 4 * 2 + before;
    return putNumber(at + place / denseColumns * denseBytes, r, place % denseColumns,
                     static_cast<int>(offset));
  };
  auto putCode = [&](int64_t n, int64_t k) -> double {
    int64_t r = n % 16, i = k % stepColumns;
    uint8_t *at = packed.data() + n / 16 * panelBytes + codesAt + k / stepColumns * stepBytes;
    const double number = sparse ? putSparse(at, r, i) : putNumber(at, r, i, 0);
    return stored == QK_TABLE4 ? number * tableFactor(n / 16) : number;
  };
  for (int64_t n = 0; n < N; ++n)
    for (int64_t g = 0; g < groups; ++g) {
      double s = putScale(n, g, 0, 0.01 + 0.02 * std::fabs(random.normal()));
      double m = hasMin ? putScale(n, g, 1, 0.1 * random.normal()) : 0;
      for (int64_t k = g * group; k < std::min(K, (g + 1) * group); ++k)
        values[static_cast<size_t>(n * K + k)] = s * putCode(n, k) + m;
    }
}

void Matrix::describe(Launch &launch) const {
  for (auto [name, value] : std::map<std::string, int64_t>{{"N", N},
                                                           {"K", K},
                                                           {"element", element},
                                                           {"group", group},
                                                           {"scale", scale},
                                                           {"hasMin", hasMin},
                                                           {"offset", offset}})
    launch.params[name] = value;
}

void expectClose(std::span<const float> got, std::span<const double> want,
                 std::span<const double> limit, const std::string &what) {
  ASSERT_GE(got.size(), want.size()) << what;
  for (size_t i = 0; i < want.size(); ++i)
    if (!(std::fabs(got[i] - want[i]) <= limit[i])) {
      ADD_FAILURE() << what << ": element " << i << " is " << got[i] << ", expected " << want[i]
                    << " within " << limit[i];
      return;
    }
}

void expectClose(std::span<const float> got, std::span<const double> want, double limit,
                 const std::string &what) {
  expectClose(got, want, std::vector<double>(want.size(), limit), what);
}
