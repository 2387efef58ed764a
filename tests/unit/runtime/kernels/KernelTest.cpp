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

/// The value of a state of tcq rows (ir/codecs/Trellis.h states it).
static double trellisValue(uint32_t state) {
  auto f = static_cast<float>(static_cast<int32_t>(state * 40503u << 16));
  auto bits = std::bit_cast<uint32_t>(f);
  auto l = static_cast<double>(static_cast<int32_t>(bits << 4));
  double p = ((-0x1.f68bf2p-91 * l - 0x1.048064p-58) * l - 0x1.c442dap-28) * l - 0x1.870fd8p+0;
  return bits >> 31 ? -p : p;
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

Matrix::Matrix(Random &random, int64_t N, int64_t K, int64_t element, int64_t group, int64_t scale,
               int64_t hasMin, int64_t offset)
    : N(N), K(K), element(element), group(group), scale(scale), hasMin(hasMin), offset(offset),
      values(static_cast<size_t>(N * K)) {
  if (element == QK_TRELLIS) {
    fillTrellis(random);
    return;
  }
  const int64_t stepColumns[] = {1, 1, 2, 8, 4, 4}, stepBytes[] = {64, 32, 64, 64, 64, 64};
  int64_t groups = (K + group - 1) / group, panels = (N + 15) / 16;
  int64_t scaleSize = scale == QK_SCALE_NONE ? 0 : scale == QK_SCALE_F16 ? 2 : 4;
  int64_t codesAt = align64(groups * 16 * scaleSize * (1 + hasMin));
  int64_t steps = (K + stepColumns[element] - 1) / stepColumns[element];
  int64_t panelBytes = codesAt + align64(steps * stepBytes[element]);
  packed = Memory(static_cast<size_t>(panels * panelBytes));

  auto putScale = [&](int64_t n, int64_t g, int64_t which, double wanted) -> double {
    if (scaleSize == 0)
      return which == 0 ? 1.0 : 0.0;
    uint8_t *at = packed.data() + n / 16 * panelBytes +
                  ((g * (1 + hasMin) + which) * 16 + n % 16) * scaleSize;
    auto value = static_cast<float>(wanted);
    if (scale == QK_SCALE_F32) {
      std::memcpy(at, &value, 4);
      return value;
    }
    uint16_t half = floatToHalf(value);
    std::memcpy(at, &half, 2);
    return halfToFloat(half);
  };
  auto putCode = [&](int64_t n, int64_t k) -> double {
    uint8_t *codes = packed.data() + n / 16 * panelBytes + codesAt;
    int64_t r = n % 16, step = k / stepColumns[element], i = k % stepColumns[element];
    uint8_t *at = codes + step * stepBytes[element];
    auto value = static_cast<float>(random.normal());
    auto code = static_cast<uint8_t>(random.below(256));
    switch (element) {
    case QK_F32:
      std::memcpy(at + r * 4, &value, 4);
      return value;
    case QK_F16: {
      uint16_t half = floatToHalf(value);
      std::memcpy(at + r * 2, &half, 2);
      return halfToFloat(half);
    }
    case QK_BF16: {
      auto half = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
      std::memcpy(at + (2 * r + i) * 2, &half, 2);
      return std::bit_cast<float>(static_cast<uint32_t>(half) << 16);
    }
    case QK_U4:
      code &= 15;
      at[4 * r + i % 4] |= static_cast<uint8_t>(i < 4 ? code : code << 4);
      return static_cast<double>(code) - static_cast<double>(hasMin ? 0 : offset);
    case QK_U8:
      at[4 * r + i] = code;
      return static_cast<double>(code) - static_cast<double>(hasMin ? 0 : offset);
    default:
      if ((code & 127) == 127)
        code = 0x3a;
      at[4 * r + i] = code;
      return e4m3ToFloat(code);
    }
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
