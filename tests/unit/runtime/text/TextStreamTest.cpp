//===- TextStreamTest.cpp - text while a model generates ------------------===//
//
// Whole characters only, stop tokens, and stop strings that begin in one token and
// end in another.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/TextStream.h"
#include "TestInputs.h"
#include "runtime/text/Unicode.h"
#include <gtest/gtest.h>

using namespace qplan::text;

namespace {

Tokenizer load(const std::string &name) {
  Result<Tokenizer> tokenizer = Tokenizer::load(inputPath(name));
  EXPECT_TRUE(tokenizer);
  return std::move(*tokenizer);
}

Tokenizer small() { return std::move(*Tokenizer::parse(smallTokenizer().dump(), "t.json")); }

/// What each push shows, with '|' behind each, and what finish shows.
std::string shown(const Tokenizer &tokenizer, const std::vector<int32_t> &ids, StopRule stop) {
  TextStream stream(tokenizer, std::move(stop));
  std::string out;
  for (int32_t id : ids)
    out += *stream.push(id) + "|";
  return out + *stream.finish() + (stream.stopped() ? "!" : "");
}

TEST(TextStream, ShowsWholeCharactersOnly) {
  for (const char *name : {"tokenizers/gpt2.json", "tokenizers/sentencepiece.json"}) {
    Tokenizer tokenizer = load(name);
    std::string text = "x \U0001F468\u200D\U0001F469 𠀀é y";
    TextStream stream(tokenizer, {});
    std::string all;
    std::vector<int32_t> ids = *tokenizer.encode(text);
    for (int32_t id : ids) {
      std::string part = *stream.push(id);
      EXPECT_TRUE(isValidUtf8(part));
      EXPECT_EQ(part.find(replacementCharacter), std::string::npos);
      all += part;
    }
    EXPECT_EQ(all + *stream.finish(), text) << name;
  }
}

TEST(TextStream, FinishesAnUnfinishedCharacter) {
  Tokenizer tokenizer = load("tokenizers/gpt2.json");
  std::vector<int32_t> ids = *tokenizer.encode("\U00020000");
  ids.pop_back();
  std::string out = shown(tokenizer, ids, {});
  EXPECT_TRUE(out.ends_with(replacementCharacter)) << out;
}

TEST(TextStream, DropsALeadingSpaceOnceOnly) {
  Tokenizer tokenizer = load("tokenizers/sentencepiece.json");
  std::vector<int32_t> ids = *tokenizer.encode(" a  b c");
  TextStream stream(tokenizer, {});
  std::string all;
  for (int32_t id : ids)
    all += *stream.push(id);
  EXPECT_EQ(all + *stream.finish(), " a  b c");
}

TEST(TextStream, EndsAtAStopToken) {
  EXPECT_EQ(shown(small(), {0, 4, 1}, {{4}, {}, false}), "a|||!");
}

TEST(TextStream, EndsBeforeAStopStringAcrossTokens) {
  Tokenizer tokenizer = small();
  EXPECT_EQ(shown(tokenizer, {0, 1, 2, 0}, {{}, {"bc"}, false}), "a||||!");
  EXPECT_EQ(shown(tokenizer, {2, 3, 2}, {{}, {"bc", "abc"}, false}), "c|||!");
}

TEST(TextStream, ReleasesWhatWasNoStopString) {
  EXPECT_EQ(shown(small(), {0, 1, 1, 2}, {{}, {"abc", "bbb"}, false}), "||a|bbc|");
  EXPECT_EQ(shown(small(), {0, 1}, {{}, {"abc"}, false}), "||ab");
}

TEST(TextStream, FindsTheEarliestStopString) {
  EXPECT_EQ(shown(small(), {2, 3, 2}, {{}, {"bc", "ab"}, false}), "c|||!");
}

TEST(TextStream, FreesTheHeldTextAtAStopToken) {
  EXPECT_EQ(shown(small(), {0, 4}, {{4}, {"abc"}, false}), "|a|!");
}

TEST(TextStream, SkipsSpecialTokensWhenTold) {
  EXPECT_EQ(shown(small(), {0, 4, 5, 1}, {{}, {}, true}), "a||<t>|b|");
}

} // namespace
