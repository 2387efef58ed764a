//===- RecipeTest.cpp - recipe text and its resolution --------------------===//

#include "passes/search/Recipe.h"

#include "ir/Failure.h"

#include <gtest/gtest.h>
#include <llvm/Support/FileSystem.h>

using namespace qplan;

namespace {

std::string messageOf(llvm::Error error) { return llvm::toString(std::move(error)); }

const char *full = "qplan-recipe 1\n"
                   "model: 0123456789abcdef\n"
                   "sites: layers, lm_head\n"
                   "groups: qkv, gate_up\n"
                   "kv-cache: int8\n"
                   "constraints: effective-bits=4.8, activations=any\n"
                   "statistics: fedcba9876543210\n"
                   "totals: effective-bits=4.7961, score=0.0123\n"
                   "\n"
                   "layers.0.attn.q = int4_g64@mse\n"
                   "layers.0.mlp.down = int8a8@smoothquant{alpha=0.6}\n"
                   "* = int4_g128a8\n";

Recipe parsed(llvm::StringRef text) {
  auto recipe = parseRecipe(text, "r.txt");
  EXPECT_TRUE(bool(recipe)) << messageOf(recipe.takeError());
  return std::move(*recipe);
}

/// The treatments of `sites` as text, or the error.
std::string resolved(llvm::StringRef text, std::vector<std::string> sites) {
  auto treatments = parsed(text).resolve(sites);
  if (!treatments)
    return messageOf(treatments.takeError());
  std::string result;
  for (const Treatment &each : *treatments)
    result += (result.empty() ? "" : " ") + printTreatment(each);
  return result;
}

std::string parseMessage(llvm::StringRef text) {
  auto recipe = parseRecipe(text, "r.txt");
  return recipe ? "no error" : messageOf(recipe.takeError());
}

} // namespace

TEST(Recipe, RoundTripIsExact) {
  Recipe recipe = parsed(full);
  EXPECT_EQ(printRecipe(recipe), full);
  EXPECT_EQ(recipe.header.modelHash, "0123456789abcdef");
  EXPECT_EQ(recipe.header.scopes, (std::vector<std::string>{"layers", "lm_head"}));
  ASSERT_EQ(recipe.header.constraints.size(), 2u);
  EXPECT_EQ(recipe.header.constraints[0].second, "4.8");
  ASSERT_EQ(recipe.rules.size(), 3u);
  EXPECT_EQ(recipe.header.kvCache, "int8");
  EXPECT_EQ(recipe.rules[1].line, 11u);
}

TEST(Recipe, TellsWhatIsRotated) {
  EXPECT_EQ(parsed(full).header.rotate, "");
  std::string rotated = "qplan-recipe 1\nrotate: residual+down\n\nlayers.0.mlp.down = int8\n";
  EXPECT_EQ(printRecipe(parsed(rotated)), rotated);
  EXPECT_EQ(parsed("qplan-recipe 1\nrotate: all\n").header.rotate, "residual+values+down");
  EXPECT_NE(parseMessage("qplan-recipe 1\nrotate: up\n")
                .find("rotations 'up': `up` is none of residual, values, down"),
            std::string::npos);
}

TEST(Recipe, TellsWhetherExpertsAreSites) {
  EXPECT_FALSE(parsed(full).header.singleExperts);
  std::string single = "qplan-recipe 1\nexperts: single\n\nlayers.0.mlp.experts.down = int8\n";
  EXPECT_TRUE(parsed(single).header.singleExperts);
  EXPECT_EQ(printRecipe(parsed(single)), single);
  EXPECT_NE(parseMessage("qplan-recipe 1\nexperts: both\n").find("write 'experts: single'"),
            std::string::npos);
  // Names of the other form.
  const char *advice = "every expert is a site, else every bank";
  std::string bank = "layers.0.mlp.experts.down", expert = "layers.0.mlp.experts.1.down";
  for (std::string rest : {"", "* = int4\n"}) {
    EXPECT_NE(resolved(single + rest, {expert}).find(advice), std::string::npos);
    EXPECT_NE(resolved("qplan-recipe 1\n" + rest + expert + " = int8\n", {bank}).find(advice),
              std::string::npos);
  }
}

TEST(Recipe, ReadsCommentsBlanksAndLineEnds) {
  Recipe recipe =
      parsed("# by hand\r\n\r\n  qplan-recipe 1  # version\r\n\tlm_head=fp8#x\r\n*= w4");
  EXPECT_EQ(printRecipe(recipe), "qplan-recipe 1\n\nlm_head = fp8_e4m3\n* = int4_g128\n");
}

TEST(Recipe, WritesOneLineForEachSiteInOrder) {
  Treatment treatment = *parseTreatment("int8");
  auto recipe = recipeFor({}, {{"layers.10.up", treatment}, {"layers.2.up", treatment}});
  ASSERT_TRUE(bool(recipe));
  EXPECT_EQ(printRecipe(*recipe), "qplan-recipe 1\n\nlayers.10.up = int8\nlayers.2.up = int8\n");
  EXPECT_EQ(printRecipe(parsed(printRecipe(*recipe))), printRecipe(*recipe));
}

TEST(Recipe, RefusesToWriteTheSameSiteTwice) {
  Treatment treatment = *parseTreatment("int8");
  auto twice = recipeFor({}, {{"a", treatment}, {"a", treatment}});
  EXPECT_NE(messageOf(twice.takeError()).find("assigned twice"), std::string::npos);
  auto pattern = recipeFor({}, {{"a.*", treatment}});
  EXPECT_NE(messageOf(pattern.takeError()).find("no site name"), std::string::npos);
}

TEST(Recipe, MostSpecificMatchWins) {
  const char *text = "qplan-recipe 1\n"
                     "* = int4_g128\n"
                     "layers.*.down = int4_g64\n"
                     "layers.0.* = int4_g32\n"
                     "layers.0.mlp.down = int8\n";
  EXPECT_EQ(resolved(text, {"layers.0.mlp.down", "layers.1.mlp.down", "layers.0.up", "x"}),
            "int8 int4_g64 int4_g32 int4_g128");
}

TEST(Recipe, TwoEqualMatchesAreAnError) {
  const char *text = "qplan-recipe 1\n"
                     "layers.*.mlp.up = int8\n"
                     "layers.1.*lp.up = int4_g64\n";
  EXPECT_EQ(resolved(text, {"layers.1.mlp.up"}),
            "r.txt:3: site 'layers.1.mlp.up' is matched equally well by 'layers.1.*lp.up' and by "
            "'layers.*.mlp.up' of r.txt:2; make one of them more specific");
  // An exact line settles it.
  EXPECT_EQ(resolved(std::string(text) + "layers.1.mlp.up = fp8\n", {"layers.1.mlp.up"}),
            "fp8_e4m3");
}

TEST(Recipe, AnOverriddenPatternCountsAsUsed) {
  EXPECT_EQ(resolved("qplan-recipe 1\n* = int8\na = fp8\n", {"a"}), "fp8_e4m3");
}

TEST(Recipe, UnmatchedSitesAndLinesAreErrors) {
  EXPECT_EQ(resolved("qplan-recipe 1\na = int8\n", {"a", "b.c"}),
            "r.txt: no line matches the site 'b.c'; add 'b.c = TREATMENT', or '* = TREATMENT' for "
            "all the others");
  EXPECT_EQ(resolved("qplan-recipe 1\n* = int8\nlayers.0.mlp.dwn = fp8\n", {"layers.0.mlp.down"}),
            "r.txt:3: 'layers.0.mlp.dwn' matches no site of this model (nearest: "
            "layers.0.mlp.down); `qplan inspect` lists them");
}

TEST(Recipe, ErrorsNameFileAndLine) {
  EXPECT_EQ(parseMessage(""), "r.txt:0: the first line is '', expected 'qplan-recipe 1'");
  EXPECT_NE(parseMessage("qplan-recipe 2\n").find("r.txt:1: recipe version"), std::string::npos);
  auto after = [](const char *line) {
    return parseMessage(std::string("qplan-recipe 1\n") + line + "\n");
  };
  EXPECT_NE(
      after("modle: x").find("r.txt:2: header line 'modle' is not known; did you mean 'model'?"),
      std::string::npos);
  EXPECT_NE(after("model: x\nmodel: y").find("r.txt:3: the header line 'model' occurs twice"),
            std::string::npos);
  EXPECT_NE(after("model:").find("has no value"), std::string::npos);
  EXPECT_NE(after("model: a b").find("expected one word"), std::string::npos);
  EXPECT_NE(after("groups: a,,b").find("is empty"), std::string::npos);
  EXPECT_NE(after("totals: bits").find("no name=value"), std::string::npos);
  EXPECT_NE(after("just words").find("neither"), std::string::npos);
  EXPECT_NE(after("a = int9").find("r.txt:2: treatment 'int9'"), std::string::npos);
  EXPECT_NE(after("a[ = int8").find("r.txt:2: pattern 'a['"), std::string::npos);
  EXPECT_NE(after("a = int8\na = int8").find("r.txt:3: 'a' has a treatment already in line 2"),
            std::string::npos);
  EXPECT_NE(after("a = int8\nmodel: x").find("comes after site lines"), std::string::npos);
}

TEST(Recipe, ParseErrorsAreInvalidInput) {
  llvm::handleAllErrors(
      parseRecipe("qplan-recipe 1\na = int9\n", "r").takeError(),
      [](const Failure &failure) { EXPECT_EQ(failure.exitStatus(), ExitStatus::InvalidInput); });
}

TEST(Recipe, BelongsToOneModelUnlessItNamesNone) {
  EXPECT_FALSE(bool(parsed("qplan-recipe 1\n* = int8\n").checkModel("x")));
  Recipe recipe = parsed(full);
  EXPECT_FALSE(bool(recipe.checkModel("0123456789abcdef")));
  EXPECT_NE(messageOf(recipe.checkModel("x")).find("made for the model 0123456789abcdef"),
            std::string::npos);
}

TEST(Recipe, FilesAreReadBackAndLeaveNothingAside) {
  llvm::SmallString<128> folder;
  ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("qplan-recipe", folder));
  std::string path = (folder + "/r.txt").str();
  ASSERT_FALSE(bool(writeRecipe(parsed(full), path)));
  auto again = readRecipe(path);
  ASSERT_TRUE(bool(again)) << messageOf(again.takeError());
  EXPECT_EQ(printRecipe(*again), full);
  EXPECT_NE(messageOf(writeRecipe(*again, path + "/x")).find("cannot write this recipe"),
            std::string::npos);
  EXPECT_NE(messageOf(readRecipe((folder + "/none").str()).takeError()).find("cannot read"),
            std::string::npos);
  EXPECT_NE(messageOf(readRecipe(folder).takeError()).find("no regular file"), std::string::npos);
  std::error_code code;
  int entries = 0;
  for (llvm::sys::fs::directory_iterator at(folder, code), end; !code && at != end;
       at.increment(code))
    ++entries;
  EXPECT_EQ(entries, 1);
  (void)llvm::sys::fs::remove_directories(folder);
}
