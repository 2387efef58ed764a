//===- ConvertedFilesTest.cpp - GGUF files against their originals --------===//
//
// The files of tests/Inputs/gguf were made from zoo folders. A file whose matrices
// are rounded must give what the folder gives after the same rounding.
//
//===----------------------------------------------------------------------===//

#include "EvalTesting.h"

#include "passes/Sites.h"

using namespace qplan;
using namespace qplan::test;

namespace {

struct Converted {
  const char *file, *folder;
};

class ConvertedFiles : public testing::TestWithParam<Converted> {};

/// The formats in which `file` stores its matrices, as a recipe.
Recipe storedFormats(Model &file) {
  SiteScope scope = llvm::cantFail(parseScope("layers+lm_head+embedding"));
  std::vector<SiteTreatment> stored;
  for (const Site &site : collectSites(*file.module))
    if (scope.contains(site))
      stored.push_back({site.name, Treatment{site.stored, std::nullopt, Method::Max, {}}});
  RecipeHeader header;
  header.scopes = {"layers", "lm_head", "embedding"};
  return llvm::cantFail(recipeFor(header, stored));
}

} // namespace

TEST_P(ConvertedFiles, GiveTheLogitsOfTheirOriginals) {
  Golden golden(GetParam().folder);
  Model file(inputPath(std::string("gguf/") + GetParam().file + ".gguf"));
  Model folder(inputPath(std::string("zoo/") + GetParam().folder));
  ASSERT_TRUE(file.module && folder.module);
  Recipe recipe = storedFormats(file);
  PassInputs inputs;
  inputs.recipe = &recipe;
  folder.quantize("", "layers+lm_head+embedding", inputs);
  EvalRows expected = folder.run(golden.ids);
  EXPECT_LE(distance(file.run(golden.ids).values, expected.values), 1e-4);
  // Importing and rounding took place: the rounded folder is near, and not at, the golden logits.
  double moved = distance(expected.values, golden.logits);
  EXPECT_LE(moved, 3.0);
  if (!llvm::StringRef(GetParam().file).ends_with("f32")) {
    EXPECT_GE(moved, 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(, ConvertedFiles,
                         testing::Values(Converted{"llama_gqa-f32", "llama_gqa"},
                                         Converted{"llama_gqa-mixed", "llama_gqa"},
                                         Converted{"internlm_like-f16", "internlm_like"},
                                         Converted{"qwen2-bf16", "qwen2"},
                                         Converted{"gpt2-q8_0", "gpt2"},
                                         Converted{"mixtral-q4_0", "mixtral"}),
                         [](const auto &info) {
                           std::string name = info.param.file;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(KQuants, Run) {
  Model file(inputPath("gguf/llama-k_quants.gguf"));
  EvalRows logits = file.run({{1, 5, 9}, {3}});
  ASSERT_EQ(logits.rows, 4);
  for (float value : logits.values)
    ASSERT_TRUE(std::isfinite(value));
}
