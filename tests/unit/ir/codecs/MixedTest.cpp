//===- MixedTest.cpp - widths of groups of columns ------------------------===//
//
// The search against all possible widths, what is read from damaged numbers, and
// that bits go where errors cost most.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/MixedCodec.h"
#include "ir/codecs/MixedWidths.h"
#include "tests/unit/ir/codecs/CodecTesting.h"
#include <limits>
#include <numeric>

namespace qplan {
namespace {

int64_t sumOf(const std::vector<uint8_t> &widths) {
  return std::accumulate(widths.begin(), widths.end(), int64_t(0));
}

double errorOf(const std::vector<double> &errors, const std::vector<uint8_t> &widths) {
  double sum = 0;
  for (size_t g = 0; g < widths.size(); ++g)
    sum += errors[g * 6 + (std::find(mixedWidths.begin(), mixedWidths.end(), widths[g]) -
                           mixedWidths.begin())];
  return sum;
}

/// The least error of groups from `g` on with `left` bits.
double leastError(const std::vector<double> &errors, size_t g, int64_t left) {
  if (g * 6 == errors.size())
    return left == 0 ? 0 : std::numeric_limits<double>::infinity();
  double best = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < 6; ++i)
    if (mixedWidths[i] <= left)
      best = std::min(best, errors[g * 6 + i] + leastError(errors, g + 1, left - mixedWidths[i]));
  return best;
}

TEST(MixedWidths, AreTheBestOfAll) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> part(0.1, 1);
  for (int round = 0; round < 20; ++round) {
    std::vector<double> errors;
    for (int g = 0; g < 5; ++g) {
      double error = std::exp(6 * part(random)); // need not be convex
      for (int i = 0; i < 6; ++i)
        errors.push_back(error *= part(random));
    }
    for (int64_t sum : {10, 16, 17, 23, 30, 38, 40}) {
      std::vector<uint8_t> widths = chooseMixedWidths(errors, sum);
      ASSERT_EQ(sumOf(widths), sum);
      EXPECT_DOUBLE_EQ(errorOf(errors, widths), leastError(errors, 0, sum)) << sum;
    }
  }
}

TEST(MixedWidths, AddUpBeyondOneSearch) {
  std::mt19937 random(2);
  std::vector<double> errors;
  for (int g = 0; g < 1500; ++g)
    for (int i = 0; i < 6; ++i)
      errors.push_back(std::ldexp(1 + random() % 7, -2 * i));
  EXPECT_EQ(sumOf(chooseMixedWidths(errors, 6377)), 6377);
}

TEST(MixedWidths, AreReadAsTheyWereStoredOrNotAtAll) {
  std::vector<uint8_t> widths = {2, 8, 4, 4, 3, 5, 6, 2, 8, 3};
  std::vector<float> side = storeMixedWidths(0.25f, widths);
  ASSERT_EQ(int64_t(side.size()), mixedSideCount(320));
  EXPECT_EQ(side[0], 0.25f);
  std::vector<uint8_t> read(widths.size());
  readMixedWidths({side, 0}, 10, 45, read.data());
  EXPECT_EQ(read, widths);
  const std::vector<uint8_t> equal = {5, 5, 5, 5, 5, 4, 4, 4, 4, 4};
  for (float bad : {-1.0f, 0.5f, 3e38f, 6.0f, std::numeric_limits<float>::quiet_NaN(),
                    std::numeric_limits<float>::infinity()}) {
    std::vector<float> damaged = side;
    damaged[1] = bad; // not a number of widths, or of another sum
    readMixedWidths({damaged, 0}, 10, 45, read.data());
    EXPECT_EQ(read, equal) << bad;
  }
  readMixedWidths({}, 10, 45, read.data());
  EXPECT_EQ(read, equal);
}

TEST(MixedFormats, HoldExactlyWhatTheyName) {
  for (const FormatInfo &info : allFormats()) {
    if (info.family != CodecFamily::Mixed)
      continue;
    for (int64_t columns : {32, 64, 512, 576, 4096, 28672}) {
      const int64_t groups = columns / mixedColumns, sum = mixedWidthSum(columns, info.centiBits);
      const int64_t bytes = int64_t(llvm::cantFail(rowBytes(info.id, columns)));
      EXPECT_LE(bytes * 800, columns * info.centiBits);
      EXPECT_LE(4 * sum + groups, bytes);
      EXPECT_GT(4 * sum + groups, bytes - 4);
      EXPECT_GE(sum, 2 * groups) << info.name; // equal widths are those of the table
      EXPECT_LE(sum, 6 * groups) << info.name;
    }
    EXPECT_NE(messageOf(rowBytes(info.id, 100).takeError()).find("blocks of 32 columns"),
              std::string::npos);
  }
}

TEST(MixedFormats, GiveBitsToColumnsThatMatter) {
  const int64_t rows = 70, columns = 256;
  std::vector<float> x = normalValues(rows * columns, 5), importance(columns, 1.0f);
  for (int64_t c = 64; c < 96; ++c)
    importance[c] = 1000;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 224; c < 256; ++c)
      x[r * columns + c] *= 0.01f;
  const FormatInfo &info = formatInfo(FormatId::Mix4_5);
  SideObserver plain(info.id, rows, columns), weighed(info.id, rows, columns, importance);
  for (int64_t r = 0; r < rows; ++r) {
    EXPECT_EQ(messageOf(plain.observe(r, &x[r * columns])), "");
    EXPECT_EQ(messageOf(weighed.observe(r, &x[r * columns])), "");
  }
  auto widthsOf = [&](const SideObserver &observer) {
    const std::vector<float> side = observer.values();
    std::vector<uint8_t> widths(8);
    readMixedWidths({side, 0}, 8, mixedWidthSum(columns, info.centiBits), widths.data());
    return widths;
  };
  const std::vector<uint8_t> unweighed = widthsOf(plain);
  EXPECT_EQ(unweighed[7], 2);
  for (int g = 0; g < 7; ++g)
    EXPECT_EQ(unweighed[g] / 2 * 2, 4); // 4 or 5
  EXPECT_EQ(widthsOf(weighed)[2], 8);
  EXPECT_EQ(widthsOf(weighed)[7], 2);
}

TEST(MixedFormats, ScaleIsAPowerOfTwoThatReachesTheLargest) {
  for (float largest : {1e-20f, 0.001f, 0.7f, 298.0f, 299.0f, 1e30f}) {
    int exponent;
    const float scale = mixedTensorScale(largest);
    EXPECT_EQ(std::frexp(scale, &exponent), 0.5f);
    EXPECT_GE(448 * scale, mixedHeadroom * largest);
    EXPECT_LE(112 * scale, mixedHeadroom * largest);
  }
}

} // namespace
} // namespace qplan
