//===- Recipe.h - which site gets which treatment ---------------*- C++ -*-===//
//
// The recipe is the only thing that passes from the search (or a person) to the
// compiler. Text, one decision a line:
//
//   qplan-recipe 1
//   model: 5f0c...                      hash of the checkpoint
//   sites: layers, lm_head              what is in scope
//   groups: qkv, gate_up                sites tied together
//   experts: single                     experts are sites, not their banks
//   rotate: residual+values             Hadamard rotations of the model
//   kv-cache: int8                      format of cached keys and values
//   constraints: effective-bits=4.8     what the search was asked for
//   statistics: 91ab...                 hash of the statistics it used
//   totals: effective-bits=4.7961, score=0.0123
//
//   layers.*.mlp.down = int4_g64@mse    # the most specific match wins
//
// Every header line but the first may be absent; `#` starts a comment.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_RECIPE_H
#define QPLAN_PASSES_SEARCH_RECIPE_H

#include "passes/search/SiteGlob.h"
#include "passes/search/Treatment.h"

#include <string>
#include <utility>
#include <vector>

namespace qplan {

/// Named values of a header line, in the order written.
using RecipeFacts = std::vector<std::pair<std::string, std::string>>;

/// What a recipe says of itself. Empty members are not written. Values hold no
/// comma, `#`, line end, or blank at either end; printRecipe's text is then read back
/// to an equal header.
struct RecipeHeader {
  std::string modelHash;           ///< Checkpoint::contentHash() of the model
  std::vector<std::string> scopes; ///< "layers", "lm_head", "embedding"
  std::vector<std::string> groups; ///< "qkv", "gate_up"
  bool singleExperts = false;      ///< every expert of a mixture is a site, not every bank
  std::string rotate;              ///< Rotations::text()
  std::string kvCache;             ///< what --kv-cache takes
  RecipeFacts constraints;         ///< "effective-bits" -> "4.8"
  std::string statisticsHash;      ///< statisticsHash() of the statistics used
  RecipeFacts totals;              ///< "effective-bits" -> "4.7961"

  bool operator==(const RecipeHeader &) const = default;
};

/// One `site-glob = treatment` line.
struct RecipeRule {
  SiteGlob glob;
  Treatment treatment;
  unsigned line = 0; ///< 1-based line in the file; 0 when it was not read
};

/// A site with its treatment.
struct SiteTreatment {
  std::string site;
  Treatment treatment;
};

/// A recipe: header and rules in the order written.
struct Recipe {
  RecipeHeader header;
  std::vector<RecipeRule> rules;
  std::string file = "recipe"; ///< name used in messages

  /// The treatment of every site of `sites`, in that order. Errors (invalid input),
  /// with file and line: a site that no rule matches, a rule that matches no site
  /// (nearest site named), two most specific matches of equal rank.
  llvm::Expected<std::vector<Treatment>> resolve(llvm::ArrayRef<std::string> sites) const;

  /// An error unless `modelHash` is absent here or equal to `hash`.
  llvm::Error checkModel(llvm::StringRef hash) const;
};

/// One line for each site, in the order given (import order keeps recipes stable).
/// Errors (defect): a name that is no site name, a site given twice.
llvm::Expected<Recipe> recipeFor(RecipeHeader header, llvm::ArrayRef<SiteTreatment> assignment);

/// Parses recipe text; `file` is used in messages. Errors (invalid input) name file and
/// line: unknown version or header key, repeated header or pattern, bad pattern or treatment.
llvm::Expected<Recipe> parseRecipe(llvm::StringRef text, llvm::StringRef file);

/// The canonical text: parseRecipe(printRecipe(r)) prints the same bytes.
std::string printRecipe(const Recipe &recipe);

/// Reads a file of at most 256 MiB. A missing file is invalid input.
llvm::Expected<Recipe> readRecipe(llvm::StringRef path);

/// Writes aside and renames; a failure is a machine failure and leaves no file.
llvm::Error writeRecipe(const Recipe &recipe, llvm::StringRef path);

} // namespace qplan
#endif // QPLAN_PASSES_SEARCH_RECIPE_H
