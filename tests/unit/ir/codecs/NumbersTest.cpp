//===- NumbersTest.cpp - conversions of small floats ----------------------===//
//
// All of them: every value, every midpoint between two values and the f32 next to
// it on both sides, against what numpy and ml_dtypes gave (golden/numbers.txt).
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/Numbers.h"
#include "tests/unit/ir/codecs/CodecTesting.h"
#include <fstream>
#include <limits>

namespace qplan {
namespace {

/// Checks one line of numbers.txt against conversions of `count` non-negative codes.
template <typename Code>
void checkAgainstGolden(const std::string &name, uint32_t count, float (*decode)(Code),
                        Code (*encode)(float)) {
  std::vector<float> values(count);
  for (uint32_t i = 0; i < count; ++i)
    values[i] = decode(static_cast<Code>(i));
  std::vector<float> near[3];
  for (uint32_t i = 0; i + 1 < count; ++i) {
    float middle = static_cast<float>((double(values[i]) + double(values[i + 1])) / 2);
    near[0].push_back(std::nextafter(middle, 0.0f));
    near[1].push_back(middle);
    near[2].push_back(std::nextafter(middle, std::numeric_limits<float>::infinity()));
  }
  const Code sign = static_cast<Code>(Code(1) << (sizeof(Code) * 8 - 1));
  std::vector<Code> codes;
  for (const std::vector<float> &part : near)
    for (float value : part) {
      codes.push_back(encode(value));
      EXPECT_EQ(encode(-value), static_cast<Code>(codes.back() | sign));
    }
  uint32_t encodeCrc =
      llvm::crc32({reinterpret_cast<const uint8_t *>(codes.data()), codes.size() * sizeof(Code)});
  std::string line = fmt::format("{} decode {:08x} encode {:08x}", name, crcOf(values), encodeCrc);
  std::ifstream file(QPLAN_GOLDEN "/numbers.txt");
  bool found = false;
  for (std::string golden; std::getline(file, golden);)
    found |= golden == line;
  EXPECT_TRUE(found) << line;
  for (uint32_t i = 0; i < count; ++i)
    EXPECT_EQ(encode(values[i]), static_cast<Code>(i));
}

TEST(Numbers, F16RoundsToNearestEven) { checkAgainstGolden("f16", 0x7c00, f32FromF16, f16FromF32); }
TEST(Numbers, Bf16RoundsToNearestEven) {
  checkAgainstGolden("bf16", 0x7f80, f32FromBf16, bf16FromF32);
}
TEST(Numbers, E4m3RoundsToNearestEven) {
  checkAgainstGolden("e4m3", 0x7f, f32FromE4m3, e4m3FromF32);
}

TEST(Numbers, F16OverflowsToInfinityAndKeepsNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(f16FromF32(65504.0f), 0x7bff);
  EXPECT_EQ(f16FromF32(65519.996f), 0x7bff);
  EXPECT_EQ(f16FromF32(65520.0f), 0x7c00);
  EXPECT_EQ(f16FromF32(1e30f), 0x7c00);
  EXPECT_EQ(f16FromF32(-infinity), 0xfc00);
  EXPECT_EQ(f32FromF16(0x7c00), infinity);
  for (uint32_t h = 0x7c01; h <= 0x7fff; ++h) {
    EXPECT_TRUE(std::isnan(f32FromF16(static_cast<uint16_t>(h))));
    EXPECT_TRUE(std::isnan(f32FromF16(f16FromF32(f32FromF16(static_cast<uint16_t>(h))))));
  }
}

TEST(Numbers, Bf16KeepsNanAndOverflowsToInfinity) {
  EXPECT_EQ(bf16FromF32(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(bf16FromF32(-std::numeric_limits<float>::infinity()), 0xff80);
  for (uint32_t bits : {0x7f800001u, 0x7fffffffu, 0xffffffffu, 0x7fc00000u})
    EXPECT_TRUE(std::isnan(f32FromBf16(bf16FromF32(std::bit_cast<float>(bits)))));
}

TEST(Numbers, E4m3SaturatesAndKeepsNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (float big : {448.0f, 449.0f, 464.0f, 465.0f, 1e30f, infinity}) {
    EXPECT_EQ(e4m3FromF32(big), 0x7e);
    EXPECT_EQ(e4m3FromF32(-big), 0xfe);
  }
  EXPECT_EQ(e4m3FromF32(std::numeric_limits<float>::quiet_NaN()) & 0x7f, 0x7f);
  EXPECT_TRUE(std::isnan(f32FromE4m3(0x7f)));
  EXPECT_TRUE(std::isnan(f32FromE4m3(0xff)));
  EXPECT_EQ(f32FromE4m3(0x01), 0x1p-9f);
}

} // namespace
} // namespace qplan
