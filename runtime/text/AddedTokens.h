//===- AddedTokens.h - the "added_tokens" of tokenizer.json -----*- C++ -*-===//
//
// Tokens that are found in a text before the model sees it: <|im_start|>, </s>.
// Those with "normalized": false are looked for in the text as it came, the rest
// in the normalized text, in their own normalized spelling.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_ADDEDTOKENS_H
#define QPLAN_TEXT_ADDEDTOKENS_H

#include "runtime/text/BpeModel.h"
#include "runtime/text/Normalizer.h"
#include <map>

namespace qplan::text {

/// One added token.
struct AddedToken {
  std::string content;
  std::string spelling; ///< what is looked for: the content, perhaps normalized
  int32_t id = -1;
  bool singleWord = false; ///< only between characters that are not word characters
  bool stripLeft = false;  ///< takes the white space before it
  bool stripRight = false; ///< takes the white space behind it
  bool normalized = false; ///< looked for in the normalized text
  bool special = false;    ///< left out when decoding with skipSpecial
};

/// Finds the longest of several texts at a position.
class TextTrie {
public:
  void insert(std::string_view text, int32_t value);
  bool empty() const { return nodes.size() == 1; }
  /// The value of the longest text that begins at `position`, or -1; `length` is
  /// set to its length in bytes.
  int32_t longest(std::string_view text, size_t position, size_t &length) const;

private:
  struct Node {
    std::map<unsigned char, int32_t> children;
    int32_t value = -1;
  };
  std::vector<Node> nodes = std::vector<Node>(1);
};

/// Immutable once parsed; thread-safe.
class AddedTokens {
public:
  /// Reads the list. Ids follow the reference: a token of the model keeps its id,
  /// others count on from the end of the vocabulary; an "id" that says otherwise
  /// is a mistake, kept by the field's reader.
  static AddedTokens parse(const Field &field, const BpeModel &model, const Normalizer *normalizer);

  /// The added token with an id, or null.
  const AddedToken *find(int32_t id) const;
  /// The id of an added token's content, or -1.
  int32_t idOf(std::string_view content) const;
  bool isSpecial(std::string_view content) const;
  /// One more than the highest id; 0 without added tokens.
  int32_t idLimit() const { return tokens.empty() ? 0 : tokens.rbegin()->first + 1; }

  /// Cuts valid UTF-8 into added tokens and normalized pieces, none of them empty.
  /// With `plain`, special tokens are text like any other.
  Status extract(std::string_view text, const Normalizer *normalizer, bool plain,
                 std::vector<Piece> &pieces) const;

private:
  void add(const Field &field, const BpeModel &model, const Normalizer *normalizer, int32_t &nextId);
  void cut(const Piece &piece, const TextTrie &trie, bool plain, std::vector<Piece> &out) const;

  std::map<int32_t, AddedToken> tokens;
  StringMap<int32_t> ids;
  TextTrie rawTrie;
  TextTrie normalizedTrie;
};

} // namespace qplan::text
#endif // QPLAN_TEXT_ADDEDTOKENS_H
