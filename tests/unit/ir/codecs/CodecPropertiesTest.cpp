//===- CodecPropertiesTest.cpp - what holds for every codec ---------------===//
//
// Errors are bounded and shrink with bits, affine rows say the same as values,
// encoding is stable, and bad numbers are refused by position.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/Numbers.h"
#include "tests/unit/ir/codecs/CodecTesting.h"
#include <limits>

namespace qplan {
namespace {

class EveryEncoder : public testing::TestWithParam<FormatInfo> {};
class EveryGrid : public testing::TestWithParam<FormatInfo> {};
class EveryScaled : public testing::TestWithParam<FormatInfo> {};
class EverySearch : public testing::TestWithParam<FormatInfo> {};

bool isWritten(const FormatInfo &info) { return info.toleranceE5 != 0; }
bool hasGrid(const FormatInfo &info) { return codecFor(info.id).hasGrid(); }
bool isScaled(const FormatInfo &info) {
  return isWritten(info) && info.family != CodecFamily::Float;
}
bool hasSearch(const FormatInfo &info) {
  return isScaled(info) && info.family != CodecFamily::Ggml && info.side != SideData::Scale &&
         info.side != SideData::Block128;
}

TEST_P(EveryEncoder, KeepsTheErrorOfNormalDataBelowItsTolerance) {
  const FormatInfo &info = GetParam();
  std::vector<float> x = normalValues(columnsFor(info, 4096), 1);
  std::vector<float> y = decoded(info, encoded(info, x), x);
  double error = std::sqrt(squaredError(x, y) / squaredError(x, std::vector<float>(x.size())));
  EXPECT_LE(error, info.toleranceE5 * 1e-5);
}

TEST_P(EveryGrid, SplitsIntoCodesThatMeanTheSameValues) {
  const FormatInfo &info = GetParam();
  const Codec &codec = codecFor(info.id);
  for (int64_t wanted : {32, 100, 576, 1024}) {
    const int64_t columns = columnsFor(info, wanted);
    std::vector<uint8_t> row(codec.bytesPerRow(columns));
    std::mt19937 generator(wanted);
    for (uint8_t &byte : row)
      byte = generator() & 0x67; // no infinities, wherever a scale or a minifloat lies
    const float numbers[] = {0.3f, 0.2f, 0.1f};
    const TensorSide tensor{numbers, 0};
    std::vector<float> values(columns);
    codec.decodeRow(row.data(), columns, values.data(), tensor);
    GridRow grid;
    codec.gridRow(row.data(), columns, grid, tensor);
    ASSERT_EQ(grid.codes.size(), size_t(columns));
    ASSERT_EQ(grid.values.size(), size_t(1) << info.elementBits);
    ASSERT_EQ(grid.scale.size(), size_t((columns + grid.group - 1) / grid.group));
    ASSERT_EQ(grid.min.size(), grid.hasMin ? grid.scale.size() : 0u);
    EXPECT_EQ(grid.hasMin, info.panelMin);
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t g = c / grid.group;
      ASSERT_LT(grid.codes[c], grid.values.size());
      float value = grid.scale[g] * grid.values[grid.codes[c]];
      if (grid.hasMin)
        value += grid.min[g];
      ASSERT_EQ(value, values[c]) << "column " << c;
    }
  }
}

TEST_P(EveryEncoder, KeepsZerosAndEqualValues) {
  const FormatInfo &info = GetParam();
  const int64_t columns = columnsFor(info, 64);
  std::vector<float> zeros(columns, 0.0f);
  EXPECT_EQ(squaredError(decoded(info, encoded(info, zeros), zeros), zeros), 0);
  float halfStep = 1.2f / static_cast<float>((1 << info.elementBits) - 1);
  if (info.blockColumns == 256)
    halfStep += 0.01f; // the f16 that scales a super-block's integers is subnormal for 1e-3
  if (info.scale == ScaleType::E8M0) // the top of a block saturates, by a quarter in E2M1
    halfStep = info.isInteger() ? 0.008f : 0.251f;
  if (info.centiBits)
    halfStep = 5e-5f * static_cast<float>(info.toleranceE5); // no grid: several times the rms
  const bool isCoarse =
      info.elementBits < 8 || info.scale == ScaleType::E8M0 || info.centiBits != 0;
  for (float value : {1.0f, -1.0f, 0.3f, -1e-3f, 100.0f}) {
    std::vector<float> equal(columns, value);
    std::vector<float> found = decoded(info, encoded(info, equal), equal);
    for (int64_t c = 0; c < columns; ++c)
      // Small grids split evenly end half a step short of the largest value.
      if (info.family == CodecFamily::Sparse && c % 4 >= 2)
        ASSERT_EQ(found[c], 0.0f); // of equals the first are kept
      else
        ASSERT_NEAR(found[c], value, std::abs(value) * (isCoarse ? halfStep : 0.005f));
  }
}

TEST_P(EveryEncoder, TakesSubnormalAndHugeValuesOrSaysWhy) {
  const FormatInfo &info = GetParam();
  const int64_t columns = columnsFor(info, 64);
  for (float value : {1e-45f, 1e-40f, -1e-38f, 1e-20f, 1e20f, -3.4e38f}) {
    std::vector<float> x(columns, 0.0f), y(columns);
    x[3] = value;
    std::vector<uint8_t> row(codecFor(info.id).bytesPerRow(columns));
    const std::vector<float> side = sideOf(info, x);
    EncodeOptions options;
    options.subject = "blk.7.weight";
    options.tensor = {side, 0};
    if (llvm::Error error = codecFor(info.id).encodeRow(x.data(), columns, options, row.data())) {
      std::string message = messageOf(std::move(error));
      EXPECT_NE(message.find("blk.7.weight"), std::string::npos) << message;
      EXPECT_NE(message.find("too large"), std::string::npos) << message;
      EXPECT_GT(std::abs(value), 1.0f);
      continue;
    }
    codecFor(info.id).decodeRow(row.data(), columns, y.data(), options.tensor);
    for (int64_t c = 0; c < columns; ++c)
      EXPECT_FALSE(std::isnan(y[c])) << value;
    if (std::abs(value) < 1)
      EXPECT_LE(std::abs(y[3]), 1e-6f);
  }
}

TEST_P(EveryScaled, NamesThePlaceOfNanAndInfinity) {
  const FormatInfo &info = GetParam();
  const int64_t columns = columnsFor(info, 6000);
  std::vector<uint8_t> row(codecFor(info.id).bytesPerRow(columns));
  for (float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    std::vector<float> x = normalValues(columns, 3);
    x[5001] = bad;
    EncodeOptions options;
    options.subject = "w";
    options.row = 12;
    std::string message =
        messageOf(codecFor(info.id).encodeRow(x.data(), columns, options, row.data()));
    EXPECT_NE(message.find("w, row 12: column 5001"), std::string::npos) << message;
  }
}

TEST_P(EverySearch, SearchNeverLosesToTheMaximum) {
  const FormatInfo &info = GetParam();
  EncodeOptions search;
  search.rule = ScaleRule::Mse;
  double total = 0;
  for (uint32_t seed = 0; seed < 8; ++seed) {
    std::vector<float> x = normalValues(columnsFor(info, 200), seed, 0.02f);
    for (size_t i = 0; i < x.size(); i += 37)
      x[i] *= 4; // heavier tails: that is where clipping pays
    double max = squaredError(decoded(info, encoded(info, x), x), x);
    double mse = squaredError(decoded(info, encoded(info, x, search), x), x);
    EXPECT_LE(mse, max * 1.00001);
    total += max - mse;
  }
  if (info.elementBits <= 4)
    EXPECT_GT(total, 0);
}

TEST_P(EveryEncoder, WritesTheSameCodesForWhatItRead) {
  const FormatInfo &info = GetParam();
  // Decoded values need not give the same scale (7.5 steps are cut to 7), nor a short search of
  // a trellis the same path, but the error of writing them again stays within that of the first
  // time.
  double first = 0, second = 0;
  for (uint32_t seed = 0; seed < 8; ++seed) {
    std::vector<float> x = normalValues(columnsFor(info, 512), seed);
    std::vector<float> once = decoded(info, encoded(info, x), x);
    std::vector<float> twice = decoded(info, encoded(info, once), once);
    first += squaredError(x, once);
    second += squaredError(once, twice);
  }
  EXPECT_LE(second, first * 1.1 + 1e-12);
}

INSTANTIATE_TEST_SUITE_P(Codec, EveryEncoder, testing::ValuesIn(formatsThat(isWritten)),
                         formatTestName);
INSTANTIATE_TEST_SUITE_P(Codec, EveryGrid, testing::ValuesIn(formatsThat(hasGrid)), formatTestName);
INSTANTIATE_TEST_SUITE_P(Codec, EveryScaled, testing::ValuesIn(formatsThat(isScaled)),
                         formatTestName);
INSTANTIATE_TEST_SUITE_P(Codec, EverySearch, testing::ValuesIn(formatsThat(hasSearch)),
                         formatTestName);

TEST(Codecs, ErrorsShrinkWithBitsAndWithGroups) {
  std::vector<float> x = normalValues(4096, 2);
  auto errorOf = [&](FormatId id) {
    return squaredError(decoded(formatInfo(id), encoded(formatInfo(id), x), x), x);
  };
  EXPECT_LT(errorOf(FormatId::Int8), errorOf(FormatId::Int4));
  EXPECT_LT(errorOf(FormatId::Int4G32), errorOf(FormatId::Int4G64));
  EXPECT_LT(errorOf(FormatId::Int4G64), errorOf(FormatId::Int4G128));
  EXPECT_LT(errorOf(FormatId::Int4G128), errorOf(FormatId::Int4));
  EXPECT_LT(errorOf(FormatId::Int8G32), errorOf(FormatId::Int8G128));
  EXPECT_LT(errorOf(FormatId::Int4G64Asym), errorOf(FormatId::Int4G64));
  EXPECT_LT(errorOf(FormatId::Int3G64), errorOf(FormatId::Int2G64));
  EXPECT_LT(errorOf(FormatId::Int4G64), errorOf(FormatId::Int3G64));
  EXPECT_LT(errorOf(FormatId::Int5G64), errorOf(FormatId::Int4G64));
  EXPECT_LT(errorOf(FormatId::Int7G16), errorOf(FormatId::Int6G16));
  EXPECT_LT(errorOf(FormatId::Int3G16Asym), errorOf(FormatId::Int3G16));
  EXPECT_LT(errorOf(FormatId::Q5_0), errorOf(FormatId::Q4_0));
  EXPECT_LT(errorOf(FormatId::Q8_0), errorOf(FormatId::Q5_1));
  EXPECT_LT(errorOf(FormatId::F16), errorOf(FormatId::BF16));
  EXPECT_LT(errorOf(FormatId::BF16), errorOf(FormatId::Int8));
}

TEST(AffineCodec, KeepsEveryValueWithinHalfAStep) {
  for (FormatId id :
       {FormatId::Int4G32, FormatId::Int8G64, FormatId::Int4G64Asym, FormatId::Int8,
        FormatId::Int2G16, FormatId::Int3G32Asym, FormatId::Int6G128, FormatId::Int7}) {
    const FormatInfo &info = formatInfo(id);
    for (float size : {1.0f, 1e-4f, 3e-6f, 2000.0f}) {
      std::vector<float> x = normalValues(640, 4, size);
      std::vector<uint8_t> row = encoded(info, x);
      std::vector<float> y = decoded(info, row, x);
      GridRow grid;
      codecFor(id).gridRow(row.data(), x.size(), grid);
      // An f16 scale may be rounded down by 2^-12, which the largest code feels in full.
      const float steps = 0.501f + std::ldexp(1.0f, info.elementBits - 12);
      for (size_t c = 0; c < x.size(); ++c)
        ASSERT_LE(std::abs(x[c] - y[c]), grid.scale[c / grid.group] * steps)
            << info.name << " column " << c;
    }
  }
}

TEST(AffineCodec, HoldsForeignCodesScalesAndZeroPointsExactly) {
  // GPTQ and AWQ: scale * (code - zero), f16 scale, 4-bit zero point. 2.5 groups of 64.
  const int64_t columns = 160, groups = 3;
  std::mt19937 generator(11);
  std::vector<uint8_t> row(codecFor(FormatId::Int4G64Asym).bytesPerRow(columns));
  ASSERT_EQ(row.size(), size_t(columns / 2 + groups * 2 + 2));
  std::vector<int> codes(columns), zeros{15, 0, 7};
  std::vector<float> scales;
  for (int64_t c = 0; c < columns; ++c) {
    codes[c] = generator() % 16;
    row[c / 2] |= codes[c] << (c % 2 * 4);
  }
  for (int64_t g = 0; g < groups; ++g) {
    uint16_t half = static_cast<uint16_t>(0x1c00 + generator() % 0x800);
    storeUnaligned(row.data() + columns / 2 + 2 * g, half);
    scales.push_back(f32FromF16(half));
    row[columns / 2 + groups * 2 + g / 2] |= zeros[g] << (g % 2 * 4);
  }
  std::vector<float> values(columns);
  codecFor(FormatId::Int4G64Asym).decodeRow(row.data(), columns, values.data());
  for (int64_t c = 0; c < columns; ++c)
    EXPECT_EQ(values[c], scales[c / 64] * float(codes[c] - zeros[c / 64]));
}

TEST(AffineCodec, ImportanceMovesTheErrorAway) {
  std::vector<float> x = normalValues(64, 21), importance(64, 0.01f);
  x[10] = 6;
  EncodeOptions options;
  options.rule = ScaleRule::Mse;
  const FormatInfo &info = formatInfo(FormatId::Int4G64);
  for (int i = 0; i < 32; ++i)
    importance[i + 32] = 100;
  double plain = 0, weighted = 0;
  std::vector<float> a = decoded(info, encoded(info, x, options), x);
  options.importance = importance.data();
  std::vector<float> b = decoded(info, encoded(info, x, options), x);
  for (int i = 32; i < 64; ++i) {
    plain += std::pow(a[i] - x[i], 2);
    weighted += std::pow(b[i] - x[i], 2);
  }
  EXPECT_LT(weighted, plain);
}

TEST(AffineCodec, SearchGivesTheFurtherStepToEitherEnd) {
  EncodeOptions options;
  options.rule = ScaleRule::Mse;
  // Codes of 2 bits are -2 .. 1: these values fit exactly, whichever sign reaches further.
  for (float sign : {1.0f, -1.0f}) {
    const FormatInfo &info = formatInfo(FormatId::Int2G64);
    std::vector<float> x(64);
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = sign * float(int(i % 4) - 1);
    EXPECT_EQ(decoded(info, encoded(info, x, options), x), x) << sign;
  }
  for (FormatId id : {FormatId::Int3G64, FormatId::Int4G128, FormatId::Int4, FormatId::Int8}) {
    const FormatInfo &info = formatInfo(id);
    std::vector<float> x = normalValues(256, 5), turned;
    for (float value : x)
      turned.push_back(-value);
    EXPECT_EQ(squaredError(decoded(info, encoded(info, x, options), x), x),
              squaredError(decoded(info, encoded(info, turned, options), turned), turned))
        << info.name;
  }
}

TEST(AffineCodec, StaticActivationsSaturateSymmetrically) {
  std::vector<float> x{-1000, 1000, 0.5f, -0.5f}, y(4);
  EncodeOptions options;
  const float side[] = {1.0f};
  options.tensor = {side, 0};
  std::vector<uint8_t> row(4);
  const Codec &codec = codecFor(FormatId::Int8Tensor);
  ASSERT_EQ(messageOf(codec.encodeRow(x.data(), 4, options, row.data())), "");
  codec.decodeRow(row.data(), 4, y.data(), options.tensor);
  EXPECT_EQ(y, (std::vector<float>{-127, 127, 0, 0}));
}

TEST(GgmlBlocks, RefuseASearchWithoutImportance) {
  std::vector<float> x = normalValues(32, 1);
  std::vector<uint8_t> row(18);
  EncodeOptions options;
  options.rule = ScaleRule::Mse;
  std::string message =
      messageOf(codecFor(FormatId::Q4_0).encodeRow(x.data(), 32, options, row.data()));
  EXPECT_NE(message.find("q4_0"), std::string::npos) << message;
}

TEST(GgmlSuperblocks, SearchWithImportanceOnly) {
  std::vector<float> x = normalValues(512, 1), importance(512, 1.0f);
  std::vector<uint8_t> row(420);
  EncodeOptions options;
  options.rule = ScaleRule::Mse;
  const Codec &codec = codecFor(FormatId::Q6_K);
  std::string message = messageOf(codec.encodeRow(x.data(), 512, options, row.data()));
  EXPECT_NE(message.find("q6_K"), std::string::npos) << message;
  // What lies in the second block only matters there.
  std::vector<uint8_t> other(420);
  std::fill(importance.begin() + 300, importance.begin() + 304, 1000.0f);
  ASSERT_EQ(messageOf(codec.encodeRow(x.data(), 512, importance.data(), row.data())), "");
  std::fill(importance.begin() + 300, importance.begin() + 304, 0.0f);
  ASSERT_EQ(messageOf(codec.encodeRow(x.data(), 512, importance.data(), other.data())), "");
  EXPECT_TRUE(std::equal(row.begin(), row.begin() + 210, other.begin()));
  EXPECT_NE(row, other);
}

TEST(SideObserver, FindsTheScaleOfAllRows) {
  SideObserver observer(FormatId::Fp8E4M3Tensor, 3, 2);
  EXPECT_EQ(observer.values(), std::vector<float>{1.0f});
  std::vector<float> first{1, -896}, second{0.5f, std::numeric_limits<float>::infinity()};
  ASSERT_EQ(messageOf(observer.observe(2, first.data())), "");
  EXPECT_EQ(observer.values(), std::vector<float>{2.0f});
  EXPECT_NE(messageOf(observer.observe(1, second.data(), "w")).find("w: column 1"),
            std::string::npos);
}

} // namespace
} // namespace qplan
