//===- QuantizeTest.cpp - activations to int8 and back --------------------===//
//
// The three rounding modes against their definitions, which are computed in f32
// step by step as the definitions say, so that codes must be equal.
//
//===----------------------------------------------------------------------===//
#include "KernelTest.h"

#include <algorithm>
#include <cmath>

static size_t at(int64_t i) { return static_cast<size_t>(i); }

struct Quantized {
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> sums;
};

/// One row, as Kernels.inc defines it.
static void quantizeRow(const std::vector<float> &x, int64_t actGroup, int64_t sumGroup,
                        int64_t mode, Quantized &out) {
  auto K = static_cast<int64_t>(x.size());
  size_t first = out.codes.size();
  for (int64_t begin = 0; begin < K; begin += actGroup) {
    int64_t end = std::min(begin + actGroup, K);
    float largest = 0;
    for (int64_t k = begin; k < end; ++k)
      if (std::fabs(x[at(k)]) > std::fabs(largest))
        largest = x[at(k)];
    float d = std::fabs(largest) / 127.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
    float negative = largest != 0 ? -127.0f / largest : 0.0f;
    for (int64_t k = begin; k < end; ++k) {
      float v = x[at(k)], code = 0;
      if (mode == 0)
        code = d > 0 ? std::nearbyint(v / d) : 0;
      else if (mode == 1)
        code = std::round(v * inverse);
      else
        code = std::nearbyint(v * negative);
      out.codes.push_back(static_cast<int8_t>(std::clamp(code, -127.0f, 127.0f)));
    }
    out.scales.push_back(mode == 0   ? d
                         : mode == 1 ? halfToFloat(floatToHalf(d))
                                     : (largest != 0 ? 1.0f / negative : 0.0f));
  }
  for (int64_t begin = 0; begin < K; begin += sumGroup) {
    int32_t sum = 0;
    for (int64_t k = begin; k < std::min(begin + sumGroup, K); ++k)
      sum += out.codes[first + at(k)];
    out.sums.push_back(sum);
  }
  out.codes.resize(first + at((K + 63) / 64 * 64), 0);
}

struct Outputs {
  Memory codes, scales, sums;
  Outputs(int64_t T, int64_t K, int64_t actGroup, int64_t sumGroup)
      : codes(at(T * ((K + 63) / 64 * 64))), scales(at(T * ((K + actGroup - 1) / actGroup) * 4)),
        sums(at(T * ((K + sumGroup - 1) / sumGroup) * 4)) {
    std::fill_n(codes.data(), codes.size(), 0x55);
  }
  void expectEqual(const Quantized &want) const {
    EXPECT_EQ(codes.copy<int8_t>(), want.codes);
    EXPECT_EQ(scales.copy<float>(), want.scales);
    EXPECT_EQ(sums.copy<int32_t>(), want.sums);
  }
};

struct Shape {
  int64_t K, actGroup, sumGroup;
};
static const Shape shapes[] = {{64, 32, 32},   {576, 32, 16},   {100, 32, 32},  {576, 256, 32},
                               {576, 576, 64}, {300, 256, 256}, {1536, 32, 32}, {33, 33, 33}};

KERNEL_TEST(QuantizeQ8, GivesTheCodesOfItsDefinition) {
  Random random(1);
  for (const Shape &s : shapes)
    for (int64_t mode : {0, 1, 2})
      for (bool smooth : {false, true}) {
        int64_t T = 5, ld = s.K + 6;
        std::vector<float> input = random.floats(T * ld), factors = random.floats(s.K);
        std::fill_n(input.begin(), s.actGroup, 0.0f); // a group of zeros
        Memory in(input), w(factors);
        Outputs out(T, s.K, s.actGroup, s.sumGroup);
        Launch launch("quantize_q8", T);
        launch.params = {{"K", s.K},
                         {"ld", ld},
                         {"actGroup", s.actGroup},
                         {"sumGroup", s.sumGroup},
                         {"roundMode", mode},
                         {"hasSmooth", smooth}};
        launch.buffers = {&in, &out.codes, &out.scales, &out.sums};
        launch.weights = {smooth ? &w : nullptr};
        launch.run(level);
        Quantized want;
        for (int64_t r = 0; r < T; ++r) {
          std::vector<float> row(input.begin() + r * ld, input.begin() + r * ld + s.K);
          for (int64_t k = 0; smooth && k < s.K; ++k)
            row[at(k)] *= factors[at(k)];
          quantizeRow(row, s.actGroup, s.sumGroup, mode, want);
        }
        SCOPED_TRACE("K " + std::to_string(s.K) + " mode " + std::to_string(mode));
        out.expectEqual(want);
      }
}

KERNEL_TEST(QuantizeQ8, SaturatesAtAGivenScale) {
  std::vector<float> input(32, 0.0f);
  input[0] = 200, input[1] = -200, input[2] = 2.5f, input[3] = 0.26f;
  Memory in(input);
  Outputs out(1, 32, 32, 32);
  Launch launch("quantize_q8", 1);
  launch.params = {{"K", 32}, {"ld", 32}, {"actGroup", 32}, {"sumGroup", 32}};
  launch.params["staticScale"] = doubleBits(0.5);
  launch.buffers = {&in, &out.codes, &out.scales, &out.sums};
  launch.run(level);
  const int8_t want[4] = {127, -127, 5, 1};
  for (size_t i = 0; i < 4; ++i)
    EXPECT_EQ(out.codes.as<int8_t>()[i], want[i]) << "column " << i;
  EXPECT_EQ(out.scales.as<float>()[0], 0.5f);
  EXPECT_EQ(out.sums.as<int32_t>()[0], 6);
}

KERNEL_TEST(QuantizeQ8, RoundsTiesAsTheModeSays) {
  // The largest is 127, so that codes are the values: ties are visible.
  std::vector<float> input(32, 0.0f);
  input[0] = 127, input[1] = 0.5f, input[2] = 1.5f, input[3] = -0.5f, input[4] = -2.5f;
  for (int64_t mode : {0, 1, 2}) {
    Memory in(input);
    Outputs out(1, 32, 32, 32);
    Launch launch("quantize_q8", 1);
    launch.params = {
        {"K", 32}, {"ld", 32}, {"actGroup", 32}, {"sumGroup", 32}, {"roundMode", mode}};
    launch.buffers = {&in, &out.codes, &out.scales, &out.sums};
    launch.run(level);
    const int8_t want[3][5] = {{127, 0, 2, 0, -2}, {127, 1, 2, -1, -3}, {-127, 0, -2, 0, 2}};
    for (size_t i = 0; i < 5; ++i)
      EXPECT_EQ(out.codes.as<int8_t>()[i], want[mode][i]) << "mode " << mode << " column " << i;
  }
}

/// Runs `kernel`, which computes a row and then quantizes it, and `plain` followed
/// by quantize_q8; both must give the same bits.
static void expectFusedEqual(const Level &level, Launch fused, Launch plain, int64_t T, int64_t K,
                             Memory &in) {
  for (const Shape &s : {Shape{K, 32, 32}, Shape{K, K, 64}, Shape{K, 256, 16}}) {
    Outputs got(T, K, s.actGroup, s.sumGroup), want(T, K, s.actGroup, s.sumGroup);
    Memory middle(at(T * K) * 4);
    std::map<std::string, int64_t> how = {
        {"actGroup", s.actGroup}, {"sumGroup", s.sumGroup}, {"roundMode", 1}};
    Launch first = fused;
    first.params.insert(how.begin(), how.end());
    first.buffers = {&in, &got.codes, &got.scales, &got.sums};
    first.run(level);
    plain.buffers = {&in, &middle};
    plain.run(level);
    Launch second("quantize_q8", T);
    second.params = {{"K", K}, {"ld", K}};
    second.params.insert(how.begin(), how.end());
    second.buffers = {&middle, &want.codes, &want.scales, &want.sums};
    second.run(level);
    EXPECT_EQ(got.codes.copy<uint8_t>(), want.codes.copy<uint8_t>());
    EXPECT_EQ(got.scales.copy<float>(), want.scales.copy<float>());
    EXPECT_EQ(got.sums.copy<int32_t>(), want.sums.copy<int32_t>());
  }
}

KERNEL_TEST(RmsNormQ8, EqualsTheNormThenQuantized) {
  Random random(2);
  int64_t T = 3, K = 576;
  Memory in(random.floats(T * K)), gamma(random.floats(K));
  Launch fused("rms_norm_q8", T), plain("rms_norm", T);
  fused.params = {{"K", K}, {"eps", doubleBits(1e-5)}, {"weightOffset", doubleBits(0)}};
  plain.params = {{"K", K},
                  {"groups", 1},
                  {"ld", K},
                  {"eps", doubleBits(1e-5)},
                  {"weightOffset", doubleBits(0)}};
  fused.weights = {&gamma};
  plain.weights = {&gamma};
  expectFusedEqual(level, fused, plain, T, K, in);
}

KERNEL_TEST(GluQ8, EqualsTheGateThenQuantized) {
  Random random(3);
  int64_t T = 3, I = 200;
  Memory in(random.floats(T * 2 * I));
  Launch fused("glu_q8", T), plain("glu", T);
  fused.params = plain.params = {{"I", I}, {"activation", QK_SILU}};
  expectFusedEqual(level, fused, plain, T, I, in);
}

KERNEL_TEST(FakeQuant, GivesCodeTimesScale) {
  Random random(4);
  for (const Shape &s : shapes)
    for (int64_t mode : {0, 1, 2}) {
      std::vector<float> input = random.floats(s.K);
      Memory x(input);
      Launch launch("fake_quant", 1);
      launch.params = {{"K", s.K}, {"actGroup", s.actGroup}, {"roundMode", mode}};
      launch.buffers = {&x, &x};
      launch.run(level);
      Quantized q;
      quantizeRow(input, s.actGroup, s.sumGroup, mode, q);
      std::vector<float> want;
      for (int64_t k = 0; k < s.K; ++k)
        want.push_back(static_cast<float>(q.codes[at(k)]) * q.scales[at(k / s.actGroup)]);
      EXPECT_EQ(x.copy<float>(), want);
    }
}

KERNEL_TEST(FakeQuant, RoundsToE4M3AsItsTableSays) {
  std::vector<float> table; // magnitudes, ascending
  for (int code = 0; code < 127; ++code)
    table.push_back(e4m3ToFloat(static_cast<uint8_t>(code)));
  std::vector<float> input, want;
  for (size_t i = 0; i + 1 < table.size(); ++i) {
    float low = table[i], high = table[i + 1], middle = (low + high) / 2;
    for (float x : {low, std::nextafterf(middle, 0), middle, std::nextafterf(middle, 999), high}) {
      float nearest = x < middle ? low : x > middle ? high : (i % 2 == 0 ? low : high);
      for (float sign : {1.0f, -1.0f}) {
        input.push_back(sign * x);
        want.push_back(sign * nearest);
      }
    }
  }
  input.push_back(1e6f);
  want.push_back(448);
  Memory x(input);
  Launch launch("fake_quant", 1);
  launch.params = {{"K", static_cast<int64_t>(input.size())},
                   {"kind", 1},
                   {"actGroup", 32},
                   {"staticScale", doubleBits(1)}};
  launch.buffers = {&x, &x};
  launch.run(level);
  EXPECT_EQ(x.copy<float>(), want);
}
