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
    if (mode == 3)
      d = largest == 0 ? 0x1p-133f : std::ldexp(1.0f, std::ilogb(largest) - 6);
    float negative = largest != 0 ? -127.0f / largest : 0.0f;
    for (int64_t k = begin; k < end; ++k) {
      float v = x[at(k)], code = 0;
      if (mode == 0 || mode == 3)
        code = d > 0 ? std::nearbyint(v / d) : 0;
      else if (mode == 1)
        code = std::round(v * inverse);
      else
        code = std::nearbyint(v * negative);
      out.codes.push_back(static_cast<int8_t>(std::clamp(code, -127.0f, 127.0f)));
    }
    out.scales.push_back(mode == 0 || mode == 3 ? d
                         : mode == 1            ? halfToFloat(floatToHalf(d))
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
    for (int64_t mode : {0, 1, 2, 3})
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
    for (int64_t mode : {0, 1, 2, 3}) {
      std::vector<float> input = random.floats(s.K);
      Memory x(input);
      Launch launch("fake_quant", 1);
      launch.params = {
          {"K", s.K}, {"element", QK_U8}, {"actGroup", s.actGroup}, {"roundMode", mode}};
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

/// The non-negative numbers of a float of e exponent and m mantissa bits, ascending.
static std::vector<float> numbersOf(int e, int m, int bias, int count) {
  std::vector<float> numbers;
  for (int code = 0; code < count; ++code) {
    int exponent = code >> m, fraction = code & ((1 << m) - 1);
    numbers.push_back(
        exponent == 0 ? std::ldexp(static_cast<float>(fraction), 1 - bias - m)
                      : std::ldexp(static_cast<float>((1 << m) + fraction), exponent - bias - m));
  }
  return numbers;
}

struct FloatCase {
  int64_t element;
  int e, m, bias, count;
};
static const FloatCase floats[] = {{QK_E4M3, 4, 3, 7, 127}, {QK_E5M2, 5, 2, 15, 124},
                                   {QK_E3M4, 3, 4, 3, 112}, {QK_E2M5, 2, 5, 1, 128},
                                   {QK_E3M2, 3, 2, 3, 32},  {QK_E2M3, 2, 3, 1, 32},
                                   {QK_E2M1, 2, 1, 1, 8}};

KERNEL_TEST(FakeQuant, RoundsToFloatsAsTheirTablesSay) {
  for (const FloatCase &f : floats) {
    std::vector<float> table = numbersOf(f.e, f.m, f.bias, f.count), input, want;
    for (size_t i = 0; i + 1 < table.size(); ++i) {
      float low = table[i], high = table[i + 1], middle = (low + high) / 2;
      for (float x :
           {low, std::nextafterf(middle, 0), middle, std::nextafterf(middle, 1e6f), high}) {
        float nearest = x < middle ? low : x > middle ? high : (i % 2 == 0 ? low : high);
        for (float sign : {1.0f, -1.0f}) {
          input.push_back(sign * x);
          want.push_back(sign * nearest);
        }
      }
    }
    input.push_back(1e6f);
    want.push_back(table.back());
    Memory x(input);
    Launch launch("fake_quant", 1);
    launch.params = {{"K", static_cast<int64_t>(input.size())},
                     {"element", f.element},
                     {"actGroup", 32},
                     {"staticScale", doubleBits(1)}};
    launch.buffers = {&x, &x};
    launch.run(level);
    EXPECT_EQ(x.copy<float>(), want) << "element " << f.element;
  }
}

/// The nearest of `table`, which ascends from 0; of two the even one.
static float nearestOf(const std::vector<float> &table, float x) {
  float a = std::fabs(x);
  size_t i = 0;
  while (i + 1 < table.size() &&
         (a > (table[i] + table[i + 1]) / 2 || (a == (table[i] + table[i + 1]) / 2 && i % 2 == 1)))
    ++i;
  return std::copysign(table[i], x);
}

KERNEL_TEST(FakeQuant, ScalesGroupsOfFloatsAsTheirTypeSays) {
  Random random(11);
  const std::vector<float> e4m3 = numbersOf(4, 3, 7, 127);
  for (const FloatCase &f : floats)
    for (int64_t scale : {QK_SCALE_F32, QK_SCALE_E8M0, QK_SCALE_E4M3})
      for (int64_t group : {16, 32}) {
        const std::vector<float> table = numbersOf(f.e, f.m, f.bias, f.count);
        const float largest = table.back(), tensor = 0.0071f;
        int64_t K = 200;
        std::vector<float> input = random.floats(K), want;
        for (int64_t k = 0; k < K; ++k)
          input[at(k)] *= k < group ? 0.0f : k < 2 * group ? 1e-4f : k < 3 * group ? 1e3f : 1.0f;
        for (int64_t begin = 0; begin < K; begin += group) {
          int64_t end = std::min(begin + group, K);
          float amax = 0;
          for (int64_t k = begin; k < end; ++k)
            amax = std::max(amax, std::fabs(input[at(k)]));
          float d = amax / largest;
          if (scale == QK_SCALE_E8M0) {
            int exponent = -126;
            bool exact = amax != 0 && std::frexp(d, &exponent) == 0.5f;
            d = std::ldexp(1.0f, amax == 0 ? -127 : exact ? exponent - 1 : exponent);
          }
          if (scale == QK_SCALE_E4M3) {
            float wanted = amax / (largest * tensor);
            d = nearestOf(e4m3, wanted == 0 ? 1.0f : std::max(wanted, 0x1p-9f)) * tensor;
          }
          for (int64_t k = begin; k < end; ++k)
            want.push_back(d == 0 ? 0.0f : nearestOf(table, input[at(k)] / d) * d);
        }
        Memory x(input);
        Launch launch("fake_quant", 1);
        launch.params = {{"K", K}, {"element", f.element}, {"actGroup", group}, {"scale", scale}};
        launch.params["staticScale"] = doubleBits(scale == QK_SCALE_E4M3 ? tensor : 0);
        launch.buffers = {&x, &x};
        launch.run(level);
        EXPECT_EQ(x.copy<float>(), want) << "element " << f.element << " scale " << scale;
      }
}
