//===- RoutingTest.cpp - experts' routing, and statistics -----------------===//
//
// The small serial kernels: which experts a token goes to, the sum of what they
// answer, and what calibration counts.
//
//===----------------------------------------------------------------------===//
#include "KernelTest.h"

#include <algorithm>
#include <cmath>
#include <numeric>

static size_t at(int64_t i) { return static_cast<size_t>(i); }

KERNEL_TEST(MoeRoute, ChoosesTheLargestAndSortsSlotsByExpert) {
  Random random(1);
  for (int64_t experts : {4, 60})
    for (int64_t mode : {0, 1, 2}) {
      int64_t T = 9, topk = 3;
      std::vector<float> logits = random.floats(T * experts, 2.0);
      logits[1] = logits[2] = logits[3] = 50; // a tie: the lower come first
      logits[0] = 50;
      Memory in(logits), shares(at(T * topk) * 4), offsets(at(experts + 1) * 4),
          list(at(T * topk) * 4);
      Launch launch("moe_route", T);
      launch.params = {{"experts", experts}, {"topk", topk}, {"mode", mode}};
      launch.buffers = {&in, &shares, &offsets, &list};
      launch.run(level);
      std::vector<double> want;
      std::vector<std::vector<int32_t>> slots(at(experts));
      for (int64_t t = 0; t < T; ++t) {
        const float *x = logits.data() + t * experts;
        std::vector<int64_t> order(at(experts));
        std::iota(order.begin(), order.end(), 0);
        std::sort(order.begin(), order.end(),
                  [&](int64_t a, int64_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; });
        double all = 0, chosen = 0;
        for (int64_t e = 0; e < experts; ++e)
          all += std::exp(static_cast<double>(x[e]));
        for (int64_t k = 0; k < topk; ++k)
          chosen += std::exp(static_cast<double>(x[order[at(k)]]));
        for (int64_t k = 0; k < topk; ++k) {
          want.push_back(std::exp(static_cast<double>(x[order[at(k)]])) /
                         (mode == 1 ? all : chosen));
          slots[at(order[at(k)])].push_back(static_cast<int32_t>(t * topk + k));
        }
      }
      expectClose(shares.copy<float>(), want, 1e-6, "shares");
      std::vector<int32_t> wantOffsets = {0}, wantList;
      for (auto &expert : slots) {
        wantList.insert(wantList.end(), expert.begin(), expert.end());
        wantOffsets.push_back(static_cast<int32_t>(wantList.size()));
      }
      EXPECT_EQ(offsets.copy<int32_t>(), wantOffsets);
      EXPECT_EQ(list.copy<int32_t>(), wantList);
    }
}

KERNEL_TEST(MoeCombine, AddsTheWeightedAnswers) {
  Random random(2);
  int64_t T = 4, K = 50, topk = 2;
  std::vector<float> y = random.floats(T * topk * K), w = random.floats(T * topk),
                     r = random.floats(T * K);
  Memory answers(y), shares(w), out(r);
  Launch launch("moe_combine", T);
  launch.params = {{"K", K}, {"topk", topk}, {"hasResidual", 1}};
  launch.buffers = {&answers, &shares, &out, &out};
  launch.run(level);
  std::vector<double> want(r.begin(), r.end());
  for (int64_t s = 0; s < T * topk; ++s)
    for (int64_t k = 0; k < K; ++k)
      want[at(s / topk * K + k)] += static_cast<double>(w[at(s)]) * y[at(s * K + k)];
  expectClose(out.copy<float>(), want, 1e-6, "moe_combine");
}

KERNEL_TEST(Observe, AddsColumnStatisticsOfEveryCall) {
  Random random(3);
  int64_t T = 5, K = 21, before = 64, sumsAt = before + (K * 4 + 7) / 8 * 8;
  std::vector<float> input = random.floats(T * K);
  Memory in(input), memory(at(sumsAt + K * 16 + 8));
  Launch launch("observe", T);
  launch.args.statistics = memory.data();
  launch.params = {{"K", K}, {"ld", K}, {"offset", before}};
  launch.buffers = {&in};
  launch.run(level, {&memory});
  launch.run(level, {&memory}); // a second batch adds to the first
  int64_t count = 0;
  std::memcpy(&count, memory.data() + sumsAt + K * 16, 8);
  EXPECT_EQ(count, 2 * T);
  for (int64_t k = 0; k < K; ++k) {
    float largest = 0;
    double sum = 0, squares = 0;
    for (int64_t r = 0; r < 2 * T; ++r) {
      double v = input[at(r % T * K + k)];
      largest = std::max(largest, static_cast<float>(std::fabs(v)));
      sum += std::fabs(v);
      squares += v * v;
    }
    double got[2];
    std::memcpy(&got[0], memory.data() + sumsAt + k * 8, 8);
    std::memcpy(&got[1], memory.data() + sumsAt + (K + k) * 8, 8);
    EXPECT_EQ(reinterpret_cast<float *>(memory.data() + before)[k], largest);
    EXPECT_DOUBLE_EQ(got[0], sum);
    EXPECT_DOUBLE_EQ(got[1], squares);
  }
}

KERNEL_TEST(Observe, AddsTheLowerTriangleOfTheGramMatrix) {
  Random random(4);
  int64_t T = 700, K = 35, ld = 40, column = 3; // beyond the rows added in f32
  std::vector<float> input = random.floats(T * ld);
  Memory in(input), memory(at(K * (K + 1) / 2 * 8 + 8));
  Launch launch("observe", T);
  launch.args.statistics = memory.data();
  launch.params = {{"K", K}, {"ld", ld}, {"column", column}, {"kind", 1}};
  launch.buffers = {&in};
  launch.run(level, {&memory});
  for (int64_t i = 0; i < K; ++i)
    for (int64_t j = 0; j <= i; ++j) {
      double want = 0, magnitude = 0;
      for (int64_t r = 0; r < T; ++r) {
        double term = static_cast<double>(input[at(r * ld + column + i)]) * input[at(r * ld + column + j)];
        want += term;
        magnitude += std::abs(term);
      }
      EXPECT_NEAR(memory.as<double>()[i * (i + 1) / 2 + j], want, magnitude * 1e-6);
    }
  EXPECT_EQ(memory.as<int64_t>()[K * (K + 1) / 2], T);
}

KERNEL_TEST(Observe, KeepsTheRowsOfTheLastPass) {
  Random random(5);
  int64_t T = 9, K = 21, ld = 24, column = 2, before = 64;
  std::vector<float> input = random.floats(T * ld);
  Memory in(input), memory(at(before + 64 + T * K * 4));
  Launch launch("observe", T);
  launch.args.statistics = memory.data();
  launch.params = {{"K", K}, {"ld", ld}, {"column", column}, {"offset", before}, {"kind", 3}};
  launch.buffers = {&in};
  launch.run(level, {&memory});
  launch.run(level, {&memory});
  EXPECT_EQ(memory.as<int64_t>()[before / 8], T);
  const float *rows = memory.as<float>() + (before + 64) / 4;
  for (int64_t r = 0; r < T; ++r)
    for (int64_t k = 0; k < K; ++k)
      EXPECT_EQ(rows[r * K + k], input[at(r * ld + column + k)]);
}

KERNEL_TEST(Observe, DoesNothingWithoutStatistics) {
  Memory in(std::vector<float>(16, 1.0f));
  Launch launch("observe", 1);
  launch.params = {{"K", 16}, {"ld", 16}};
  launch.buffers = {&in};
  launch.run(level);
}
