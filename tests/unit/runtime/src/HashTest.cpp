//===- HashTest.cpp - xxh64 against published values ----------------------===//
#include "runtime/src/Hash.h"

#include <gtest/gtest.h>
#include <vector>

using namespace qplan;

TEST(XxHash64, AgreesWithPublishedValues) {
  EXPECT_EQ(hashText(xxh64("", 0)), "ef46db3751d8e999");
  EXPECT_EQ(hashText(xxh64("abc", 3)), "44bc2cf5ad770999");
  EXPECT_EQ(hashText(xxh64("Nobody inspects the spammish repetition", 39)), "fbcea83c8a378bf1");
}

TEST(XxHash64, DoesNotDependOnWhereTheStreamIsCut) {
  std::vector<unsigned char> data(200);
  for (size_t i = 0; i < data.size(); ++i)
    data[i] = static_cast<unsigned char>(i * 37);
  for (size_t size = 0; size <= data.size(); ++size) {
    uint64_t whole = xxh64(data.data(), size);
    for (size_t piece : {1, 7, 31, 32, 33, 64}) {
      XxHash64 stream;
      for (size_t at = 0; at < size; at += piece)
        stream.update(data.data() + at, std::min(piece, size - at));
      EXPECT_EQ(stream.digest(), whole) << size << " in pieces of " << piece;
    }
  }
}

TEST(HashText, ReadsWhatItWritesAndNothingElse) {
  uint64_t hash = 0;
  EXPECT_TRUE(parseHash(hashText(0x0123456789abcdefu), hash));
  EXPECT_EQ(hash, 0x0123456789abcdefu);
  EXPECT_FALSE(parseHash("0123456789abcde", hash));
  EXPECT_FALSE(parseHash("0123456789abcdefg", hash));
  EXPECT_FALSE(parseHash("0x23456789abcdef", hash));
}
