//===- SiteGlob.cpp - patterns over site names ----------------------------===//

#include "passes/search/SiteGlob.h"

#include "ir/Failure.h"

#include <llvm/ADT/StringExtras.h>

namespace qplan {
namespace {

bool isSiteCharacter(char c) { return llvm::isAlnum(c) || c == '_' || c == '-' || c == '.'; }

/// Reads the inside of `[...]` into a set.
llvm::Error parseClass(llvm::StringRef inside, llvm::StringRef pattern, std::bitset<128> &set) {
  if (inside.empty())
    return inputError("pattern '{}': the class '[]' is empty", pattern.str());
  for (size_t at = 0; at < inside.size(); ++at) {
    unsigned char first = inside[at], last = first;
    if (at + 2 < inside.size() && inside[at + 1] == '-') {
      last = inside[at + 2];
      at += 2;
    }
    if (!isSiteCharacter(first) || !isSiteCharacter(last))
      return inputError("pattern '{}': the class '[{}]' holds a character that no site name has",
                        pattern.str(), inside.str());
    if (first > last)
      return inputError("pattern '{}': the range '{}-{}' runs backwards", pattern.str(),
                        static_cast<char>(first), static_cast<char>(last));
    for (unsigned c = first; c <= last; ++c)
      set.set(c);
  }
  return llvm::Error::success();
}

} // namespace

bool isSiteName(llvm::StringRef name) {
  if (name.empty() || name.front() == '.' || name.back() == '.' || name.contains(".."))
    return false;
  return llvm::all_of(name, isSiteCharacter);
}

std::string bankOf(llvm::StringRef site) {
  auto [layer, rest] = site.split(".experts.");
  auto [number, name] = rest.split('.');
  if (number.empty() || name.empty() || !llvm::all_of(number, llvm::isDigit))
    return site.str();
  return (layer + ".experts." + name).str();
}

llvm::Expected<SiteGlob> SiteGlob::parse(llvm::StringRef pattern) {
  if (pattern.empty())
    return inputError("a pattern is empty; expected a site such as layers.0.mlp.down, or layers.*");
  SiteGlob glob;
  glob.pattern = pattern.str();
  glob.rank.exact = true;
  for (size_t at = 0; at < pattern.size(); ++at) {
    char c = pattern[at];
    Piece piece;
    if (c == '*') {
      piece.run = true;
    } else if (c == '?') {
      piece.characters.set();
    } else if (c == '[') {
      size_t close = pattern.find(']', at);
      if (close == llvm::StringRef::npos)
        return inputError("pattern '{}': '[' without ']'", pattern.str());
      if (auto error = parseClass(pattern.slice(at + 1, close), pattern, piece.characters))
        return std::move(error);
      at = close;
    } else if (isSiteCharacter(c)) {
      piece.characters.set(static_cast<unsigned char>(c));
    } else {
      return inputError(
          "pattern '{}': '{}' is in no site name; expected letters, digits, '_', '-', "
          "'.', or the wildcards '*', '?', '[...]'",
          pattern.str(), llvm::isPrint(c) ? c : '?');
    }
    bool literal = !piece.run && c != '?' && c != '[';
    glob.rank.literals += literal;
    glob.rank.singles += !piece.run && !literal;
    glob.rank.exact &= literal;
    // Two runs in a row match what one does.
    if (!(piece.run && !glob.pieces.empty() && glob.pieces.back().run))
      glob.pieces.push_back(piece);
  }
  return glob;
}

bool SiteGlob::matches(llvm::StringRef site) const {
  if (isExact())
    return site == pattern;
  // Greedy matching with one restart point: only the latest `*` ever needs to grow.
  size_t at = 0, piece = 0, restartPiece = 0, restartAt = 0;
  bool canRestart = false;
  while (at < site.size()) {
    unsigned char c = site[at];
    if (piece < pieces.size() && pieces[piece].run) {
      canRestart = true;
      restartPiece = ++piece;
      restartAt = at;
    } else if (piece < pieces.size() && c < 128 && pieces[piece].characters.test(c)) {
      ++piece;
      ++at;
    } else if (canRestart) {
      piece = restartPiece;
      at = ++restartAt;
    } else {
      return false;
    }
  }
  while (piece < pieces.size() && pieces[piece].run)
    ++piece;
  return piece == pieces.size();
}

} // namespace qplan
