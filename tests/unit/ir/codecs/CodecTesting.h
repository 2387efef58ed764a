//===- CodecTesting.h - what the tests of formats share ---------*- C++ -*-===//
//
// Rows of the table as gtest parameters, hexadecimal data, and the CRC-32 that
// golden files hold.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TESTS_CODECTESTING_H
#define QPLAN_TESTS_CODECTESTING_H

#include "ir/Failure.h"
#include "ir/codecs/Codec.h"
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/CRC.h>
#include <random>

namespace qplan {

/// gtest prints a row as its name.
inline void PrintTo(const FormatInfo &info, std::ostream *os) { *os << info.name; }

/// Every format, for INSTANTIATE_TEST_SUITE_P.
inline std::vector<FormatInfo> everyFormat() { return {allFormats().begin(), allFormats().end()}; }
/// The formats for which `holds`.
inline std::vector<FormatInfo> formatsThat(bool (*holds)(const FormatInfo &)) {
  std::vector<FormatInfo> chosen;
  for (const FormatInfo &info : allFormats())
    if (holds(info))
      chosen.push_back(info);
  return chosen;
}
inline std::string formatTestName(const testing::TestParamInfo<FormatInfo> &param) {
  return param.param.name;
}

/// The text of a failed call, or "" for success.
inline std::string messageOf(llvm::Error error) { return llvm::toString(std::move(error)); }

/// CRC-32 of the bytes of x.
inline uint32_t crcOf(const std::vector<float> &x) {
  return llvm::crc32({reinterpret_cast<const uint8_t *>(x.data()), x.size() * sizeof(float)});
}

/// n values with the standard normal distribution, the same on every machine of one library.
inline std::vector<float> normalValues(int64_t n, uint32_t seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> x(n);
  for (float &value : x)
    value = normal(generator);
  return x;
}

/// Columns that `info` takes, near `wanted`.
inline int64_t columnsFor(const FormatInfo &info, int64_t wanted) {
  if (info.centiBits && info.blockColumns == 0)
    return std::max<int64_t>(wanted, 32);
  if (info.shortBlock || info.blockColumns <= 1)
    return wanted;
  return (wanted + info.blockColumns - 1) / info.blockColumns * info.blockColumns;
}

/// The numbers beside a tensor whose only row is x; fails the test on errors.
inline std::vector<float> sideOf(const FormatInfo &info, const std::vector<float> &x) {
  if (info.side == SideData::None)
    return {};
  SideObserver observer(info.id, 1, x.size());
  EXPECT_EQ(messageOf(observer.observe(0, x.data())), "");
  return observer.values();
}

/// Encodes with the numbers beside x that its format needs; fails the test on errors.
inline std::vector<uint8_t> encoded(const FormatInfo &info, const std::vector<float> &x,
                                    EncodeOptions options = {}) {
  const Codec &codec = codecFor(info.id);
  const std::vector<float> side = sideOf(info, x);
  options.tensor = {side, 0};
  std::vector<uint8_t> row(codec.bytesPerRow(x.size()));
  EXPECT_EQ(messageOf(codec.encodeRow(x.data(), x.size(), options, row.data())), "");
  return row;
}

/// Decodes what encoded() wrote for x.
inline std::vector<float> decoded(const FormatInfo &info, const std::vector<uint8_t> &row,
                                  const std::vector<float> &x) {
  const std::vector<float> side = sideOf(info, x);
  std::vector<float> values(x.size());
  codecFor(info.id).decodeRow(row.data(), values.size(), values.data(), {side, 0});
  return values;
}

/// Sum of squared differences.
inline double squaredError(const std::vector<float> &a, const std::vector<float> &b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    sum += std::pow(double(a[i]) - b[i], 2);
  return sum;
}

} // namespace qplan
#endif // QPLAN_TESTS_CODECTESTING_H
