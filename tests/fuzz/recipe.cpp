//===- recipe.cpp - fuzz target of the recipe reader ----------------------===//
//
// Whatever is accepted must print as text that is accepted again and prints the same.
//
//===----------------------------------------------------------------------===//
#include "passes/search/Recipe.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  using namespace qplan;
  auto recipe = parseRecipe({reinterpret_cast<const char *>(data), size}, "fuzz");
  if (!recipe) {
    llvm::consumeError(recipe.takeError());
    return 0;
  }
  std::string text = printRecipe(*recipe);
  auto again = parseRecipe(text, "again");
  if (!again || printRecipe(*again) != text)
    std::abort();
  static const std::vector<std::string> sites = {"layers.0.attn.q", "layers.0.mlp.down", "lm_head"};
  auto treatments = recipe->resolve(sites);
  if (!treatments)
    llvm::consumeError(treatments.takeError());
  return 0;
}
