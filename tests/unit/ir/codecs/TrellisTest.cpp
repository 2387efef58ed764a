//===- TrellisTest.cpp - the trellis code of the tcq formats --------------===//
//
// Values of states against numbers worked out by another program, where bits lie in a
// row, and searches against the exact solution by dynamic programming.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/Trellis.h"
#include "ir/codecs/Numbers.h"
#include "tests/unit/ir/codecs/CodecTesting.h"
#include <limits>

namespace qplan {
namespace {

int64_t bytesOf(int64_t columns, int64_t centiBits) { return columns * centiBits / 800; }

/// What a row means.
std::vector<float> valuesOf(TrellisRow row, const std::vector<uint8_t> &bytes) {
  std::vector<float> x(row.columns);
  const float scale = f32FromF16(trellisState(bytes.data(), 16));
  for (int64_t c = 0; c < row.columns; ++c)
    x[c] = scale * trellisValue(trellisState(bytes.data(), row.end(c)));
  return x;
}

TEST(Trellis, ValuesOfStatesAreWhatIsStated) {
  // Worked out with whole numbers by another program.
  const std::pair<int, int> known[] = {{0, -510}, {1, 72}, {2, -112}, {12345, 23}, {40503, -111}, {65535, 159}, {32768, -12}, {55555, 152}};
  for (auto [state, number] : known)
    EXPECT_EQ(trellisValue(uint16_t(state)), float(number) / 128) << state;
  double sum = 0, squares = 0, fourth = 0;
  for (int state = 0; state < 65536; ++state) {
    const double value = trellisValue(uint16_t(state));
    ASSERT_EQ(trellisValues()[state], float(value));
    ASSERT_LE(std::abs(value), 510.0 / 128);
    sum += value;
    squares += value * value;
    fourth += value * value * value * value;
  }
  EXPECT_NEAR(sum / 65536, 0, 1e-3);
  EXPECT_NEAR(squares / 65536, 1.15474 * 1.15474, 1e-4);
  // Four uniform numbers: nearly normal, with shorter tails.
  EXPECT_NEAR(fourth / 65536 / (1.3334 * 1.3334), 2.7, 0.02);
}

TEST(Trellis, ColumnsShareTheBitsOfARow) {
  for (int64_t centi : {200, 240, 344, 431, 450, 600, 800})
    for (int64_t columns : {32, 33, 512, 576, 11008}) {
      const TrellisRow row = TrellisRow::of(columns, bytesOf(columns, centi));
      EXPECT_EQ(row.end(-1), 16);
      EXPECT_LE(row.end(columns - 1), 8 * row.bytes);
      EXPECT_GT(row.end(columns - 1), 8 * row.bytes - 8 - columns / 65536);
      int least = 8, most = 1;
      for (int64_t c = 0; c < columns; ++c) {
        least = std::min(least, row.width(c));
        most = std::max(most, row.width(c));
      }
      EXPECT_GE(least, 1);
      EXPECT_LE(most, 8);
      EXPECT_LE(most - least, 1);
    }
}

TEST(Trellis, ReadsStatesAcrossBytes) {
  const uint8_t row[] = {0x3c, 0x00, 0xab, 0xcd, 0xef};
  EXPECT_EQ(trellisState(row, 16), 0x3c00);
  EXPECT_EQ(trellisState(row, 20), 0xc00a);
  EXPECT_EQ(trellisState(row, 23), 0x0055);
  EXPECT_EQ(trellisState(row, 32), 0xabcd);
  EXPECT_EQ(trellisState(row, 40), 0xcdef);
}

/// The least squared error of a row of 2 bits a column, over all choices of bits.
double leastError(const std::vector<float> &x, uint16_t scaleBits, TrellisRow row) {
  const double scale = f32FromF16(scaleBits), none = std::numeric_limits<double>::infinity();
  std::vector<double> cost(65536, none), next(65536);
  cost[scaleBits] = 0;
  for (int64_t c = 0; c < row.columns; ++c) {
    std::fill(next.begin(), next.end(), none);
    const int width = row.width(c);
    for (uint32_t state = 0; state < 65536; ++state) {
      if (cost[state] == none)
        continue;
      for (uint32_t code = 0; code < 1u << width; ++code) {
        const uint32_t to = (state << width | code) & 0xffffu;
        const double lost = x[c] - scale * trellisValue(uint16_t(to));
        next[to] = std::min(next[to], cost[state] + lost * lost);
      }
    }
    cost.swap(next);
  }
  return *std::min_element(cost.begin(), cost.end());
}

TEST(Trellis, SearchComesNearTheBestOfAllRows) {
  const int64_t columns = 48;
  const TrellisRow row = TrellisRow::of(columns, bytesOf(columns, 240));
  double wide = 0, narrow = 0, best = 0;
  for (uint32_t seed = 0; seed < 4; ++seed) {
    std::vector<float> x = normalValues(columns, seed);
    std::vector<uint8_t> bytes(row.bytes);
    TrellisSearch(row, 4).run({x.data(), nullptr, nullptr}, bytes.data());
    narrow += squaredError(x, valuesOf(row, bytes));
    TrellisSearch(row, 512).run({x.data(), nullptr, nullptr}, bytes.data());
    wide += squaredError(x, valuesOf(row, bytes));
    best += leastError(x, trellisState(bytes.data(), 16), row);
  }
  EXPECT_GE(wide, best * 0.99999);
  EXPECT_LE(wide, best * 1.05);
  EXPECT_GT(narrow, wide);
}

TEST(Trellis, SearchMindsWeightsAndWhatIsFedForward) {
  const int64_t columns = 200;
  const TrellisRow row = TrellisRow::of(columns, bytesOf(columns, 344));
  std::vector<float> x = normalValues(columns, 5, 0.02f), weight(columns, 1.0f);
  std::vector<float> shares(columns * columns, 0.0f);
  for (int64_t c = 0; c < columns; ++c) {
    weight[c] = c % 4 == 0 ? 30.0f : 1.0f;
    for (int64_t i = 0; i < c; ++i)
      shares[c * columns + i] = 0.6f / float(c - i);
  }
  auto loss = [&](const std::vector<uint8_t> &bytes) {
    std::vector<float> y = valuesOf(row, bytes);
    std::vector<double> lost(columns);
    double sum = 0;
    for (int64_t c = 0; c < columns; ++c) {
      double target = x[c];
      for (int64_t i = 0; i < c; ++i)
        target -= shares[c * columns + i] * lost[i];
      lost[c] = target - y[c];
      sum += weight[c] * lost[c] * lost[c];
    }
    return sum;
  };
  std::vector<uint8_t> plain(row.bytes), aware(row.bytes), again(row.bytes);
  TrellisSearch search(row, 64);
  ASSERT_TRUE(search.run({x.data(), nullptr, nullptr}, plain.data()));
  ASSERT_TRUE(search.run({x.data(), weight.data(), shares.data()}, aware.data()));
  EXPECT_LT(loss(aware), 0.5 * loss(plain));
  ASSERT_TRUE(search.run({x.data(), weight.data(), shares.data()}, again.data()));
  EXPECT_EQ(aware, again);
}

TEST(Trellis, ScaleReachesLargeValuesByTheirWeight) {
  // What a massive activation multiplies is kept, whatever the others lose by it.
  const int64_t columns = 256;
  const TrellisRow row = TrellisRow::of(columns, bytesOf(columns, 450));
  std::vector<float> x = normalValues(columns, 6, 0.02f), weight(columns, 1.0f);
  x[100] = 0.6f; // 30 times the others
  TrellisSearch search(row, 64);
  auto lostAt = [&](float weightOfLarge) {
    weight[100] = weightOfLarge;
    std::vector<uint8_t> bytes(row.bytes);
    EXPECT_TRUE(search.run({x.data(), weight.data(), nullptr}, bytes.data()));
    return std::abs(valuesOf(row, bytes)[100] - x[100]);
  };
  EXPECT_GT(lostAt(1e-4f), 0.4f);
  EXPECT_LT(lostAt(1e4f), 0.002f);
}

TEST(Trellis, SearchTakesZerosAndExtremes) {
  const TrellisRow row = TrellisRow::of(64, bytesOf(64, 400));
  std::vector<uint8_t> bytes(row.bytes, 0xff);
  TrellisSearch search(row, 16);
  std::vector<float> x(64, 0.0f), none(64, 0.0f);
  ASSERT_TRUE(search.run({x.data(), nullptr, nullptr}, bytes.data()));
  EXPECT_EQ(bytes, std::vector<uint8_t>(row.bytes, 0));
  x[7] = 1e-30f;
  ASSERT_TRUE(search.run({x.data(), nullptr, nullptr}, bytes.data()));
  EXPECT_EQ(bytes, std::vector<uint8_t>(row.bytes, 0));
  x = normalValues(64, 1, 20000.0f);
  ASSERT_TRUE(search.run({x.data(), none.data(), nullptr}, bytes.data())); // weights of 0
  x[7] = 3e38f;
  EXPECT_FALSE(search.run({x.data(), nullptr, nullptr}, bytes.data()));
}

} // namespace
} // namespace qplan
