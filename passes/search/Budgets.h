//===- Budgets.h - what a search must keep within ---------------*- C++ -*-===//
//
// The constraints of the command line, in any mix, and the choice that is best under
// them. The damage is what is minimised; where the damage itself is bounded (--max-kl) it is the
// size (with the cache, where its format is chosen too), or, where the size is bounded too and
// times are known, the time of a decode step.
// Pure functions of what the search found (Front.h): no model, no IR.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_BUDGETS_H
#define QPLAN_PASSES_SEARCH_BUDGETS_H

#include "passes/search/Front.h"
#include "passes/search/Recipe.h"

namespace qplan {

/// Upper bounds; all that are given hold at once. Each is an option of its own name.
struct Budgets {
  std::optional<double> effectiveBits = {}; ///< stored bits for each weight in scope
  std::optional<double> modeloptBits = {};  ///< the same, counted as ModelOpt counts
  std::optional<int64_t> weightBytes = {};  ///< stored for all weights in scope
  std::optional<int64_t> memoryBytes = {};  ///< those and a cache of SearchFront::context tokens
  std::optional<double> decodeMs = {};      ///< one decode step, the rest of the model included
  std::optional<double> maxKl = {};         ///< predicted divergence, nats

  bool any() const {
    return effectiveBits || modeloptBits || weightBytes || memoryBytes || decodeMs || maxKl;
  }
  /// Whether the format of the cache makes a difference to any of them.
  bool countCache() const { return memoryBytes || decodeMs || maxKl; }
  /// A usage error naming the budgets unless the format of a cache can be chosen by them.
  llvm::Error checkCountCache() const;
  /// "effective-bits" -> "4.8", ... of those that are given.
  RecipeFacts facts() const;
  bool operator==(const Budgets &) const = default;
};

/// "300M" -> 300,000,000: a number with K, M, G (powers of 1000), Ki, Mi, Gi (of 1024) or
/// nothing behind it. Errors (wrong usage) name `option`.
llvm::Expected<int64_t> parseByteCount(llvm::StringRef option, llvm::StringRef text);

/// The best choice within `budgets`, which hold at least one. Errors (wrong usage): nothing
/// fits (says what could be reached, and by what), a budget in decode time of a front without
/// times, one in ModelOpt's bits of candidates that ModelOpt lacks, one in memory of a front
/// without caches, several caches and no budget that counts them, more budgets than the solver
/// takes.
llvm::Expected<FrontPoint> chooseWithin(const SearchFront &front, const Budgets &budgets);

/// Whether chooseWithin() minimises time: damage and a size are bounded, and times are known.
bool minimisesTime(const SearchFront &front, const Budgets &budgets);

/// Whether the choice of `point` keeps all budgets.
bool keepsWithin(const SearchFront &front, const FrontPoint &point, const Budgets &budgets);

/// The best trade-offs of memory (without caches: of bits) against divergence (and against decode
/// time, where it is known), at most `most` of them, by rising memory: none is worse than another
/// in every respect. At least the smallest choice and the least damaging one are there.
llvm::Expected<std::vector<FrontPoint>> tradeOffs(const SearchFront &front, size_t most);

/// The recipe of a choice, with the front's identity and the point's sums in its header.
llvm::Expected<Recipe> searchRecipe(const SearchFront &front, const FrontPoint &point,
                                    const Budgets &budgets);

} // namespace qplan
#endif // QPLAN_PASSES_SEARCH_BUDGETS_H
