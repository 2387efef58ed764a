//===- ElementsTest.cpp - numbers of codes, and rounding to them ----------===//
//
// Every code of a minifloat or table comes back from its own number, midpoints go
// where the header says, and what lies beside the rows is what its rule says.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/Elements.h"
#include "ir/codecs/Numbers.h"
#include "tests/unit/ir/codecs/CodecTesting.h"
#include <algorithm>

namespace qplan {
namespace {

class EveryElement : public testing::TestWithParam<FormatInfo> {};

bool hasElement(const FormatInfo &info) {
  return info.elementBits <= 8 && !info.isInteger() && info.isWeight;
}

uint8_t codeFor(ElementKind kind, float v) {
  uint8_t code = 0;
  roundToElement(kind, &v, 1, &code);
  return code;
}

/// Codes of finite numbers by ascending number; of two zeros the first.
std::vector<uint8_t> sortedCodes(FormatId id) {
  llvm::ArrayRef<float> values = elementValues(id);
  std::vector<uint8_t> codes;
  bool hasZero = false;
  for (size_t code = 0; code < values.size(); ++code) {
    if (!std::isfinite(values[code]) || (hasZero && values[code] == 0))
      continue;
    hasZero |= values[code] == 0;
    codes.push_back(uint8_t(code));
  }
  std::sort(codes.begin(), codes.end(),
            [&](uint8_t a, uint8_t b) { return values[a] < values[b]; });
  return codes;
}

TEST_P(EveryElement, RoundsItsNumbersToThemselves) {
  const FormatInfo &info = GetParam();
  llvm::ArrayRef<float> values = elementValues(info.id);
  for (size_t code = 0; code < values.size(); ++code)
    if (std::isfinite(values[code]))
      EXPECT_EQ(values[codeFor(info.kind, values[code])], values[code]) << code;
}

TEST_P(EveryElement, RoundsToTheNearest) {
  const FormatInfo &info = GetParam();
  llvm::ArrayRef<float> values = elementValues(info.id);
  std::vector<uint8_t> codes = sortedCodes(info.id);
  for (size_t i = 0; i + 1 < codes.size(); ++i) {
    const float low = values[codes[i]], high = values[codes[i + 1]];
    const float middle = (low + high) / 2;
    EXPECT_EQ(values[codeFor(info.kind, std::nextafter(middle, -1e9f))], low) << middle;
    EXPECT_EQ(values[codeFor(info.kind, std::nextafter(middle, 1e9f))], high) << middle;
    const float tie = values[codeFor(info.kind, middle)];
    if (minifloatOf(info.kind))
      EXPECT_EQ(codeFor(info.kind, middle) & 1, 0) << middle;
    else
      EXPECT_EQ(tie, info.kind == ElementKind::IQ4 ? high : low) << middle;
  }
  EXPECT_EQ(values[codeFor(info.kind, 1e30f)], values[codes.back()]);
  EXPECT_EQ(values[codeFor(info.kind, -1e30f)], values[codes.front()]);
}

INSTANTIATE_TEST_SUITE_P(Elements, EveryElement, testing::ValuesIn(formatsThat(hasElement)),
                         formatTestName);

TEST(Elements, AgreeWithTheConversionsOfE4m3) {
  for (int code = 0; code < 256; ++code)
    if (code % 128 != 127)
      EXPECT_EQ(elementValues(FormatId::Fp8E4M3)[code], f32FromE4m3(uint8_t(code)));
  EXPECT_EQ(largestElement(FormatId::Fp8E5M2), 57344);
  EXPECT_EQ(largestElement(FormatId::Fp8E3M4), 15.5f);
  EXPECT_EQ(largestElement(FormatId::MxFp6), 28);
  EXPECT_EQ(largestElement(FormatId::MxInt8), 127);
  EXPECT_EQ(scaleDivisor(FormatId::NvFp4), 2688);
}

TEST(SideObserver, FindsTheScaleOfEverySquare) {
  SideObserver observer(FormatId::Fp8E4M3B128, 130, 200);
  std::vector<float> row(200, 0.0f);
  row[127] = -448;
  row[199] = 896;
  ASSERT_EQ(messageOf(observer.observe(127, row.data())), "");
  row[199] = 1344;
  ASSERT_EQ(messageOf(observer.observe(128, row.data())), "");
  EXPECT_EQ(observer.values(), (std::vector<float>{1, 2, 1, 3}));
  EXPECT_EQ(sideCount(FormatId::Fp8E4M3B128, 130, 200), 4);
  // Each row reads the scale of its square.
  std::vector<uint8_t> codes(200, 0x38); // 1.0
  std::vector<float> values(200);
  const std::vector<float> side = observer.values();
  codecFor(FormatId::Fp8E4M3B128).decodeRow(codes.data(), 200, values.data(), {side, 129});
  EXPECT_EQ(values[127], 1);
  EXPECT_EQ(values[128], 3);
}

TEST(SideObserver, TakesTheMeanAndTheSpreadOfBlocks) {
  SideObserver observer(FormatId::NF4Dq, 2, 128);
  std::vector<float> row(128, 0.0f);
  row[0] = 1, row[64] = -2;
  ASSERT_EQ(messageOf(observer.observe(0, row.data())), "");
  row[0] = 5, row[64] = 8;
  ASSERT_EQ(messageOf(observer.observe(1, row.data())), "");
  EXPECT_EQ(observer.values(), (std::vector<float>{4, 4}));
}

TEST(SideObserver, ChoosesTheSplitThatErrsLeast) {
  auto choice = [](const std::vector<float> &x) {
    SideObserver observer(FormatId::LlmFp4, 1, int64_t(x.size()));
    EXPECT_EQ(messageOf(observer.observe(0, x.data())), "");
    return observer.values();
  };
  std::vector<float> even, powers;
  for (int i = 0; i < 64; ++i) {
    even.push_back(float(i % 15 - 7));
    powers.push_back(std::ldexp(i % 2 ? 1.0f : -1.0f, i / 2 % 7));
  }
  EXPECT_EQ(choice(even), std::vector<float>{0});
  EXPECT_EQ(choice(powers), std::vector<float>{2});
  EXPECT_EQ(choice({0, 0.5f, 1, 1.5f, 2, 3, 4, 6}), std::vector<float>{1});
}

TEST(GridCodec, SearchesTheScaleThatPutsTheTopAtFour) {
  // 4 * s holds all three numbers, 6 * s none of the small ones: "four over six".
  std::vector<float> x(16, 3.0f);
  x[0] = 4;
  x[1] = 2;
  const FormatInfo &info = formatInfo(FormatId::NvFp4);
  EncodeOptions search;
  search.rule = ScaleRule::Mse;
  const float one[] = {1.0f};
  search.tensor = {one, 0};
  std::vector<uint8_t> row(9);
  ASSERT_EQ(messageOf(codecFor(info.id).encodeRow(x.data(), 16, search, row.data())), "");
  std::vector<float> y(16);
  codecFor(info.id).decodeRow(row.data(), 16, y.data(), search.tensor);
  EXPECT_EQ(y, x);
  EXPECT_EQ(row[8], 0x38); // 1.0
}

TEST(GridCodec, SearchesThePowersBesideTheLeast) {
  // Scale 2 holds 6.1 as 6 and loses 0.5; scale 1 saturates, and holds both.
  std::vector<float> x(32, 0.5f);
  x[3] = 6.1f;
  const FormatInfo &info = formatInfo(FormatId::MxFp4);
  EncodeOptions search;
  search.rule = ScaleRule::Mse;
  EXPECT_EQ(decoded(info, encoded(info, x), x)[4], 0);
  EXPECT_EQ(decoded(info, encoded(info, x, search), x)[4], 0.5f);
  EXPECT_EQ(decoded(info, encoded(info, x, search), x)[3], 6);
}

} // namespace
} // namespace qplan
