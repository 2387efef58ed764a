//===- BpeModel.h - byte pair encoding --------------------------*- C++ -*-===//
//
// The vocabulary of a tokenizer and the merges that build its tokens from single
// characters. Merging uses a priority queue over a linked list, so that a word of
// n characters costs n log n; SentencePiece models see a whole text as one word.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_BPEMODEL_H
#define QPLAN_TEXT_BPEMODEL_H

#include "runtime/text/JsonReader.h"
#include "runtime/text/Result.h"
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace qplan::text {

/// Most token ids that a vocabulary may use: ids must fit in memory as an array.
inline constexpr int64_t largestTokenId = (1 << 24) - 1;

/// Hashes strings and views alike, for lookups that copy nothing.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
template <typename V>
using StringMap = std::unordered_map<std::string, V, StringHash, std::equal_to<>>;

/// Pairs of token ids and what they merge to; open addressing, filled once.
class MergeTable {
public:
  struct Merge {
    uint32_t rank;
    int32_t result;
  };
  /// Makes room for `count` pairs.
  void reserve(size_t count);
  /// Adds a pair; a pair that is there already takes the new value.
  void insert(int32_t left, int32_t right, Merge merge);
  /// The merge of a pair, or null.
  const Merge *find(int32_t left, int32_t right) const;

private:
  struct Slot {
    uint64_t key;
    Merge merge;
  };
  size_t slotOf(uint64_t key) const;
  std::vector<Slot> slots;
  size_t mask = 0;
};

/// One caller's memory of words that were encoded before, and scratch space. Not
/// thread-safe; made for each encoding.
struct BpeCache {
  StringMap<std::vector<int32_t>> words;
};

/// Immutable once parsed; thread-safe.
class BpeModel {
public:
  /// Reads the "model" object. Mistakes are kept by the field's reader.
  static BpeModel parse(const Field &field);

  /// The id of a token, or -1.
  int32_t idOf(std::string_view token) const;
  /// The token of an id, or null. [0, idLimit)
  const std::string *tokenOf(int32_t id) const;
  /// One more than the highest id.
  int32_t idLimit() const { return int32_t(tokens.size()); }
  /// Number of distinct tokens.
  size_t size() const { return ids.size(); }

  /// Appends the ids of one word to `out`. Characters that the vocabulary cannot
  /// express and that no unknown token stands for vanish, as in the reference.
  void encode(std::string_view word, BpeCache &cache, std::vector<int32_t> &out) const;

private:
  struct Symbol {
    int32_t id;
    int32_t previous;
    int32_t next;
    bool alive;
  };
  void parseVocabulary(const Field &field);
  void parseMerges(const Field &field);
  void addMerge(const Field &field, uint32_t rank, std::string_view left, std::string_view right);
  void split(std::string_view word, std::vector<Symbol> &symbols) const;
  bool addBytes(std::string_view text, std::vector<Symbol> &symbols) const;
  void merge(std::vector<Symbol> &symbols) const;

  StringMap<int32_t> ids;
  /// Keys of `ids`, stable because its nodes never move; null for holes.
  std::vector<const std::string *> tokens;
  MergeTable merges;
  int32_t byteIds[256];
  int32_t unknownId = -1;
  std::string prefix; ///< put before every character of a word but the first
  std::string suffix; ///< put behind the last character of a word
  bool fuseUnknown = false;
  bool byteFallback = false;
  bool ignoreMerges = false;
};

} // namespace qplan::text
#endif // QPLAN_TEXT_BPEMODEL_H
