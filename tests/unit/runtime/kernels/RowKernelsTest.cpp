//===- RowKernelsTest.cpp - norms, gates, elementwise, embeddings, rope ---===//
//
// Kernels that treat rows alone, against the textbook formula in f64.
//
//===----------------------------------------------------------------------===//
#include "KernelTest.h"

#include <algorithm>
#include <cmath>

static std::vector<double> widen(const std::vector<float> &x) { return {x.begin(), x.end()}; }

static size_t at(int64_t i) { return static_cast<size_t>(i); }

static void normalise(std::span<const float> x, std::span<const float> gamma, double eps,
                      double offset, double *out) {
  double sum = 0;
  for (float v : x)
    sum += static_cast<double>(v) * v;
  double scale = 1 / std::sqrt(sum / static_cast<double>(x.size()) + eps);
  for (size_t k = 0; k < x.size(); ++k)
    out[k] = x[k] * scale * (gamma[k] + offset);
}

KERNEL_TEST(RmsNorm, NormalisesSegmentsInPlace) {
  Random random(1);
  for (int64_t K : {16, 64, 100, 576})
    for (int64_t groups : {1, 3})
      for (int64_t perGroup : {0, 1}) {
        int64_t T = 5, column = 7, ld = groups * K + 10;
        std::vector<float> input = random.floats(T * ld, 3.0), gamma = random.floats(groups * K);
        Memory x(input), weights(gamma);
        Launch launch("rms_norm", T);
        launch.params = {{"K", K},
                         {"groups", groups},
                         {"ld", ld},
                         {"column", column},
                         {"perGroup", perGroup},
                         {"eps", doubleBits(1e-5)},
                         {"weightOffset", doubleBits(1.0)}};
        launch.buffers = {&x, &x};
        launch.weights = {&weights};
        launch.run(level);
        std::vector<double> want = widen(input);
        for (int64_t r = 0; r < T; ++r)
          for (int64_t g = 0; g < groups; ++g) {
            auto first = at(r * ld + column + g * K);
            normalise(std::span(input).subspan(first, at(K)),
                      std::span(gamma).subspan(perGroup ? at(g * K) : 0, at(K)), 1e-5, 1.0,
                      want.data() + first);
          }
        expectClose(x.copy<float>(), want, 2e-5, "rms_norm K " + std::to_string(K));
      }
}

KERNEL_TEST(LayerNorm, SubtractsTheMeanAndAddsBeta) {
  Random random(2);
  for (int64_t K : {16, 50, 768}) {
    int64_t T = 4;
    std::vector<float> input = random.floats(T * K, 2.0), gamma = random.floats(K),
                       beta = random.floats(K);
    for (float &v : input)
      v += 5.0f;
    Memory in(input), out(input.size() * 4), g(gamma), b(beta);
    Launch launch("layer_norm", T);
    launch.params = {{"K", K}, {"eps", doubleBits(1e-5)}, {"hasBeta", 1}};
    launch.buffers = {&in, &out};
    launch.weights = {&g, &b};
    launch.run(level);
    std::vector<double> want;
    for (int64_t r = 0; r < T; ++r) {
      double mean = 0, variance = 0;
      for (int64_t k = 0; k < K; ++k)
        mean += input[at(r * K + k)] / static_cast<double>(K);
      for (int64_t k = 0; k < K; ++k)
        variance += std::pow(input[at(r * K + k)] - mean, 2) / static_cast<double>(K);
      for (int64_t k = 0; k < K; ++k)
        want.push_back((input[at(r * K + k)] - mean) / std::sqrt(variance + 1e-5) * gamma[at(k)] +
                       beta[at(k)]);
    }
    expectClose(out.copy<float>(), want, 3e-5, "layer_norm");
  }
}

static double activation(int64_t kind, double x) {
  switch (kind) {
  case QK_SILU:
    return x / (1 + std::exp(-x));
  case QK_GELU_TANH:
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  case QK_GELU_ERF:
    return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  case QK_RELU:
    return std::max(x, 0.0);
  case 4:
    return 30 * std::tanh(x / 30);
  default:
    return 30 * x;
  }
}

KERNEL_TEST(Unary, ComputesEachFunctionToSingleAccuracy) {
  std::vector<float> input;
  for (double x = -110; x <= 110; x += 0.01)
    input.push_back(static_cast<float>(x < -20 || x > 20 ? x : x / 2));
  input.push_back(0.0f);
  auto K = static_cast<int64_t>(input.size());
  for (int64_t kind = 0; kind <= 5; ++kind) {
    Memory in(input), out(input.size() * 4);
    Launch launch("unary", 1);
    launch.params = {{"K", K}, {"kind", kind}, {"value", doubleBits(30)}};
    launch.buffers = {&in, &out};
    launch.run(level);
    std::vector<double> want, limit;
    for (float x : input) {
      want.push_back(activation(kind, x));
      limit.push_back(2e-6 * std::fabs(want.back()) + 2e-7);
    }
    expectClose(out.copy<float>(), want, limit, "unary kind " + std::to_string(kind));
  }
}

KERNEL_TEST(Unary, CapsLogitsInPlace) {
  std::vector<float> input = {-100, -1, 0, 1e-4f, 25, 1000, INFINITY};
  Memory logits(input);
  Launch launch("unary", 3);
  launch.args.logit_rows = 1;
  launch.args.logits = logits.as<float>();
  launch.params = {{"K", 7}, {"kind", 4}, {"value", doubleBits(30)}, {"rows", 1}, {"toLogits", 1}};
  launch.run(level, {&logits});
  std::vector<double> want;
  for (float x : input)
    want.push_back(activation(4, x));
  expectClose(logits.copy<float>(), want, 2e-5, "capped logits");
}

KERNEL_TEST(Glu, MultipliesTheGateWithUp) {
  Random random(4);
  for (int64_t I : {16, 40, 1536})
    for (int64_t kind = 0; kind < 4; ++kind) {
      int64_t T = 3;
      std::vector<float> input = random.floats(T * 2 * I, 2.0);
      Memory in(input), out(at(T * I) * 4);
      Launch launch("glu", T);
      launch.params = {{"I", I}, {"activation", kind}};
      launch.buffers = {&in, &out};
      launch.run(level);
      std::vector<double> want;
      for (int64_t r = 0; r < T; ++r)
        for (int64_t k = 0; k < I; ++k)
          want.push_back(activation(kind, input[at(r * 2 * I + k)]) * input[at(r * 2 * I + I + k)]);
      expectClose(out.copy<float>(), want, 2e-5, "glu");
    }
}

KERNEL_TEST(Binary, AddsAndMultiplies) {
  Random random(5);
  int64_t K = 37, T = 3;
  std::vector<float> a = random.floats(T * K), b = random.floats(T * K);
  for (int64_t kind : {0, 1}) {
    Memory x(a), y(b);
    Launch launch("binary", T);
    launch.params = {{"K", K}, {"kind", kind}, {"scale", doubleBits(0.5)}};
    launch.buffers = {&x, &y, &x};
    launch.run(level);
    std::vector<double> want;
    for (size_t i = 0; i < a.size(); ++i)
      want.push_back(kind == 0 ? a[i] + 0.5 * b[i] : 0.5 * a[i] * b[i]);
    expectClose(x.copy<float>(), want, 1e-6, "binary");
  }
}

KERNEL_TEST(Rotate, MultipliesBlocksByHadamardMatrices) {
  Random random(7);
  for (auto [K, block] : {std::pair<int64_t, int64_t>{96, 32}, {24, 8}, {10, 2}, {512, 512}}) {
    const int64_t T = 3;
    std::vector<float> x = random.floats(T * K);
    Memory in(x), out(x.size() * 4);
    Launch launch("rotate", T);
    launch.params = {{"K", K}, {"block", block}};
    launch.buffers = {&in, &out};
    launch.run(level);
    std::vector<double> want;
    for (int64_t i = 0; i < T * K; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < block; ++j)
        sum += (std::popcount(uint64_t(i % K % block & j)) % 2 ? -1 : 1) *
               double(x[size_t(i - i % K % block + j)]);
      want.push_back(sum / std::sqrt(double(block)));
    }
    expectClose(out.copy<float>(), want, 2e-6, "rotate");
    launch.buffers = {&out, &out}; // in place, and back
    launch.run(level);
    expectClose(out.copy<float>(), std::vector<double>(x.begin(), x.end()), 4e-6, "rotate twice");
  }
}

KERNEL_TEST(SelectRows, CopiesTheWantedRows) {
  Random random(6);
  std::vector<float> input = random.floats(6 * 20);
  std::vector<int32_t> rows = {1, 5};
  Memory in(input), out(2 * 20 * 4);
  Launch launch("select_rows", 6);
  launch.args.logit_rows = 2;
  launch.args.logit_row = rows.data();
  launch.params = {{"K", 20}};
  launch.buffers = {&in, &out};
  launch.run(level);
  std::vector<double> want(input.begin() + 20, input.begin() + 40);
  want.insert(want.end(), input.begin() + 100, input.end());
  expectClose(out.copy<float>(), want, 0.0, "select_rows");
}

KERNEL_TEST(Embed, DequantizesRowsOfEveryElement) {
  Random random(7);
  std::vector<int32_t> tokens = {0, 15, 16, 49, 33};
  for (int64_t element = QK_F32; element <= QK_TABLE4; ++element)
    for (int64_t K : {64, 99}) {
      if (element == QK_MIXED)
        K = K / 32 * 32;
      bool coded =
          element >= QK_U4 && element != QK_E4M3 && element != QK_TRELLIS && element != QK_MIXED;
      Matrix w(random, 50, K, element, coded ? 16 : K,
               !coded            ? QK_SCALE_NONE
               : element > QK_U7 ? QK_SCALE_E8M0
                                 : QK_SCALE_F16,
               element == QK_U8,
               element == QK_U4        ? 8
               : element == QK_MX8     ? 128
               : element == QK_TRELLIS ? 344
               : element == QK_MIXED   ? 450
                                       : 0);
      Memory out(tokens.size() * at(K) * 4);
      Launch launch("embed", 5);
      launch.args.token_ids = tokens.data();
      w.describe(launch);
      launch.params["multiplier"] = doubleBits(24);
      launch.buffers = {&out};
      launch.weights = {&w.packed};
      launch.run(level);
      std::vector<double> want;
      for (int32_t token : tokens)
        for (int64_t k = 0; k < K; ++k)
          want.push_back(24 * w.values[at(token * K + k)]);
      expectClose(out.copy<float>(), want, 2e-5, "embed element " + std::to_string(element));
    }
}

KERNEL_TEST(AddPositions, AddsTheRowOfThePosition) {
  Random random(8);
  std::vector<float> input = random.floats(3 * 24), table = random.floats(20 * 24);
  std::vector<int32_t> positions = {4, 0, 17};
  Memory x(input), w(table);
  Launch launch("add_positions", 3);
  launch.args.positions = positions.data();
  launch.params = {{"K", 24}, {"offset", 2}};
  launch.buffers = {&x};
  launch.weights = {&w};
  launch.run(level);
  std::vector<double> want;
  for (int64_t r = 0; r < 3; ++r)
    for (int64_t k = 0; k < 24; ++k)
      want.push_back(static_cast<double>(input[at(r * 24 + k)]) +
                     table[at((positions[at(r)] + 2) * 24 + k)]);
  expectClose(x.copy<float>(), want, 1e-6, "add_positions");
}

//===----------------------------------------------------------------------===//
// Rotary positions
//===----------------------------------------------------------------------===//

static std::vector<float> frequencies(int64_t half, double base) {
  std::vector<float> out;
  for (int64_t i = 0; i < half; ++i)
    out.push_back(
        static_cast<float>(std::pow(base, -static_cast<double>(i) / static_cast<double>(half))));
  return out;
}

KERNEL_TEST(RopeTable, IsExactAtFarPositions) {
  for (int64_t half : {8, 32, 36}) {
    std::vector<float> frequency = frequencies(half, 10000);
    std::vector<int32_t> positions = {0, 1, 511, 8191, 99999, 131071};
    Memory w(frequency), table(positions.size() * at(half) * 8);
    Launch launch("rope_table", 6);
    launch.args.positions = positions.data();
    launch.params = {{"half", half}, {"scale", doubleBits(1.25)}};
    launch.buffers = {&table};
    launch.weights = {&w};
    launch.run(level);
    std::vector<double> want;
    for (int32_t p : positions) {
      for (float f : frequency)
        want.push_back(1.25 * std::cos(static_cast<double>(f) * p));
      for (float f : frequency)
        want.push_back(1.25 * std::sin(static_cast<double>(f) * p));
    }
    expectClose(table.copy<float>(), want, 1.5e-7, "rope_table");
  }
}

KERNEL_TEST(Rope, RotatesPairsOfBothStyles) {
  Random random(9);
  for (int64_t style : {QK_ROPE_HALF, QK_ROPE_ADJACENT})
    for (int64_t rotary : {64, 20, 8}) {
      int64_t T = 3, heads = 3, headDim = 64, column = 5, ld = heads * headDim + 9,
              half = rotary / 2;
      std::vector<float> input = random.floats(T * ld), table = random.floats(T * rotary);
      Memory x(input), t(table);
      Launch launch("rope", T);
      launch.params = {{"heads", heads},   {"headDim", headDim}, {"rotary", rotary},
                       {"column", column}, {"ld", ld},           {"style", style}};
      launch.buffers = {&x, &t};
      launch.run(level);
      std::vector<double> want = widen(input);
      for (int64_t r = 0; r < T; ++r)
        for (int64_t h = 0; h < heads; ++h)
          for (int64_t i = 0; i < half; ++i) {
            int64_t base = r * ld + column + h * headDim;
            int64_t first = base + (style == QK_ROPE_HALF ? i : 2 * i);
            int64_t second = style == QK_ROPE_HALF ? first + half : first + 1;
            double c = table[at(r * rotary + i)], s = table[at(r * rotary + half + i)];
            double a = input[at(first)], b = input[at(second)];
            want[at(first)] = a * c - b * s;
            want[at(second)] = b * c + a * s;
          }
      expectClose(x.copy<float>(), want, 2e-6, "rope");
    }
}
