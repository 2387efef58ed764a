//===- WeightsHeaderTest.cpp - the first 64 bytes of weights.bin ----------===//
#include "runtime/src/WeightsHeader.h"
#include "FakeModel.h"

#include <gtest/gtest.h>

using namespace qplan;

static Status read(const fake::Weights &weights, uint64_t size = 128) {
  WeightsHeader header;
  return readWeightsHeader(weights.bytes, size, size, "weights.bin", header);
}

TEST(WeightsHeader, AcceptsWhatTheFormatSays) {
  fake::Weights weights;
  WeightsHeader header;
  ASSERT_FALSE(readWeightsHeader(weights.bytes, 128, 128, "weights.bin", header).failed());
  EXPECT_EQ(header.totalBytes, 128u);
  EXPECT_EQ(header.dataOffset, 64u);
  EXPECT_EQ(header.dataHash, xxh64(weights.bytes + 64, 64));
}

TEST(WeightsHeader, FindsEveryDamagedByteButThoseOfTheChecksum) {
  for (int i = 0; i < 64; ++i) {
    fake::Weights weights;
    weights.bytes[i] ^= 0x10;
    bool isChecksum = i >= 24 && i < 32;
    EXPECT_EQ(read(weights).code, isChecksum ? QPLAN_OK : QPLAN_INVALID_INPUT) << i;
  }
}

TEST(WeightsHeader, FindsACutFile) {
  fake::Weights weights;
  for (uint64_t size : {0, 1, 63, 64, 127})
    EXPECT_EQ(read(weights, size).code, QPLAN_INVALID_INPUT) << size;
}
