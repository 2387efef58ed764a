//===- CodecGoldenTest.cpp - stored bytes against other implementations ---===//
//
// For each row of the table, tests/formats/golden/NAME.txt: the bytes that the
// reference stores for given inputs, and the values that it reads back. Written
// by tests/formats/generate.py; never rewritten to make a test pass.
//
//===----------------------------------------------------------------------===//
#include "tests/unit/ir/codecs/CodecTesting.h"
#include <fstream>
#include <sstream>

namespace qplan {
namespace {

std::string bytesFromHex(const std::string &hex) { return llvm::fromHex(hex); }

std::vector<float> floatsFromHex(const std::string &hex) {
  std::string bytes = bytesFromHex(hex);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

struct GoldenRow {
  int64_t columns = 0;
  int64_t input = -1;      ///< line of inputs.txt; -1: decode only
  int64_t importance = -1; ///< line of importances.txt; -1: none
  std::string bytes;
  uint32_t crc = 0;
  std::vector<float> side = {0.0625f}; ///< numbers beside the rows
  int64_t row = 0;                     ///< number of the row in its tensor
  std::vector<float> values; ///< of the first row only
};

std::vector<GoldenRow> readGolden(const std::string &name) {
  std::vector<GoldenRow> rows;
  std::ifstream file(QPLAN_GOLDEN "/" + name + ".txt");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key, value, input, importance;
    words >> key >> value;
    if (key == "columns") {
      rows.emplace_back().columns = std::stoll(value);
      words >> input >> input;
      if (input != "-")
        rows.back().input = std::stoll(input);
      if (words >> importance >> importance)
        rows.back().importance = std::stoll(importance);
    } else if (key == "bytes") {
      rows.back().bytes = bytesFromHex(value);
    } else if (key == "side") {
      rows.back().side = floatsFromHex(value);
    } else if (key == "row") {
      rows.back().row = std::stoll(value);
    } else if (key == "crc") {
      rows.back().crc = static_cast<uint32_t>(std::stoul(value, nullptr, 16));
    } else if (key == "values") {
      rows.back().values = floatsFromHex(value);
    }
  }
  return rows;
}

std::vector<std::vector<float>> readInputs(const std::string &name = "inputs") {
  std::vector<std::vector<float>> inputs;
  std::ifstream file(QPLAN_GOLDEN "/" + name + ".txt");
  for (std::string line; std::getline(file, line);)
    inputs.push_back(floatsFromHex(line));
  return inputs;
}

class Golden : public testing::TestWithParam<FormatInfo> {};

TEST_P(Golden, RowsDecodeToTheReferencesValues) {
  const FormatInfo &info = GetParam();
  const Codec &codec = codecFor(info.id);
  std::vector<GoldenRow> rows = readGolden(info.name);
  ASSERT_GE(rows.size(), 4u);
  for (const GoldenRow &row : rows) {
    ASSERT_EQ(codec.bytesPerRow(row.columns), row.bytes.size());
    std::vector<float> values(row.columns);
    codec.decodeRow(reinterpret_cast<const uint8_t *>(row.bytes.data()), row.columns, values.data(),
                    {row.side, row.row});
    if (!row.values.empty())
      EXPECT_EQ(values, row.values);
    EXPECT_EQ(crcOf(values), row.crc) << "input " << row.input << ", columns " << row.columns;
  }
}

TEST_P(Golden, RowsEncodeToTheReferencesBytes) {
  const FormatInfo &info = GetParam();
  std::vector<std::vector<float>> inputs = readInputs();
  EncodeOptions options;
  for (const GoldenRow &row : readGolden(info.name)) {
    if (row.input < 0)
      continue;
    std::string bytes(row.bytes.size(), 0);
    options.tensor = {row.side, row.row};
    llvm::Error error = codecFor(info.id).encodeRow(inputs[row.input].data(), row.columns, options,
                                                    reinterpret_cast<uint8_t *>(bytes.data()));
    ASSERT_EQ(messageOf(std::move(error)), "");
    EXPECT_EQ(llvm::toHex(bytes, true), llvm::toHex(row.bytes, true))
        << "input " << row.input << ", columns " << row.columns;
  }
}

TEST_P(Golden, AnyBytesDecodeWithoutHarm) {
  const FormatInfo &info = GetParam();
  const Codec &codec = codecFor(info.id);
  std::mt19937 generator(info.ordinal);
  for (int64_t wanted : {1, 77, 256, 1024}) {
    const int64_t columns = columnsFor(info, wanted);
    // Exactly as large as the row, so that sanitizers see a read beyond it.
    std::vector<uint8_t> row(codec.bytesPerRow(columns));
    std::vector<float> values(columns);
    for (int fill = 0; fill < 8; ++fill) {
      for (uint8_t &byte : row)
        byte = fill == 0 ? 0xff : fill == 1 ? 0x80 : static_cast<uint8_t>(generator());
      codec.decodeRow(row.data(), columns, values.data());
      if (codec.hasGrid()) {
        GridRow grid;
        codec.gridRow(row.data(), columns, grid);
        EXPECT_EQ(grid.codes.size(), size_t(columns));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Codec, Golden, testing::ValuesIn(everyFormat()), formatTestName);

/// The files *_encoded.txt hold what GGML's own library stored.
TEST(GgmlFormats, StoreTheBytesOfGgmlsLibrary) {
  std::vector<std::vector<float>> inputs = readInputs(), importances = readInputs("importances");
  for (FormatId id :
       {FormatId::Q2_K, FormatId::Q3_K, FormatId::Q4_K, FormatId::Q5_K, FormatId::Q6_K,
        FormatId::IQ4_NL, FormatId::IQ4_XS, FormatId::Q4_0, FormatId::Q4_1, FormatId::Q5_0,
        FormatId::Q5_1}) {
    const FormatInfo &info = formatInfo(id);
    std::vector<GoldenRow> rows = readGolden(info.name + std::string("_encoded"));
    ASSERT_EQ(rows.size(), inputs.size() * (importances.size() + 1));
    for (const GoldenRow &row : rows) {
      const float *importance = row.importance < 0 ? nullptr : importances[row.importance].data();
      std::string bytes(row.bytes.size(), 0);
      ASSERT_EQ(messageOf(codecFor(id).encodeRow(inputs[row.input].data(), row.columns, importance,
                                                 reinterpret_cast<uint8_t *>(bytes.data()))),
                "");
      EXPECT_EQ(llvm::toHex(bytes, true), llvm::toHex(row.bytes, true))
          << info.name << " input " << row.input << ", importance " << row.importance;
    }
  }
}

/// The rows of appendix tables that circulate for x = -16..15.
TEST(GgmlBlocks, StoreTheKnownBytesOfARamp) {
  std::vector<float> x(32);
  for (int i = 0; i < 32; ++i)
    x[i] = static_cast<float>(i - 16);
  auto hexOf = [&](FormatId id) { return llvm::toHex(encoded(formatInfo(id), x), true); };
  EXPECT_EQ(hexOf(FormatId::Q4_0), "0040809191a2a2b3b3c4c4d5d5e6e6f7f7f8");
  EXPECT_EQ(hexOf(FormatId::Q4_1), "224000cc80809191a2a2b3b3c4c4d5d5e6e6f7f7");
  EXPECT_EQ(hexOf(FormatId::Q5_0), "003c0000ffff00112233445566778899aabbccddeeff");
  EXPECT_EQ(hexOf(FormatId::Q5_1), "003c00cc0000ffff00112233445566778899aabbccddeeff");
  EXPECT_EQ(hexOf(FormatId::Q8_0), "083081899199a1a9b1b9c0c8d0d8e0e8f0f80008"
                                   "10182028303840474f575f676f77");
}

} // namespace
} // namespace qplan
