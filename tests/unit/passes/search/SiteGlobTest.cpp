//===- SiteGlobTest.cpp - patterns over site names ------------------------===//

#include "passes/search/SiteGlob.h"

#include <gtest/gtest.h>

using namespace qplan;

namespace {

std::string messageOf(llvm::Error error) { return llvm::toString(std::move(error)); }

SiteGlob glob(llvm::StringRef pattern) {
  auto result = SiteGlob::parse(pattern);
  EXPECT_TRUE(bool(result)) << messageOf(result.takeError());
  return std::move(*result);
}

bool matches(llvm::StringRef pattern, llvm::StringRef site) { return glob(pattern).matches(site); }

} // namespace

TEST(SiteGlob, StarMatchesAnyRunDotsIncluded) {
  EXPECT_TRUE(matches("*", "layers.0.mlp.down"));
  EXPECT_TRUE(matches("layers.*.down", "layers.3.mlp.experts.17.down"));
  EXPECT_TRUE(matches("layers.*", "layers."));
  EXPECT_TRUE(matches("*down*", "layers.0.mlp.down"));
  EXPECT_TRUE(matches("l*s.*.m*p.d*n", "layers.3.mlp.down"));
  EXPECT_FALSE(matches("layers.*.up", "layers.3.mlp.down"));
  EXPECT_FALSE(matches("layers.*.down", "layers.3.mlp.down.x"));
}

TEST(SiteGlob, SingleCharacterWildcardsMatchOne) {
  EXPECT_TRUE(matches("layers.?.mlp.up", "layers.7.mlp.up"));
  EXPECT_FALSE(matches("layers.?.mlp.up", "layers.17.mlp.up"));
  EXPECT_TRUE(matches("layers.[0-37].mlp.up", "layers.7.mlp.up"));
  EXPECT_FALSE(matches("layers.[0-37].mlp.up", "layers.5.mlp.up"));
  EXPECT_TRUE(matches("a[x-]", "a-"));
}

TEST(SiteGlob, ExactNamesMatchThemselvesOnly) {
  EXPECT_TRUE(matches("lm_head", "lm_head"));
  EXPECT_FALSE(matches("lm_head", "lm_heads"));
  EXPECT_FALSE(matches("lm_head", ""));
}

TEST(SiteGlob, ManyStarsTakeNoExponentialTime) {
  std::string pattern, site(5000, 'a');
  for (int i = 0; i < 500; ++i)
    pattern += "a*";
  EXPECT_FALSE(matches(pattern + "b", site));
  EXPECT_TRUE(matches(pattern, site));
}

TEST(SiteGlob, MoreLiteralsAreMoreSpecific) {
  EXPECT_LT(glob("*").specificity(), glob("layers.*").specificity());
  EXPECT_LT(glob("layers.*").specificity(), glob("layers.*.down").specificity());
  EXPECT_LT(glob("layers.*.down").specificity(), glob("layers.?.*.down").specificity());
  EXPECT_LT(glob("layers.0.mlp.dow?").specificity(), glob("a").specificity());
  EXPECT_EQ(glob("layers.0.*").specificity(), glob("layers.1.*").specificity());
}

TEST(SiteGlob, RefusesBadPatterns) {
  for (auto [pattern, part] : {std::pair("", "empty"),
                               {"a b", "in no site name"},
                               {"a[", "without ']'"},
                               {"a[]", "empty"},
                               {"a[9-0]", "backwards"},
                               {"a[!]", "no site name has"},
                               {"a{b}", "in no site name"},
                               {"caf\xc3\xa9", "in no site name"}}) {
    auto result = SiteGlob::parse(pattern);
    ASSERT_FALSE(bool(result)) << pattern;
    std::string message = messageOf(result.takeError());
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

TEST(SiteGlob, KnowsTheBankOfAnExpert) {
  EXPECT_EQ(bankOf("layers.3.mlp.experts.17.down"), "layers.3.mlp.experts.down");
  for (const char *name : {"layers.3.mlp.experts.down", "layers.3.mlp.down", "lm_head", "",
                           "layers.3.mlp.experts.17", "layers.3.mlp.experts.a1.down"})
    EXPECT_EQ(bankOf(name), name);
}

TEST(SiteGlob, KnowsSiteNames) {
  EXPECT_TRUE(isSiteName("layers.3.mlp.experts.17.down"));
  EXPECT_TRUE(isSiteName("lm_head"));
  for (const char *name : {"", ".a", "a.", "a..b", "a b", "a*"})
    EXPECT_FALSE(isSiteName(name)) << name;
}
