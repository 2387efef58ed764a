//===- LinearTest.cpp - products with packed weights ----------------------===//
//
// Every element kind, scale kind and group, with tails in rows, outputs and
// columns, against sums in f64 of exactly the same dequantized values.
//
//===----------------------------------------------------------------------===//
#include "KernelTest.h"

#include <algorithm>
#include <cmath>

static int64_t groupsOf(int64_t K, int64_t group) { return (K + group - 1) / group; }

/// int8 activations as linear_q8 reads them, with their values.
struct Q8 {
  Memory codes, scales, sums;
  std::vector<double> values; ///< [rows][K]
  Q8(Random &random, int64_t rows, int64_t K, int64_t actGroup, int64_t sumGroup) {
    int64_t Kp = (K + 63) / 64 * 64, G = groupsOf(K, actGroup), S = groupsOf(K, sumGroup);
    codes = Memory(static_cast<size_t>(rows * Kp));
    scales = Memory(static_cast<size_t>(rows * G * 4));
    sums = Memory(static_cast<size_t>(rows * S * 4));
    for (int64_t i = 0; i < rows * G; ++i)
      scales.as<float>()[i] = static_cast<float>(0.01 + 0.01 * std::fabs(random.normal()));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = 0; k < K; ++k) {
        auto code = static_cast<int8_t>(random.below(255) - 127);
        codes.as<int8_t>()[r * Kp + k] = code;
        sums.as<int32_t>()[r * S + k / sumGroup] += code;
        values.push_back(code * static_cast<double>(scales.as<float>()[r * G + k / actGroup]));
      }
  }
};

/// y[r][n] = sum of x[r][k] * w[n][k], and the sum of magnitudes.
struct Product {
  std::vector<double> y, magnitude;
  Product(const std::vector<double> &x, const double *w, int64_t rows, int64_t N, int64_t K) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t n = 0; n < N; ++n) {
        double sum = 0, absolute = 0;
        for (int64_t k = 0; k < K; ++k) {
          double term = x[static_cast<size_t>(r * K + k)] * w[n * K + k];
          sum += term;
          absolute += std::fabs(term);
        }
        y.push_back(sum);
        magnitude.push_back(absolute);
      }
  }
};

struct Case {
  int64_t N, K, element, group, scale, hasMin, offset, actGroup;
};

static void checkQ8(const Level &level, const Case &c, int64_t T, uint64_t seed) {
  Random random(seed);
  Matrix w(random, c.N, c.K, c.element, c.group, c.scale, c.hasMin, c.offset);
  int64_t sumGroup = std::min(c.group, c.actGroup), ldo = c.N + 5, column = 3;
  Q8 x(random, T, c.K, c.actGroup, sumGroup);
  Memory bias(random.floats(c.N));
  Memory out(random.floats(T * ldo));
  std::vector<float> before = out.copy<float>();
  double alpha = 0.75;
  Launch launch("linear_q8", T);
  w.describe(launch);
  launch.params.insert({{"actGroup", c.actGroup},
                        {"sumGroup", sumGroup},
                        {"ldo", ldo},
                        {"outColumn", column},
                        {"hasBias", 1},
                        {"hasResidual", 1},
                        {"alpha", doubleBits(alpha)}});
  launch.buffers = {&x.codes, &x.scales, &x.sums, &out, &out};
  launch.weights = {&w.packed, &bias};
  launch.run(level);
  Product want(x.values, w.values.data(), T, c.N, c.K);
  std::vector<double> expected(before.begin(), before.end()), limit(expected.size(), 0.0);
  for (int64_t r = 0; r < T; ++r)
    for (int64_t n = 0; n < c.N; ++n) {
      auto to = static_cast<size_t>(r * ldo + column + n), from = static_cast<size_t>(r * c.N + n);
      expected[to] += alpha * (want.y[from] + bias.as<float>()[n]);
      limit[to] = 1e-5 + 3e-6 * want.magnitude[from];
    }
  expectClose(out.copy<float>(), expected, limit,
              "N " + std::to_string(c.N) + " K " + std::to_string(c.K) + " element " +
                  std::to_string(c.element) + " group " + std::to_string(c.group) + " actGroup " +
                  std::to_string(c.actGroup) + " T " + std::to_string(T));
}

KERNEL_TEST(LinearQ8, MatchesTheSumInDouble) {
  const Case cases[] = {{32, 64, QK_U4, 32, QK_SCALE_F16, 0, 8, 32},
                        {50, 576, QK_U4, 32, QK_SCALE_F16, 0, 8, 32},
                        {48, 256, QK_U4, 32, QK_SCALE_F16, 1, 0, 32},
                        {16, 96, QK_U4, 16, QK_SCALE_F32, 0, 8, 32},
                        {33, 320, QK_U4, 64, QK_SCALE_F16, 0, 8, 32},
                        {40, 320, QK_U4, 128, QK_SCALE_F16, 1, 0, 320},
                        {7, 100, QK_U4, 100, QK_SCALE_F16, 0, 7, 100},
                        {40, 36, QK_U4, 32, QK_SCALE_F16, 0, 8, 36},
                        {64, 576, QK_U4, 64, QK_SCALE_F16, 0, 8, 576},
                        {64, 576, QK_U8, 32, QK_SCALE_F16, 0, 128, 32},
                        {31, 33, QK_U8, 33, QK_SCALE_F32, 0, 128, 33},
                        {48, 576, QK_U8, 576, QK_SCALE_F32, 0, 128, 32},
                        {20, 576, QK_U8, 576, QK_SCALE_F32, 0, 128, 576},
                        {20, 512, QK_U8, 16, QK_SCALE_F16, 0, 128, 256},
                        {20, 576, QK_U8, 64, QK_SCALE_F16, 1, 0, 256},
                        {36, 608, QK_U8, 608, QK_SCALE_F32, 1, 0, 32},
                        {50, 576, QK_U2, 32, QK_SCALE_F16, 0, 2, 32},
                        {33, 100, QK_U2, 100, QK_SCALE_F32, 0, 2, 100},
                        {40, 304, QK_U2, 16, QK_SCALE_F32, 1, 0, 256},
                        {33, 320, QK_U3, 64, QK_SCALE_F16, 0, 4, 320},
                        {20, 304, QK_U3, 16, QK_SCALE_F32, 0, 4, 256},
                        {17, 100, QK_U3, 16, QK_SCALE_F16, 1, 0, 100},
                        {31, 333, QK_U5, 333, QK_SCALE_F32, 0, 16, 333},
                        {48, 256, QK_U5, 32, QK_SCALE_F16, 1, 0, 32},
                        {20, 272, QK_U5, 16, QK_SCALE_F16, 0, 16, 272},
                        {20, 512, QK_U6, 16, QK_SCALE_F32, 0, 32, 256},
                        {20, 105, QK_U6, 105, QK_SCALE_F32, 0, 32, 105},
                        {40, 320, QK_U7, 128, QK_SCALE_F16, 0, 64, 320},
                        {40, 176, QK_U7, 16, QK_SCALE_F16, 1, 0, 176},
                        {40, 2080, QK_U7, 2080, QK_SCALE_F32, 0, 64, 32},
                        {40, 320, QK_E2M1, 32, QK_SCALE_E8M0, 0, 0, 32},
                        {40, 304, QK_E2M1, 16, QK_SCALE_E4M3, 0, 0, 304},
                        {40, 320, QK_IQ4, 32, QK_SCALE_F16, 0, 0, 32},
                        {33, 100, QK_IQ4, 32, QK_SCALE_F32, 0, 0, 100},
                        {40, 320, QK_MX8, 32, QK_SCALE_E8M0, 0, 128, 320},
                        {40, 512, QK_U4, 32, QK_SCALE_SUPER, 1, 0, 256},
                        {40, 768, QK_U6, 16, QK_SCALE_SUPER, 0, 32, 256},
                        {40, 512, QK_U2, 16, QK_SCALE_SUPER, 1, 0, 512},
                        {50, 576, QK_TRELLIS, 576, QK_SCALE_NONE, 0, 450, 576},
                        {17, 99, QK_TRELLIS, 99, QK_SCALE_NONE, 0, 240, 99},
                        {33, 320, QK_TRELLIS, 320, QK_SCALE_NONE, 0, 600, 32},
                        {20, 608, QK_TRELLIS, 608, QK_SCALE_NONE, 0, 344, 256},
                        {50, 576, QK_SPARSE24 + QK_U8, 576, QK_SCALE_F32, 0, 128, 576},
                        {33, 108, QK_SPARSE24 + QK_U8, 108, QK_SCALE_F32, 0, 128, 32},
                        {20, 2112, QK_SPARSE24 + QK_U8, 2112, QK_SCALE_F32, 0, 128, 2112},
                        {40, 320, QK_SPARSE24 + QK_U4, 64, QK_SCALE_F16, 0, 8, 320},
                        {33, 108, QK_SPARSE24 + QK_U4, 64, QK_SCALE_F16, 0, 8, 32}};
  uint64_t seed = 1;
  for (const Case &c : cases)
    for (int64_t T : {1, 2, 3, 5, 7, 13, 20})
      checkQ8(level, c, T, seed++);
}

// Shapes for the blocks of rows: units of 32, of 64, of a whole row, groups of several
// units in both directions, and 4-bit rows too wide to be unpacked at once.
static const Case blockCases[] = {{50, 576, QK_U4, 32, QK_SCALE_F16, 0, 8, 32},
                                  {33, 320, QK_U4, 64, QK_SCALE_F16, 1, 0, 64},
                                  {20, 2112, QK_U4, 32, QK_SCALE_F16, 0, 8, 32},
                                  {17, 2176, QK_U4, 2176, QK_SCALE_F32, 0, 8, 2176},
                                  {48, 576, QK_U8, 32, QK_SCALE_F16, 0, 128, 32},
                                  {20, 576, QK_U8, 576, QK_SCALE_F32, 0, 128, 576},
                                  {36, 608, QK_U8, 608, QK_SCALE_F32, 1, 0, 32},
                                  {36, 608, QK_U8, 608, QK_SCALE_F32, 0, 128, 608},
                                  {20, 576, QK_U8, 64, QK_SCALE_F16, 1, 0, 256},
                                  {20, 544, QK_U4, 32, QK_SCALE_F16, 1, 0, 256},
                                  {36, 608, QK_U2, 32, QK_SCALE_F16, 0, 2, 32},
                                  {20, 576, QK_U3, 64, QK_SCALE_F16, 0, 4, 576},
                                  {20, 512, QK_U3, 16, QK_SCALE_F32, 1, 0, 256},
                                  {20, 512, QK_U5, 32, QK_SCALE_F16, 1, 0, 32},
                                  {33, 576, QK_U6, 16, QK_SCALE_F32, 0, 32, 256},
                                  {20, 2112, QK_U6, 64, QK_SCALE_F16, 0, 32, 2112},
                                  {20, 576, QK_U7, 64, QK_SCALE_F16, 0, 64, 576},
                                  {36, 608, QK_E2M1, 32, QK_SCALE_E8M0, 0, 0, 608},
                                  {20, 2112, QK_E2M1, 16, QK_SCALE_E4M3, 0, 0, 256},
                                  {20, 608, QK_IQ4, 32, QK_SCALE_F16, 0, 0, 32},
                                  {20, 2112, QK_IQ4, 32, QK_SCALE_F16, 0, 0, 2112},
                                  {36, 608, QK_TRELLIS, 608, QK_SCALE_NONE, 0, 450, 608},
                                  {20, 613, QK_TRELLIS, 613, QK_SCALE_NONE, 0, 240, 32},
                                  {33, 2112, QK_TRELLIS, 2112, QK_SCALE_NONE, 0, 431, 256},
                                  {36, 576, QK_SPARSE24 + QK_U8, 576, QK_SCALE_F32, 0, 128, 576},
                                  {20, 2112, QK_SPARSE24 + QK_U4, 64, QK_SCALE_F16, 0, 8, 2112}};

KERNEL_TEST(LinearQ8, MatchesTheSumInDoubleInBlocksOfRows) {
  uint64_t seed = 100;
  for (const Case &c : blockCases)
    for (int64_t T : {16, 32, 39, 55, 137})
      checkQ8(level, c, T, seed++);
}

/// The outputs of a product on one level.
static std::vector<float> outputsOf(const Level &level, const Case &c, int64_t T) {
  Random random(7);
  Matrix w(random, c.N, c.K, c.element, c.group, c.scale, c.hasMin, c.offset);
  int64_t sumGroup = std::min(c.group, c.actGroup);
  Q8 x(random, T, c.K, c.actGroup, sumGroup);
  Memory out(static_cast<size_t>(T * c.N * 4));
  Launch launch("linear_q8", T);
  w.describe(launch);
  launch.params.insert(
      {{"actGroup", c.actGroup}, {"sumGroup", sumGroup}, {"ldo", c.N}, {"alpha", doubleBits(1)}});
  launch.buffers = {&x.codes, &x.scales, &x.sums, &out};
  launch.weights = {&w.packed};
  launch.run(level);
  return out.copy<float>();
}

KERNEL_TEST(LinearQ8, GivesTheBitsOfEveryOtherLevelThatFuses) {
  const Level &best = kernelLevels().front();
  if (level.name == best.name || std::string(level.name) == "portable")
    return;
  for (const Case &c : blockCases)
    for (int64_t T : {6, 50})
      EXPECT_EQ(outputsOf(level, c, T), outputsOf(best, c, T))
          << "N " << c.N << " K " << c.K << " group " << c.group << " T " << T;
}

KERNEL_TEST(LinearQ8, IsExactAtTheExtremesOfCodes) {
  // All codes at their largest: an intermediate that saturates would show.
  const std::pair<int64_t, int> widths[] = {{QK_U2, 2}, {QK_U3, 3}, {QK_U4, 4}, {QK_U5, 5},
                                            {QK_U6, 6}, {QK_U7, 7}, {QK_U8, 8}};
  for (auto [element, bits] : widths) {
    Random random(5);
    int64_t K = 256;
    Matrix w(random, 16, K, element, K, QK_SCALE_F32, 0, 0);
    uint8_t *bytes = w.packed.data();
    std::fill(bytes + 64, bytes + w.packed.size(), 0xff);
    for (int64_t r = 0; r < 16; ++r)
      w.packed.as<float>()[r] = 1.0f;
    for (int sign : {1, -1}) {
      Q8 x(random, 1, K, K, K);
      for (int64_t k = 0; k < K; ++k)
        x.codes.as<int8_t>()[k] = static_cast<int8_t>(sign * 127);
      x.sums.as<int32_t>()[0] = static_cast<int32_t>(sign * 127 * K);
      x.scales.as<float>()[0] = 1.0f;
      Memory out(16 * 4);
      Launch launch("linear_q8", 1);
      w.describe(launch);
      launch.params.insert(
          {{"actGroup", K}, {"sumGroup", K}, {"ldo", 16}, {"alpha", doubleBits(1)}});
      launch.buffers = {&x.codes, &x.scales, &x.sums, &out};
      launch.weights = {&w.packed};
      launch.run(level);
      double want = sign * 127.0 * static_cast<double>(K) * ((1 << bits) - 1);
      expectClose(out.copy<float>(), std::vector<double>(16, want), 0.0, "extreme codes");
    }
  }
}

static void checkF32(const Level &level, const Case &c, int64_t T, uint64_t seed) {
  Random random(seed);
  Matrix w(random, c.N, c.K, c.element, c.group, c.scale, c.hasMin, c.offset);
  int64_t ldi = c.K + 3, ldo = c.N + 2;
  std::vector<float> input = random.floats(T * ldi);
  std::vector<double> x;
  for (int64_t r = 0; r < T; ++r) {
    for (int64_t k = 0; k < c.K; ++k)
      x.push_back(input[static_cast<size_t>(r * ldi + k)]);
    for (int64_t k = c.K; k < ldi; ++k) // what lies beside a row must not count
      input[static_cast<size_t>(r * ldi + k)] = NAN;
  }
  Memory in(input), bias(random.floats(c.N)), out(static_cast<size_t>(T * ldo * 4));
  Launch launch("linear_f32", T);
  w.describe(launch);
  launch.params.insert(
      {{"ldi", ldi}, {"ldo", ldo}, {"outColumn", 1}, {"hasBias", 1}, {"alpha", doubleBits(1)}});
  launch.buffers = {&in, &out};
  launch.weights = {&w.packed, &bias};
  launch.run(level);
  Product want(x, w.values.data(), T, c.N, c.K);
  std::vector<double> expected(static_cast<size_t>(T * ldo)), limit(expected.size(), 0.0);
  for (int64_t r = 0; r < T; ++r)
    for (int64_t n = 0; n < c.N; ++n) {
      auto to = static_cast<size_t>(r * ldo + 1 + n), from = static_cast<size_t>(r * c.N + n);
      expected[to] = want.y[from] + bias.as<float>()[n];
      limit[to] = 1e-6 + 2e-6 * want.magnitude[from];
    }
  expectClose(out.copy<float>(), expected, limit,
              "N " + std::to_string(c.N) + " K " + std::to_string(c.K) + " element " +
                  std::to_string(c.element) + " group " + std::to_string(c.group) + " T " +
                  std::to_string(T));
}

KERNEL_TEST(LinearF32, MatchesTheSumInDouble) {
  const Case cases[] = {{32, 64, QK_F32, 64, QK_SCALE_NONE, 0, 0, 0},
                        {50, 101, QK_F32, 101, QK_SCALE_NONE, 0, 0, 0},
                        {50, 101, QK_F16, 101, QK_SCALE_NONE, 0, 0, 0},
                        {49, 101, QK_BF16, 101, QK_SCALE_NONE, 0, 0, 0},
                        {32, 300, QK_BF16, 300, QK_SCALE_F32, 0, 0, 0},
                        {50, 576, QK_U4, 32, QK_SCALE_F16, 0, 8, 0},
                        {48, 260, QK_U4, 64, QK_SCALE_F16, 1, 0, 0},
                        {17, 99, QK_U4, 99, QK_SCALE_F32, 0, 8, 0},
                        {50, 144, QK_U8, 16, QK_SCALE_F16, 0, 128, 0},
                        {50, 147, QK_U8, 48, QK_SCALE_F32, 1, 0, 0},
                        {50, 147, QK_U2, 48, QK_SCALE_F32, 1, 0, 0},
                        {50, 576, QK_U2, 64, QK_SCALE_F16, 0, 2, 0},
                        {50, 147, QK_U3, 48, QK_SCALE_F32, 1, 0, 0},
                        {40, 333, QK_U3, 32, QK_SCALE_F16, 0, 4, 0},
                        {33, 99, QK_U5, 99, QK_SCALE_F32, 0, 16, 0},
                        {33, 304, QK_U5, 16, QK_SCALE_F16, 1, 0, 0},
                        {33, 304, QK_U6, 16, QK_SCALE_F32, 0, 32, 0},
                        {33, 101, QK_U6, 101, QK_SCALE_F32, 0, 32, 0},
                        {33, 290, QK_U7, 128, QK_SCALE_F16, 0, 64, 0},
                        {33, 176, QK_U7, 16, QK_SCALE_F16, 1, 0, 0},
                        {33, 130, QK_E5M2, 130, QK_SCALE_F32, 0, 0, 0},
                        {33, 160, QK_E3M4, 32, QK_SCALE_E8M0, 0, 0, 0},
                        {33, 131, QK_E2M5, 128, QK_SCALE_F32, 0, 0, 0},
                        {40, 160, QK_E4M3, 32, QK_SCALE_E8M0, 0, 0, 0},
                        {40, 320, QK_E3M2, 32, QK_SCALE_E8M0, 0, 0, 0},
                        {20, 106, QK_E2M3, 32, QK_SCALE_E8M0, 0, 0, 0},
                        {40, 320, QK_E2M1, 32, QK_SCALE_E8M0, 0, 0, 0},
                        {40, 99, QK_E2M1, 16, QK_SCALE_E4M3, 0, 0, 0},
                        {40, 330, QK_NF4, 64, QK_SCALE_F32, 0, 0, 0},
                        {40, 320, QK_FP4, 64, QK_SCALE_F32, 0, 0, 0},
                        {40, 320, QK_IQ4, 32, QK_SCALE_F16, 0, 0, 0},
                        {60, 320, QK_TABLE4, 320, QK_SCALE_F32, 0, 0, 0},
                        {33, 101, QK_TABLE4, 101, QK_SCALE_F32, 0, 0, 0},
                        {40, 100, QK_MX8, 32, QK_SCALE_E8M0, 0, 128, 0},
                        {40, 768, QK_U3, 16, QK_SCALE_SUPER, 0, 4, 0},
                        {40, 512, QK_U5, 32, QK_SCALE_SUPER, 1, 0, 0},
                        {32, 130, QK_E4M3, 130, QK_SCALE_F32, 0, 0, 0},
                        {20, 131, QK_E4M3, 131, QK_SCALE_NONE, 0, 0, 0},
                        {50, 576, QK_TRELLIS, 576, QK_SCALE_NONE, 0, 450, 0},
                        {50, 108, QK_SPARSE24 + QK_F16, 108, QK_SCALE_NONE, 0, 0, 0},
                        {33, 320, QK_SPARSE24 + QK_BF16, 320, QK_SCALE_NONE, 0, 0, 0},
                        {33, 108, QK_SPARSE24 + QK_U8, 108, QK_SCALE_F32, 0, 128, 0},
                        {50, 320, QK_SPARSE24 + QK_U4, 64, QK_SCALE_F16, 0, 8, 0},
                        {33, 220, QK_SPARSE24 + QK_U4, 128, QK_SCALE_F16, 0, 8, 0},
                        {40, 236, QK_SPARSE24 + QK_E4M3, 236, QK_SCALE_F32, 0, 0, 0},
                        {17, 99, QK_TRELLIS, 99, QK_SCALE_NONE, 0, 240, 0},
                        {33, 260, QK_TRELLIS, 260, QK_SCALE_NONE, 0, 600, 0},
                        {50, 576, QK_MIXED, 32, QK_SCALE_NONE, 0, 450, 0},
                        {33, 192, QK_MIXED, 32, QK_SCALE_NONE, 0, 300, 0},
                        {17, 32, QK_MIXED, 32, QK_SCALE_NONE, 0, 500, 0}};
  uint64_t seed = 1;
  for (const Case &c : cases)
    for (int64_t T : {1, 2, 3, 5, 7, 8, 13, 20, 110})
      checkF32(level, c, T, seed++);
}

KERNEL_TEST(LinearF32, WritesLogitsOfTheWantedRows) {
  Random random(3);
  Matrix w(random, 40, 32, QK_F16, 32, QK_SCALE_NONE, 0, 0);
  std::vector<float> input = random.floats(2 * 32);
  Memory in(input), logits(2 * 40 * 4);
  Launch launch("linear_f32", 5);
  launch.args.logit_rows = 2;
  launch.args.logits = logits.as<float>();
  w.describe(launch);
  launch.params.insert(
      {{"ldi", 32}, {"ldo", 40}, {"alpha", doubleBits(1)}, {"rows", 1}, {"toLogits", 1}});
  launch.buffers = {&in};
  launch.weights = {&w.packed};
  launch.run(level, {&logits});
  Product want({input.begin(), input.end()}, w.values.data(), 2, 40, 32);
  expectClose(logits.copy<float>(), want.y, 1e-4, "logits");
}

//===----------------------------------------------------------------------===//
// Experts
//===----------------------------------------------------------------------===//

/// Slots sorted by expert, from a list of the experts chosen.
struct Routes {
  std::vector<int32_t> chosen, offsets, list;
  Routes(Random &random, int64_t slots, int64_t experts)
      : offsets(static_cast<size_t>(experts + 1)) {
    for (int64_t s = 0; s < slots; ++s)
      chosen.push_back(static_cast<int32_t>(random.below(experts - 1))); // the last gets none
    for (int64_t e = 0; e < experts; ++e) {
      for (int64_t s = 0; s < slots; ++s)
        if (chosen[static_cast<size_t>(s)] == e)
          list.push_back(static_cast<int32_t>(s));
      offsets[static_cast<size_t>(e + 1)] = static_cast<int32_t>(list.size());
    }
  }
};

/// How a product of experts is launched.
enum class Launches { Bank, OddAndEven };

static void checkExperts(const Level &level, bool quantized, bool slotInput, int64_t T,
                         Launches launches) {
  Random random(static_cast<uint64_t>(T));
  int64_t experts = 5, topk = 2, N = 200, K = 64, rows = slotInput ? T * topk : T;
  std::vector<Matrix> matrices;
  std::vector<float> biases = random.floats(experts * N);
  for (int64_t e = 0; e < experts; ++e)
    matrices.emplace_back(random, N, K, QK_U4, 32, QK_SCALE_F16, 0, 8);
  Routes routes(random, T * topk, experts);
  Memory offsets(routes.offsets), list(routes.list), out(static_cast<size_t>(T * topk * N * 4));
  Q8 x(random, rows, K, 32, 32);
  Memory in(std::vector<float>(x.values.begin(), x.values.end()));
  auto launchFor = [&](const std::vector<float> &numbers, bool hasNumbers) {
    std::vector<uint8_t> bytes;
    std::vector<float> ownBiases;
    for (float number : numbers) {
      auto part = matrices[static_cast<size_t>(number)].packed.copy<uint8_t>();
      bytes.insert(bytes.end(), part.begin(), part.end());
      auto first = biases.begin() + static_cast<int64_t>(number) * N;
      ownBiases.insert(ownBiases.end(), first, first + N);
    }
    Memory bank(bytes), bias(ownBiases), which(numbers);
    Launch launch(quantized ? "linear_q8_experts" : "linear_f32_experts", T);
    matrices[0].describe(launch);
    launch.params.insert({{"ldo", N},
                          {"hasBias", 1},
                          {"experts", static_cast<int64_t>(numbers.size())},
                          {"topk", topk},
                          {"slotInput", slotInput},
                          {"hasNumbers", hasNumbers}});
    if (quantized) {
      launch.params.insert({{"actGroup", 32}, {"sumGroup", 32}});
      launch.buffers = {&x.codes, &x.scales, &x.sums, &out, &offsets, &list};
    } else {
      launch.params["ldi"] = K;
      launch.buffers = {&in, &out, &offsets, &list};
    }
    launch.weights = {&bank, &bias, &which};
    launch.run(level);
  };
  if (launches == Launches::Bank) {
    launchFor({0, 1, 2, 3, 4}, false);
  } else {
    launchFor({3, 1}, true);
    launchFor({0, 2, 4}, true);
  }
  std::vector<double> want, limit;
  for (int64_t s = 0; s < T * topk; ++s) {
    int64_t e = routes.chosen[static_cast<size_t>(s)], row = slotInput ? s : s / topk;
    std::vector<double> one(x.values.begin() + row * K, x.values.begin() + (row + 1) * K);
    Product p(one, matrices[static_cast<size_t>(e)].values.data(), 1, N, K);
    for (int64_t n = 0; n < N; ++n) {
      want.push_back(p.y[static_cast<size_t>(n)] + biases[static_cast<size_t>(e * N + n)]);
      limit.push_back(1e-5 + 3e-6 * p.magnitude[static_cast<size_t>(n)]);
    }
  }
  expectClose(out.copy<float>(), want, limit, "experts");
}

KERNEL_TEST(LinearExperts, GiveEachSlotTheProductOfItsExpert) {
  for (int64_t T : {1, 4, 30, 130})
    for (bool quantized : {true, false})
      for (bool slotInput : {true, false})
        checkExperts(level, quantized, slotInput, T, Launches::Bank);
}

KERNEL_TEST(LinearExperts, LeaveSlotsOfOtherExpertsAlone) {
  for (int64_t T : {1, 4, 30})
    for (bool quantized : {true, false})
      for (bool slotInput : {true, false})
        checkExperts(level, quantized, slotInput, T, Launches::OddAndEven);
}
