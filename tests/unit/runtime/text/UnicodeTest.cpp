//===- UnicodeTest.cpp - UTF-8 and character classes ----------------------===//
//
// How many replacement characters a broken sequence gets, and the classes whose
// definition differs between tools.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/Unicode.h"
#include <gtest/gtest.h>

using namespace qplan::text;

namespace {

/// With '?' for each replacement character.
std::string repaired(std::string_view bytes) {
  std::string text = repairUtf8(bytes);
  for (size_t at; (at = text.find(replacementCharacter)) != std::string::npos;)
    text.replace(at, 3, "?");
  return text;
}

TEST(Unicode, ReplacesMaximalSubparts) {
  EXPECT_EQ(repaired("a\xFF"), "a?");
  EXPECT_EQ(repaired("\xE2\x82 x"), "? x");
  EXPECT_EQ(repaired("\xE2\x28\xA1"), "?(?");
  EXPECT_EQ(repaired("\xED\xA0\x80"), "???");
  EXPECT_EQ(repaired("\xC0\x80"), "??");
  EXPECT_EQ(repaired("\xF0\x9F\x98"), "?");
  EXPECT_EQ(repaired("\xF4\x90\x80\x80"), "????");
  EXPECT_EQ(repaired("\xF0\x9F\x98\xF0\x9F\x98\x80"), "?\xF0\x9F\x98\x80");
}

TEST(Unicode, TellsUnfinishedFromInvalid) {
  EXPECT_EQ(stepUtf8("\xF0\x9F").kind, Utf8Step::Incomplete);
  EXPECT_EQ(stepUtf8("\xF0\x80").kind, Utf8Step::Invalid);
  EXPECT_EQ(stepUtf8("\xF0\x9F\x98\x80").bytes, 4u);
}

TEST(Unicode, WalksAndAppendsCharacters) {
  std::string text;
  for (char32_t c : {U'a', U'\u00e9', U'\u20ac', U'\U0001F600'})
    appendCharacter(text, c);
  EXPECT_EQ(text, "aé€😀");
  EXPECT_EQ(countCharacters(text), 4u);
  EXPECT_EQ(lastCharacter(text), U'\U0001F600');
  size_t position = 1;
  EXPECT_EQ(nextCharacter(text, position), U'\u00e9');
  EXPECT_EQ(position, 3u);
}

TEST(Unicode, ClassifiesAsTheReference) {
  EXPECT_TRUE(isPunctuation('$'));
  EXPECT_FALSE(isPunctuation(U'\u20ac'));
  EXPECT_FALSE(isPunctuation(0x61D)); // new in Unicode 14
  EXPECT_TRUE(isNumeric(0xBD));
  EXPECT_TRUE(isWhiteSpace(0x85));
  EXPECT_TRUE(isWord(0x200D));
  EXPECT_FALSE(isWord('-'));
}

TEST(Unicode, LowersWithoutContext) {
  std::string text;
  for (char32_t c : {U'\u0130', U'\u03a3', U'A'})
    appendLowerCase(text, c);
  EXPECT_EQ(text, "i\u0307σa");
}

TEST(Unicode, HasFourNormalForms) {
  EXPECT_EQ(normalForm("e\u0301ﬁ", NormalForm::NFC), "éﬁ");
  EXPECT_EQ(normalForm("é", NormalForm::NFD), "e\u0301");
  EXPECT_EQ(normalForm("ﬁ½", NormalForm::NFKC), "fi1⁄2");
  EXPECT_EQ(normalForm("ﬁé", NormalForm::NFKD), "fie\u0301");
}

} // namespace
