//===- BpeModel.cpp - byte pair encoding ----------------------------------===//
//
// Among all adjacent pairs that merge, the one with the lowest rank goes first,
// the leftmost of equals. A queue entry may be stale by the time it is drawn; it
// counts only if the pair at its place still merges to what the entry said.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/BpeModel.h"
#include "runtime/text/Unicode.h"
#include <queue>

namespace qplan::text {

namespace {

constexpr uint64_t emptyKey = ~uint64_t(0);
/// Longest word in bytes, and number of words, that a cache remembers.
constexpr size_t cachedWordBytes = 256;
constexpr size_t cachedWords = 1 << 17;

uint64_t pairKey(int32_t left, int32_t right) {
  return (uint64_t(uint32_t(left)) << 32) | uint32_t(right);
}

struct QueueEntry {
  uint32_t rank;
  int32_t position;
  int32_t result;
  /// std::priority_queue draws the largest: the lowest rank, then the leftmost.
  bool operator<(const QueueEntry &other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

} // namespace

void MergeTable::reserve(size_t count) {
  size_t capacity = 16;
  while (capacity < count * 2)
    capacity *= 2;
  slots.assign(capacity, {emptyKey, {0, 0}});
  mask = capacity - 1;
}

size_t MergeTable::slotOf(uint64_t key) const {
  size_t slot = ((key ^ (key >> 29)) * 0x9E3779B97F4A7C15ull) >> 20 & mask;
  while (slots[slot].key != key && slots[slot].key != emptyKey)
    slot = (slot + 1) & mask;
  return slot;
}

void MergeTable::insert(int32_t left, int32_t right, Merge merge) {
  uint64_t key = pairKey(left, right);
  slots[slotOf(key)] = {key, merge};
}

const MergeTable::Merge *MergeTable::find(int32_t left, int32_t right) const {
  const Slot &slot = slots[slotOf(pairKey(left, right))];
  return slot.key == emptyKey ? nullptr : &slot.merge;
}

int32_t BpeModel::idOf(std::string_view token) const {
  auto it = ids.find(token);
  return it == ids.end() ? -1 : it->second;
}

const std::string *BpeModel::tokenOf(int32_t id) const {
  return id >= 0 && id < idLimit() ? tokens[id] : nullptr;
}

void BpeModel::parseVocabulary(const Field &field) {
  if (!field.isObject())
    return field.fail("expected an object from tokens to ids");
  ids.reserve(field.json()->size());
  int64_t highest = -1;
  field.eachMember([&](const std::string &token, const Field &id) {
    int64_t value = id.number(largestTokenId);
    ids.emplace(token, int32_t(value));
    highest = std::max(highest, value);
  });
  // Ids may have holes, but not so many that the array of tokens costs more than
  // the file did.
  if (highest > int64_t(ids.size()) * 16 + 65536)
    return field.fail("the highest id, " + std::to_string(highest) +
                      ", is far above the number of "
                      "tokens, " +
                      std::to_string(ids.size()));
  tokens.assign(size_t(highest + 1), nullptr);
  for (const auto &[token, id] : ids) {
    if (tokens[id])
      return field.fail("the tokens '" + *tokens[id] + "' and '" + token + "' share the id " +
                        std::to_string(id));
    tokens[id] = &token;
  }
}

void BpeModel::addMerge(const Field &field, uint32_t rank, std::string_view left,
                        std::string_view right) {
  std::string merged(left);
  merged += right.starts_with(prefix) ? right.substr(prefix.size()) : right;
  int32_t leftId = idOf(left), rightId = idOf(right), result = idOf(merged);
  if (leftId < 0 || rightId < 0 || result < 0) {
    std::string missing(leftId < 0 ? left : rightId < 0 ? right : std::string_view(merged));
    return field.at(size_t(rank)).fail("the token '" + missing + "' is not in model.vocab");
  }
  merges.insert(leftId, rightId, {rank, result});
}

void BpeModel::parseMerges(const Field &field) {
  size_t count = field.size();
  merges.reserve(count);
  if (count == 0)
    return;
  for (size_t i = 0; i < count; ++i) {
    // Read without paths: files have hundreds of thousands of merges.
    const nlohmann::json &merge = (*field.json())[i];
    if (const auto *text = merge.get_ptr<const std::string *>()) {
      size_t space = text->find(' ');
      if (space == std::string::npos || text->find(' ', space + 1) != std::string::npos)
        return field.at(i).fail("expected two tokens with one space between, found '" + *text +
                                "'");
      std::string_view view(*text);
      addMerge(field, uint32_t(i), view.substr(0, space), view.substr(space + 1));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      addMerge(field, uint32_t(i), *merge[0].get_ptr<const std::string *>(),
               *merge[1].get_ptr<const std::string *>());
    } else {
      return field.at(i).fail("expected two tokens");
    }
  }
}

BpeModel BpeModel::parse(const Field &field) {
  BpeModel model;
  model.merges.reserve(0);
  std::string type = field.at("type").string("BPE");
  if (type != "BPE") {
    field.fail("the model '" + type + "' is not supported (known: BPE)");
    return model;
  }
  field.onlyKeys({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                  "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  Field dropout = field.at("dropout");
  if (dropout.present() && !(dropout.json()->is_number() && dropout.json()->get<double>() == 0))
    dropout.fail("random dropping of merges is not supported; set it to null");
  model.prefix = field.at("continuing_subword_prefix").string("");
  model.suffix = field.at("end_of_word_suffix").string("");
  model.fuseUnknown = field.at("fuse_unk").boolean(false);
  model.byteFallback = field.at("byte_fallback").boolean(false);
  model.ignoreMerges = field.at("ignore_merges").boolean(false);
  model.parseVocabulary(field.at("vocab"));
  model.parseMerges(field.at("merges"));
  if (Field unknown = field.at("unk_token"); unknown.present()) {
    model.unknownId = model.idOf(unknown.string());
    if (model.unknownId < 0)
      unknown.fail("the token '" + unknown.string() + "' is not in model.vocab");
  }
  static constexpr char digits[] = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte)
    model.byteIds[byte] =
        model.idOf(std::string("<0x") + digits[byte >> 4] + digits[byte & 15] + ">");
  return model;
}

/// Adds one symbol for each byte of `text`, if the vocabulary has all of them.
bool BpeModel::addBytes(std::string_view text, std::vector<Symbol> &symbols) const {
  for (unsigned char byte : text)
    if (byteIds[byte] < 0)
      return false;
  for (unsigned char byte : text)
    symbols.push_back({byteIds[byte], 0, 0, true});
  return true;
}

/// The characters of a word as tokens. An unknown token waits until the next known
/// character, because with fuse_unk it grows until then.
void BpeModel::split(std::string_view word, std::vector<Symbol> &symbols) const {
  bool unknownWaits = false;
  std::string decorated;
  auto flush = [&] {
    if (unknownWaits)
      symbols.push_back({unknownId, 0, 0, true});
    unknownWaits = false;
  };
  for (size_t i = 0; i < word.size();) {
    size_t begin = i;
    nextCharacter(word, i);
    std::string_view text = word.substr(begin, i - begin);
    bool addsPrefix = begin > 0 && !prefix.empty();
    bool addsSuffix = i == word.size() && !suffix.empty();
    if (addsPrefix || addsSuffix) {
      decorated = (addsPrefix ? prefix : std::string()) + std::string(text) +
                  (addsSuffix ? suffix : std::string());
      text = decorated;
    }
    int32_t id = idOf(text);
    if (id >= 0) {
      flush();
      symbols.push_back({id, 0, 0, true});
    } else if (!(byteFallback && addBytes(text, symbols)) && unknownId >= 0) {
      if (!fuseUnknown)
        flush();
      unknownWaits = true;
    }
  }
  flush();
}

void BpeModel::merge(std::vector<Symbol> &symbols) const {
  std::vector<QueueEntry> storage;
  storage.reserve(symbols.size());
  int32_t count = int32_t(symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[i].previous = i - 1;
    symbols[i].next = i + 1 < count ? i + 1 : -1;
    if (i + 1 < count)
      if (const MergeTable::Merge *merge = merges.find(symbols[i].id, symbols[i + 1].id))
        storage.push_back({merge->rank, i, merge->result});
  }
  std::priority_queue<QueueEntry> queue(std::less<QueueEntry>(), std::move(storage));
  auto enqueue = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0)
      return;
    if (const MergeTable::Merge *merge = merges.find(symbols[left].id, symbols[right].id))
      queue.push({merge->rank, left, merge->result});
  };
  while (!queue.empty()) {
    QueueEntry top = queue.top();
    queue.pop();
    Symbol &left = symbols[top.position];
    if (!left.alive || left.next < 0)
      continue;
    Symbol &right = symbols[left.next];
    const MergeTable::Merge *current = merges.find(left.id, right.id);
    if (!current || current->result != top.result)
      continue;
    left.id = top.result;
    left.next = right.next;
    right.alive = false;
    if (right.next >= 0)
      symbols[right.next].previous = top.position;
    enqueue(left.previous, top.position);
    enqueue(top.position, left.next);
  }
}

void BpeModel::encode(std::string_view word, BpeCache &cache, std::vector<int32_t> &out) const {
  if (word.empty())
    return;
  if (ignoreMerges)
    if (int32_t id = idOf(word); id >= 0) {
      out.push_back(id);
      return;
    }
  auto known = cache.words.find(word);
  if (known != cache.words.end()) {
    out.insert(out.end(), known->second.begin(), known->second.end());
    return;
  }
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  split(word, symbols);
  merge(symbols);
  size_t first = out.size();
  for (const Symbol &symbol : symbols)
    if (symbol.alive)
      out.push_back(symbol.id);
  if (word.size() <= cachedWordBytes && cache.words.size() < cachedWords)
    cache.words.emplace(word, std::vector<int32_t>(out.begin() + first, out.end()));
}

} // namespace qplan::text
