//===- Panel16Test.cpp - packed panels ------------------------------------===//
//
// Unpacking gives the values of the rows, for every weight format and awkward
// sizes; and a few bytes are where the header says they are.
//
//===----------------------------------------------------------------------===//
#include "ir/packings/Panel16.h"
#include "ir/codecs/Numbers.h"
#include "tests/unit/ir/codecs/CodecTesting.h"

namespace qplan {
namespace {

class EveryPanel : public testing::TestWithParam<FormatInfo> {};

TEST_P(EveryPanel, UnpacksToTheValuesOfItsRows) {
  const FormatInfo &info = GetParam();
  const Codec &codec = codecFor(info.id);
  const std::vector<float> side(64, 0.37f);
  for (int64_t wanted : {1, 3, 32, 100, 333, 576}) {
    const int64_t columns = columnsFor(info, wanted), rows = 13;
    const size_t bytes = codec.bytesPerRow(columns);
    std::mt19937 generator(wanted);
    std::vector<uint8_t> stored(rows * bytes);
    for (uint8_t &byte : stored)
      byte = generator() & 0x37; // no NaN or infinity anywhere
    const uint8_t *pointers[16] = {};
    for (int64_t r = 0; r < rows; ++r)
      pointers[r] = stored.data() + r * bytes;
    PanelLayout layout = panelLayoutFor(info.id, rows, columns);
    EXPECT_EQ(layout.numPanels(), 1);
    EXPECT_EQ(layout.panelBytes() % 64, 0);
    std::vector<uint8_t> panel(layout.panelBytes() + 64, 0xee);
    std::vector<TensorSide> sides;
    for (int64_t r = 0; r < 16; ++r)
      sides.push_back({side, r});
    packPanel(layout, info.id, pointers, panel.data(), sides);
    EXPECT_EQ(panel[layout.panelBytes()], 0xee);
    std::vector<float> unpacked(16 * columns), values(columns);
    unpackPanel(layout, panel.data(), unpacked.data());
    for (int64_t r = 0; r < 16; ++r) {
      std::fill(values.begin(), values.end(), 0.0f);
      if (r < rows)
        codec.decodeRow(pointers[r], columns, values.data(), sides[r]);
      for (int64_t c = 0; c < columns; ++c)
        ASSERT_EQ(unpacked[r * columns + c], values[c]) << "row " << r << " column " << c;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Panel16, EveryPanel, testing::ValuesIn(everyFormat()), formatTestName);

/// Panel of 16 equal rows that hold x.
std::vector<uint8_t> panelOf(FormatId id, const std::vector<float> &x, PanelLayout &layout) {
  std::vector<uint8_t> row = encoded(formatInfo(id), x);
  const uint8_t *pointers[16];
  std::fill(std::begin(pointers), std::end(pointers), row.data());
  pointers[15] = nullptr;
  layout = panelLayoutFor(id, 16, x.size());
  std::vector<uint8_t> panel(layout.panelBytes());
  packPanel(layout, id, pointers, panel.data());
  return panel;
}

TEST(Panel16, FourBitCodesPairColumnsFourApart) {
  std::vector<float> x(32);
  for (int i = 0; i < 32; ++i)
    x[i] = static_cast<float>(i % 16 - 8); // q4_0: scale 1, code = i % 16
  PanelLayout layout;
  std::vector<uint8_t> panel = panelOf(FormatId::Q4_0, x, layout);
  ASSERT_EQ(layout.scaleBytes(), 64);
  ASSERT_EQ(layout.panelBytes(), 64 + 4 * 64);
  EXPECT_EQ(layout.group, 32);
  EXPECT_EQ(layout.offset, 8);
  EXPECT_EQ(loadUnaligned<uint16_t>(panel.data() + 14 * 2), 0x3c00); // row 14
  EXPECT_EQ(loadUnaligned<uint16_t>(panel.data() + 15 * 2), 0);      // padding row
  EXPECT_EQ(panel[64 + 4 * 3 + 1], 0x51);      // step 0, row 3: columns 1 and 5
  EXPECT_EQ(panel[64 + 64 + 4 * 3 + 2], 0xea); // step 1: columns 10 and 14
  EXPECT_EQ(panel[64 + 4 * 15], 0x88);         // padding row: codes of zero
}

TEST(Panel16, SixBitCodesAreTwoPlanes) {
  std::vector<float> x(32, 0.0f);
  x[0] = -32, x[5] = 0x2b - 32, x[17] = 31; // int6_g32 of amax 32 / 31.5: near these codes
  PanelLayout layout;
  std::vector<uint8_t> panel = panelOf(FormatId::Int6G32, x, layout);
  ASSERT_EQ(layout.stepColumns(), 16);
  ASSERT_EQ(layout.stepBytes(), 192);
  ASSERT_EQ(layout.panelBytes(), 64 + 2 * 192);
  const uint8_t *step = panel.data() + 64, *next = step + 192;
  GridRow row;
  codecFor(FormatId::Int6G32).gridRow(encoded(formatInfo(FormatId::Int6G32), x).data(), 32, row);
  EXPECT_EQ(step[4 * 3] & 15, row.codes[0] & 15);      // column 0: low nibble, first vector
  EXPECT_EQ(step[4 * 3 + 1] >> 4, row.codes[5] & 15);  // column 5: high nibble
  EXPECT_EQ(step[128 + 4 * 3] & 3, row.codes[0] >> 4); // high bits: third vector
  EXPECT_EQ(step[128 + 4 * 3 + 1] >> 2 & 3, row.codes[5] >> 4);
  EXPECT_EQ(next[4 * 3 + 1] & 15, row.codes[17] & 15);
  EXPECT_EQ(next[128 + 4 * 3 + 1] & 3, row.codes[17] >> 4);
}

TEST(Panel16, CodesTakeTheirTrueSize) {
  for (auto [id, bits] : {std::pair{FormatId::Int2, 2},
                          {FormatId::Int3, 3},
                          {FormatId::Int4, 4},
                          {FormatId::Int5, 5},
                          {FormatId::Int6, 6},
                          {FormatId::Int7, 7},
                          {FormatId::Int8, 8}})
    EXPECT_EQ(panelLayoutFor(id, 16, 576).panelBytes(), 64 + 576 * 16 * bits / 8) << bits;
  // Scales too: a byte for 32 columns; a byte for 16 and an f32 a row; GGML's super-blocks with
  // whole bytes for the scales and minima of groups.
  EXPECT_EQ(panelLayoutFor(FormatId::MxFp4, 16, 1024).panelBytes(), 1024 * 8 + 32 * 16);
  EXPECT_EQ(panelLayoutFor(FormatId::NvFp4, 16, 1024).panelBytes(), 1024 * 8 + 64 * 16 + 64);
  EXPECT_EQ(panelLayoutFor(FormatId::Q6_K, 16, 1024).panelBytes(), 1024 * 12 + 64 * 16 + 4 * 32);
  EXPECT_EQ(panelLayoutFor(FormatId::Q4_K, 16, 1024).panelBytes(), 1024 * 8 + 32 * 32 + 4 * 64);
}

TEST(Panel16, SparseRowsAreHalfTheirCodesAndAMask) {
  for (auto [id, bits] :
       {std::pair{FormatId::F16S24, 9}, {FormatId::Int8S24, 5}, {FormatId::Int4G64S24, 3}}) {
    PanelLayout layout = panelLayoutFor(id, 16, 640);
    EXPECT_EQ(layout.panelBytes() - layout.scaleBytes(), 640 * 16 * bits / 8) << bits;
  }
  std::vector<float> x(64, 0.0f);
  x[1] = 127, x[3] = -2, x[38] = 5;
  PanelLayout layout;
  std::vector<uint8_t> panel = panelOf(FormatId::Int8S24, x, layout);
  ASSERT_EQ(layout.stepBytes(), 320);
  EXPECT_EQ(layout.kernelElement(), 64 + int64_t(PackedElement::U8));
  const uint8_t *step = panel.data() + 64, *next = step + 320;
  EXPECT_EQ(loadUnaligned<uint32_t>(step + 256 + 4 * 3), 0xau);
  EXPECT_EQ(step[4 * 3], 127);
  EXPECT_EQ(step[4 * 3 + 1], 0xfe);
  EXPECT_EQ(loadUnaligned<uint32_t>(next + 256 + 4 * 3), 0x40u);
  EXPECT_EQ(next[4 * 3 + 2], 5); // the first code of columns 4 to 7
}

TEST(Panel16, EightBitCodesLieFourColumnsAStep) {
  std::vector<float> x(35, 0.0f);
  x[34] = -127;
  x[5] = 3;
  PanelLayout layout;
  std::vector<uint8_t> panel = panelOf(FormatId::Int8, x, layout);
  EXPECT_EQ(layout.scale, PackedScale::F32);
  EXPECT_EQ(layout.group, 35);
  ASSERT_EQ(layout.numSteps(), 9);
  EXPECT_EQ(loadUnaligned<float>(panel.data() + 4 * 7), 1.0f);
  EXPECT_EQ(panel[64 + 64 + 4 * 7 + 1], 131);
  EXPECT_EQ(panel[64 + 8 * 64 + 4 * 7 + 2], 1);
  EXPECT_EQ(panel[64 + 8 * 64 + 4 * 7 + 3], 128); // beyond the last column
}

TEST(Panel16, MinimaFollowTheScalesOfTheirGroup) {
  std::vector<float> x(64);
  for (int i = 0; i < 64; ++i)
    x[i] = static_cast<float>(i % 16) + (i < 32 ? 0 : 4); // q4_1: scale 1, minima 0 and 4
  PanelLayout layout;
  std::vector<uint8_t> panel = panelOf(FormatId::Q4_1, x, layout);
  ASSERT_TRUE(layout.hasMin);
  ASSERT_EQ(layout.scale, PackedScale::F16);
  ASSERT_EQ(layout.scaleBytes(), 128);
  auto half = [&](int at) { return f32FromF16(loadUnaligned<uint16_t>(panel.data() + 2 * at)); };
  EXPECT_EQ(half(2), 1.0f);
  EXPECT_EQ(half(16 + 2), 0.0f);
  EXPECT_EQ(half(32 + 2), 1.0f);
  EXPECT_EQ(half(48 + 2), 4.0f);
}

TEST(Panel16, Bf16PairsColumns) {
  std::vector<float> x{1, 2, 4};
  PanelLayout layout;
  std::vector<uint8_t> panel = panelOf(FormatId::BF16, x, layout);
  ASSERT_EQ(layout.panelBytes(), 128);
  auto value = [&](int step, int at) {
    return f32FromBf16(loadUnaligned<uint16_t>(panel.data() + step * 64 + 2 * at));
  };
  EXPECT_EQ(value(0, 2 * 6), 1.0f);
  EXPECT_EQ(value(0, 2 * 6 + 1), 2.0f);
  EXPECT_EQ(value(1, 2 * 6), 4.0f);
  EXPECT_EQ(value(1, 2 * 6 + 1), 0.0f); // odd K is padded
}

TEST(Panel16, ScalesHaveTheTypeThatIsStored) {
  EXPECT_EQ(panelLayoutFor(FormatId::Int4G64, 5, 576).scale, PackedScale::F16);
  EXPECT_EQ(panelLayoutFor(FormatId::Q4_K, 5, 512).scale, PackedScale::Super);
  EXPECT_EQ(panelLayoutFor(FormatId::Int4G64Asym, 5, 576).scale, PackedScale::F32);
  EXPECT_EQ(panelLayoutFor(FormatId::MxFp4, 5, 576).scale, PackedScale::E8M0);
  EXPECT_EQ(panelLayoutFor(FormatId::NvFp4, 5, 576).scale, PackedScale::E4M3);
  EXPECT_EQ(panelLayoutFor(FormatId::F16, 5, 576).scale, PackedScale::None);
  EXPECT_EQ(panelLayoutFor(FormatId::Int4G128, 17, 576).numGroups(), 5);
  EXPECT_EQ(panelLayoutFor(FormatId::Int4G128, 17, 576).numPanels(), 2);
}

} // namespace
} // namespace qplan
