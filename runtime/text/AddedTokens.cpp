//===- AddedTokens.cpp - the "added_tokens" of tokenizer.json -------------===//
//
// Matches are leftmost-longest and do not overlap. A match that single_word
// forbids is passed over as a whole, as in the reference: no shorter token is
// tried in its place.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/AddedTokens.h"
#include "runtime/text/Unicode.h"
#include <algorithm>

namespace qplan::text {

namespace {

/// Longest added token in bytes; bounds the time of a search at one position.
constexpr size_t longestContent = 4096;

/// Where the white space that ends text[0, end) begins.
size_t spaceBegin(std::string_view text, size_t end) {
  while (end > 0) {
    char32_t c = lastCharacter(text.substr(0, end));
    if (!isWhiteSpace(c))
      break;
    end -= c < 0x80 ? 1 : c < 0x800 ? 2 : 3;
  }
  return end;
}

/// Where the white space that begins at `begin` ends.
size_t spaceEnd(std::string_view text, size_t begin) {
  for (size_t next = begin; next < text.size(); begin = next)
    if (!isWhiteSpace(nextCharacter(text, next)))
      return begin;
  return begin;
}

bool standsAlone(std::string_view text, size_t begin, size_t end) {
  bool wordBefore = begin > 0 && isWord(lastCharacter(text.substr(0, begin)));
  size_t next = end;
  bool wordBehind = end < text.size() && isWord(nextCharacter(text, next));
  return !wordBefore && !wordBehind;
}

} // namespace

void TextTrie::insert(std::string_view text, int32_t value) {
  int32_t node = 0;
  for (unsigned char byte : text) {
    auto [it, isNew] = nodes[node].children.try_emplace(byte, int32_t(nodes.size()));
    node = it->second;
    if (isNew)
      nodes.emplace_back();
  }
  if (nodes[node].value < 0)
    nodes[node].value = value;
}

int32_t TextTrie::longest(std::string_view text, size_t position, size_t &length) const {
  int32_t node = 0, best = -1;
  for (size_t i = position; i < text.size(); ++i) {
    auto it = nodes[node].children.find(static_cast<unsigned char>(text[i]));
    if (it == nodes[node].children.end())
      break;
    node = it->second;
    if (nodes[node].value >= 0) {
      best = nodes[node].value;
      length = i + 1 - position;
    }
  }
  return best;
}

const AddedToken *AddedTokens::find(int32_t id) const {
  auto it = tokens.find(id);
  return it == tokens.end() ? nullptr : &it->second;
}

int32_t AddedTokens::idOf(std::string_view content) const {
  auto it = ids.find(content);
  return it == ids.end() ? -1 : it->second;
}

bool AddedTokens::isSpecial(std::string_view content) const {
  const AddedToken *token = find(idOf(content));
  return token && token->special;
}

void AddedTokens::add(const Field &field, const BpeModel &model, const Normalizer *normalizer,
                      int32_t &nextId) {
  field.onlyKeys({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  AddedToken token;
  token.content = field.at("content").string();
  token.singleWord = field.at("single_word").boolean();
  token.stripLeft = field.at("lstrip").boolean();
  token.stripRight = field.at("rstrip").boolean();
  token.normalized = field.at("normalized").boolean();
  token.special = field.at("special").boolean();
  int64_t declared = field.at("id").number(largestTokenId);
  if (token.content.empty() || token.content.size() > longestContent)
    return field.at("content").fail("expected 1 to 4096 bytes, found " +
                                    std::to_string(token.content.size()));
  if (ids.contains(token.content))
    return field.at("content").fail("the token '" + token.content + "' is listed twice");
  token.id = model.idOf(token.content);
  if (token.id < 0)
    token.id = nextId++;
  if (token.id != declared)
    return field.at("id").fail("expected " + std::to_string(token.id) + " for '" + token.content +
                               "' (its id in model.vocab, or the next free one), found " +
                               std::to_string(declared));
  token.spelling = token.content;
  if (token.normalized && normalizer) {
    Piece piece{token.content, -1, true};
    if (Status status = normalizer->apply(piece))
      return field.at("content").fail(status->message);
    token.spelling = piece.text;
  }
  if (!token.spelling.empty())
    (token.normalized ? normalizedTrie : rawTrie).insert(token.spelling, token.id);
  ids.emplace(token.content, token.id);
  tokens.emplace(token.id, std::move(token));
}

AddedTokens AddedTokens::parse(const Field &field, const BpeModel &model,
                               const Normalizer *normalizer) {
  AddedTokens added;
  if (!field.present())
    return added;
  int32_t nextId = int32_t(model.size());
  for (size_t i = 0, n = field.size(); i < n; ++i)
    added.add(field.at(i), model, normalizer, nextId);
  return added;
}

void AddedTokens::cut(const Piece &piece, const TextTrie &trie, bool plain,
                      std::vector<Piece> &out) const {
  std::string_view text = piece.text;
  size_t begin = 0; // of what is not yet given out
  auto emitText = [&](size_t end) {
    if (begin < end)
      out.push_back(
          {std::string(text.substr(begin, end - begin)), -1, piece.atStart && begin == 0});
  };
  for (size_t i = 0; i < text.size() && !trie.empty();) {
    size_t length = 0;
    int32_t id = trie.longest(text, i, length);
    if (id < 0) {
      ++i;
      continue;
    }
    size_t matchBegin = i, matchEnd = i + length;
    i = matchEnd;
    const AddedToken &token = *find(id);
    if ((plain && token.special) || (token.singleWord && !standsAlone(text, matchBegin, matchEnd)))
      continue;
    if (token.stripLeft)
      matchBegin = std::max(spaceBegin(text, matchBegin), begin);
    if (token.stripRight)
      matchEnd = spaceEnd(text, matchEnd);
    matchBegin = std::max(matchBegin, begin);
    emitText(matchBegin);
    out.push_back({std::string(), id, false});
    begin = std::max(matchEnd, begin);
  }
  emitText(text.size());
}

Status AddedTokens::extract(std::string_view text, const Normalizer *normalizer, bool plain,
                            std::vector<Piece> &pieces) const {
  std::vector<Piece> raw;
  cut({std::string(text), -1, true}, rawTrie, plain, raw);
  for (Piece &piece : raw) {
    if (piece.id >= 0) {
      pieces.push_back(std::move(piece));
      continue;
    }
    if (normalizer)
      if (Status status = normalizer->apply(piece))
        return status;
    cut(piece, normalizedTrie, plain, pieces);
  }
  return std::nullopt;
}

} // namespace qplan::text
