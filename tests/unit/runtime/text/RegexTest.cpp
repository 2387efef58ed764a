//===- RegexTest.cpp - Oniguruma's patterns on ICU ------------------------===//
//
// What is rewritten, what is refused, and that no pattern runs for ever.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/Regex.h"
#include <gtest/gtest.h>

using namespace qplan::text;

namespace {

/// The parts of `text`, matches in angle brackets.
std::string cut(const std::string &pattern, const std::string &text) {
  Result<Regex> regex = Regex::compile(pattern);
  if (!regex)
    return regex.failure().message;
  std::vector<Span> spans;
  if (Status status = Regex::Matcher(*regex).cut(text, spans))
    return status->message;
  std::string out;
  for (const Span &span : spans) {
    std::string part = text.substr(span.begin, span.end - span.begin);
    out += span.matched ? "<" + part + ">" : part;
  }
  return out;
}

std::string translated(const std::string &pattern) {
  Result<std::string> result = translateOniguruma(pattern);
  return result ? *result : result.failure().message;
}

TEST(Regex, CutsOutsideTheFirstPlane) {
  EXPECT_EQ(cut("b+", "\U0001F600b\U00020000é" "bb"), "\U0001F600<b>\U00020000é<bb>");
}

TEST(Regex, SeesLinesAsOniguruma) {
  EXPECT_EQ(cut("a$", "a\nba"), "<a>\nb<a>");
  EXPECT_EQ(cut("a.b", "a\rb a\nb"), "<a\rb> a\nb");
}

TEST(Regex, HasNoJoinersAmongWordCharacters) {
  EXPECT_EQ(cut("\\w+", "a\u200Db"), "<a>\u200D<b>");
  EXPECT_EQ(cut("[\\w-]+", "a-b\u200Cc"), "<a-b>\u200C<c>");
}

TEST(Regex, ReadsBracesAndOperatorsAsOniguruma) {
  EXPECT_EQ(cut("a{x", "a{x"), "<a{x>");
  EXPECT_EQ(cut("a{,2}b", "aab"), "<aab>");
  EXPECT_EQ(cut("[a&-]+", "a&-b"), "<a&->b");
  EXPECT_EQ(cut("[a-c&&[^b]]+", "abc"), "<a>b<c>");
  EXPECT_EQ(cut("[()|.]+", "(|).x"), "<(|).>x");
  EXPECT_EQ(cut("[\\s-a]+", "b -a"), "b< -a>");
  EXPECT_EQ(cut("[[:alpha:]]+", "ab1"), "<ab>1");
  EXPECT_EQ(cut("\\h+", "xaF9g"), "x<aF9>g");
}

TEST(Regex, RefusesWhatItCannotTranslate) {
  EXPECT_EQ(translated("a\\"), "a backslash ends the pattern in the pattern 'a\\'");
  EXPECT_EQ(translated("(?m:a)"), "the inline flag 'm' is not supported in the pattern '(?m:a)'");
  EXPECT_EQ(translated("a\\K"), "\\K is not supported in the pattern 'a\\K'");
  EXPECT_EQ(translated("a{2}+"),
            "a '+' behind a counted repetition is not supported in the pattern 'a{2}+'");
  EXPECT_EQ(translated("[a"), "a character class is not closed in the pattern '[a'");
  EXPECT_EQ(translated("\\p{L"), "a brace is not closed in the pattern '\\p{L'");
}

TEST(Regex, GivesUpOnEndlessBacktracking) {
  std::string message = cut("(a+)+$", std::string(40, 'a') + "b");
  EXPECT_NE(message.find("too much time or memory"), std::string::npos) << message;
}

TEST(Regex, TakesLongRuns) {
  std::string spaces(300000, ' ');
  EXPECT_EQ(cut("\\s+(?!\\S)|\\s+", spaces + "x"),
            "<" + spaces.substr(1) + "><" + " " + ">x");
}

TEST(Regex, MatchesLiteralTexts) {
  Result<Regex> regex = Regex::literal("a.");
  ASSERT_TRUE(regex);
  std::vector<Span> spans;
  EXPECT_FALSE(Regex::Matcher(*regex).cut("aba.a.", spans));
  ASSERT_EQ(spans.size(), 3u);
  EXPECT_EQ(spans[1].begin, 2u);
  EXPECT_FALSE(Regex::literal(""));
}

} // namespace
