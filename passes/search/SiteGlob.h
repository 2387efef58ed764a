//===- SiteGlob.h - patterns over site names --------------------*- C++ -*-===//
//
// A pattern of a recipe line: `*` matches any run of characters (dots included),
// `?` one character, `[a-z0]` one of a class, everything else itself. Matching is
// linear in the name for each `*`, never exponential. This file also decides which of two
// matching patterns is the more specific one.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_SITEGLOB_H
#define QPLAN_PASSES_SEARCH_SITEGLOB_H

#include <bitset>
#include <compare>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <string>
#include <vector>

namespace qplan {

/// Whether `name` can name a site: dotted components of letters, digits, `_`, `-`.
bool isSiteName(llvm::StringRef name);

/// The bank of the expert that `site` names: "layers.3.mlp.experts.down" for
/// "layers.3.mlp.experts.17.down". Other names are their own.
std::string bankOf(llvm::StringRef site);

/// How narrow a pattern is, compared in this order: a name without wildcards beats
/// every pattern; then more literal characters; then more single-character
/// wildcards (`?` and classes). Equal values are a tie.
struct GlobSpecificity {
  bool exact = false;
  unsigned literals = 0;
  unsigned singles = 0;
  auto operator<=>(const GlobSpecificity &) const = default;
};

/// A parsed pattern. Immutable; safe to use from several threads.
class SiteGlob {
public:
  /// Errors (invalid input, without a position): empty pattern, a character that
  /// no site name has, an unclosed or empty class, a class range backwards.
  static llvm::Expected<SiteGlob> parse(llvm::StringRef pattern);

  bool matches(llvm::StringRef site) const;
  GlobSpecificity specificity() const { return rank; }
  bool isExact() const { return rank.exact; }
  /// The pattern as it was written.
  const std::string &text() const { return pattern; }

private:
  /// One position of the pattern: a run (`*`) or a set of characters.
  struct Piece {
    bool run = false;
    std::bitset<128> characters;
  };
  std::string pattern;
  std::vector<Piece> pieces;
  GlobSpecificity rank;
};

} // namespace qplan
#endif // QPLAN_PASSES_SEARCH_SITEGLOB_H
