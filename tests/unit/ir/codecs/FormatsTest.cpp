//===- FormatsTest.cpp - the table and what follows from it ---------------===//
//
// Names, sizes, bits and pages of every row; errors that name what is wrong.
//
//===----------------------------------------------------------------------===//
#include "tests/unit/ir/codecs/CodecTesting.h"
#include <llvm/Support/JSON.h>
#include <set>

namespace qplan {
namespace {

class EveryFormat : public testing::TestWithParam<FormatInfo> {};

TEST_P(EveryFormat, IsFoundByItsNameAndNumber) {
  const FormatInfo &info = GetParam();
  llvm::Expected<FormatId> parsed = parseFormat(info.name);
  ASSERT_TRUE(bool(parsed)) << messageOf(parsed.takeError());
  EXPECT_EQ(*parsed, info.id);
  EXPECT_EQ(formatInfo(info.id).name, std::string(info.name));
  EXPECT_EQ(int(info.id), info.ordinal);
  EXPECT_EQ(allFormats()[info.ordinal].id, info.id);
}

TEST_P(EveryFormat, CountsTheBytesThatItsCodecWrites) {
  const FormatInfo &info = GetParam();
  for (int64_t wanted : {1, 31, 32, 100, 256, 576, 1536}) {
    const int64_t columns = columnsFor(info, wanted);
    const uint64_t row = codecFor(info.id).bytesPerRow(columns);
    llvm::Expected<uint64_t> bytes = bytesFor(info.id, 3, columns);
    ASSERT_TRUE(bool(bytes)) << messageOf(bytes.takeError());
    EXPECT_EQ(*bytes, 3 * row + 4 * sideCount(info.id, 3, columns));
    llvm::Expected<double> bits = effectiveBits(info.id, 3, columns);
    ASSERT_TRUE(bool(bits)) << messageOf(bits.takeError());
    EXPECT_DOUBLE_EQ(*bits, *bytes * 8.0 / (3 * columns));
    if (!info.toleranceE5)
      continue;
    // Nothing is written behind the row, and every byte of it is.
    std::vector<float> x = normalValues(columns, 5);
    EncodeOptions options;
    std::vector<uint8_t> first(row + 8, 0xa5), second(row + 8, 0x5a);
    ASSERT_EQ(messageOf(codecFor(info.id).encodeRow(x.data(), columns, options, first.data())), "");
    ASSERT_EQ(messageOf(codecFor(info.id).encodeRow(x.data(), columns, options, second.data())),
              "");
    EXPECT_TRUE(std::equal(first.begin(), first.begin() + row, second.begin()));
    for (uint64_t i = row; i < row + 8; ++i)
      EXPECT_EQ(first[i], 0xa5);
  }
}

TEST_P(EveryFormat, RefusesImpossibleShapes) {
  const FormatInfo &info = GetParam();
  for (int64_t columns : {int64_t(0), int64_t(-1), INT64_MAX, INT64_MIN})
    EXPECT_NE(messageOf(bytesFor(info.id, 1, columns).takeError()), "") << columns;
  const int64_t columns = columnsFor(info, 256);
  EXPECT_NE(messageOf(bytesFor(info.id, INT64_MAX, columns).takeError()), "");
  EXPECT_NE(messageOf(bytesFor(info.id, -1, columns).takeError()), "");
  if (!info.shortBlock && info.blockColumns > 1) {
    std::string message = messageOf(rowBytes(info.id, columns + 1).takeError());
    EXPECT_NE(message.find(info.name), std::string::npos) << message;
    EXPECT_NE(message.find(std::to_string(columns + 1)), std::string::npos) << message;
  }
}

TEST_P(EveryFormat, HasARoleAndARunnableDefaultActivation) {
  const FormatInfo &info = GetParam();
  EXPECT_TRUE(info.isWeight || info.isActivation || info.isKv);
  if (info.activation != FormatId::F32)
    EXPECT_TRUE(formatInfo(info.activation).isActivation);
  EXPECT_NE(*info.summary, 0);
}

INSTANTIATE_TEST_SUITE_P(Formats, EveryFormat, testing::ValuesIn(everyFormat()), formatTestName);

TEST(Formats, NamesDifferByMoreThanCase) {
  std::set<std::string> names;
  for (const FormatInfo &info : allFormats())
    EXPECT_TRUE(names.insert(llvm::StringRef(info.name).lower()).second) << info.name;
}

TEST(Formats, UnknownNamesListTheNearest) {
  std::string message = messageOf(parseFormat("int4_g65").takeError());
  EXPECT_NE(message.find("\"int4_g65\""), std::string::npos) << message;
  EXPECT_NE(message.find("int4_g64"), std::string::npos) << message;
  EXPECT_NE(messageOf(parseFormat("Q4_K").takeError()).find("q4_K"), std::string::npos);
  EXPECT_NE(messageOf(parseFormat("").takeError()), "");
  EXPECT_LT(messageOf(parseFormat(std::string(1 << 20, 'x')).takeError()).size(), 400u);
}

TEST(Formats, EffectiveBitsCountScalesAndZeroPoints) {
  auto bits = [](FormatId id, int64_t columns) { return cantFail(effectiveBits(id, 64, columns)); };
  EXPECT_DOUBLE_EQ(bits(FormatId::Int4G64, 576), 4.25);
  EXPECT_DOUBLE_EQ(bits(FormatId::Int4G128, 576), (576 * 4 + 5 * 16) / 576.0);
  EXPECT_DOUBLE_EQ(bits(FormatId::Int4G128Asym, 1024), 4.0 + 20.0 / 128);
  EXPECT_DOUBLE_EQ(bits(FormatId::Int8, 1024), 8.0 + 32.0 / 1024);
  EXPECT_DOUBLE_EQ(bits(FormatId::Q4_K, 1024), 4.5);
  EXPECT_DOUBLE_EQ(bits(FormatId::Q6_K, 1024), 6.5625);
}

TEST(Formats, ModeloptBitsLeaveScalesOut) {
  EXPECT_DOUBLE_EQ(cantFail(modeloptBits(FormatId::Int4G128, 64, 1024)), 4.0);
  EXPECT_DOUBLE_EQ(cantFail(modeloptBits(FormatId::Fp8E4M3, 64, 1024)), 8.0);
  EXPECT_DOUBLE_EQ(cantFail(modeloptBits(FormatId::BF16, 64, 1024)), 16.0);
}

TEST(Formats, ForeignNamesFindTheirFormat) {
  EXPECT_EQ(formatForGgufType(12), FormatId::Q4_K);
  EXPECT_EQ(formatForGgufType(30), FormatId::BF16);
  EXPECT_FALSE(formatForGgufType(16));
  EXPECT_FALSE(formatForGgufType(65535));
  EXPECT_EQ(formatForSafetensorsDtype("F16"), FormatId::F16);
  EXPECT_FALSE(formatForSafetensorsDtype("F8_E4M3"));
  EXPECT_FALSE(formatForSafetensorsDtype(""));
}

TEST(Formats, PagesNameEveryFormat) {
  const std::string table = formatsTable(), page = formatsMarkdown();
  llvm::Expected<llvm::json::Value> json = llvm::json::parse(formatsJson());
  ASSERT_TRUE(bool(json));
  EXPECT_EQ(json->getAsObject()->getArray("formats")->size(), allFormats().size());
  for (const FormatInfo &info : allFormats()) {
    EXPECT_NE(table.find(std::string("\n") + info.name + " "), std::string::npos) << info.name;
    EXPECT_NE(page.find(fmt::format("| `{}` |", info.name)), std::string::npos) << info.name;
  }
}

} // namespace
} // namespace qplan
