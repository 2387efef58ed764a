//===- StatusTest.cpp - messages in the caller's buffer -------------------===//
#include "runtime/src/Status.h"

#include <gtest/gtest.h>

using namespace qplan;

static std::string reported(const std::string &message, size_t size) {
  std::string buffer(size, '#');
  EXPECT_EQ((Status{QPLAN_DEFECT, message}.report(buffer.data(), size)), QPLAN_DEFECT);
  EXPECT_NE(buffer.find('\0'), std::string::npos);
  return buffer.c_str();
}

TEST(Status, FillsTheBufferAndNoMore) {
  EXPECT_EQ(reported("message", 100), "message");
  EXPECT_EQ(reported("message", 8), "message");
  EXPECT_EQ(reported("message", 7), "messag");
  EXPECT_EQ(reported("message", 1), "");
}

TEST(Status, NeverCutsACharacterInTwo) {
  const std::string euros = "\xE2\x82\xAC\xE2\x82\xAC";
  EXPECT_EQ(reported(euros, 7), euros);
  for (size_t size : {4, 5, 6})
    EXPECT_EQ(reported(euros, size), "\xE2\x82\xAC");
  for (size_t size : {1, 2, 3})
    EXPECT_EQ(reported(euros, size), "");
}

TEST(Status, MakesOneLineOfWhatNamesHold) {
  EXPECT_EQ(reported("a\nb\x1B[1mc\x7F", 100), "a?b?[1mc?");
}

TEST(Status, QuotesLongTextsInPart) {
  EXPECT_EQ(quote("m"), "'m'");
  EXPECT_EQ(quote(std::string(80, 'x')), "'" + std::string(80, 'x') + "'");
  EXPECT_EQ(quote(std::string(81, 'x')), "'" + std::string(80, 'x') + "...'");
}

TEST(Status, FormatsAsPrintfDoes) {
  EXPECT_EQ(fail(QPLAN_DEFECT, "%s has %d of %lld", "x", 3, 5ll).message, "x has 3 of 5");
  EXPECT_EQ(fail(QPLAN_DEFECT, "%s", std::string(100000, 'y').c_str()).message.size(), 100000u);
}
