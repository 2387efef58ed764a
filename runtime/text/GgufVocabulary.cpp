//===- GgufVocabulary.cpp - a GGUF file's vocabulary ----------------------===//
//
// "gpt2" vocabularies are byte-level BPE: the merges are there, and .pre names the
// pattern that cuts texts. "llama" vocabularies are SentencePiece BPE: the order of
// merges follows from the scores. Where GGUF is silent about what the original
// tokenizer does (NFC for Qwen), the original counts.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/GgufVocabulary.h"
#include "runtime/text/Unicode.h"
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <tuple>
#include <unordered_map>

namespace qplan::text {

namespace {

using Json = nlohmann::ordered_json;

enum TokenType { Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6 };

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CASED_WORDS(end)                                                                           \
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" end  \
  "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" end
#define CASED_TAIL " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

constexpr const char *llama3 = CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" TAIL;
constexpr const char *qwen2 = CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" TAIL;
constexpr const char *gpt4o = CASED_WORDS(CONTRACTIONS "?") "|\\p{N}{1,3}|" CASED_TAIL;
constexpr const char *tekken = CASED_WORDS("") "|\\p{N}|" CASED_TAIL;
constexpr const char *bloom = " ?[^(\\s|.,!?…。，、।۔،)]+";
constexpr const char *marks = "[\\p{P}\\$\\+<=>\\^~\\|]+";
constexpr const char *falconMarks = "[\\p{P}\\$\\+<=>\\^~\\|`]+";

/// How a value of .pre cuts texts: patterns one after the other, then perhaps
/// GPT-2's own.
struct PreRule {
  std::string_view name;
  std::vector<const char *> first;
  bool gpt2 = false; ///< GPT-2's pattern follows
  std::vector<const char *> last;
  bool nfc = false;          ///< the original tokenizer composes characters first
  bool ignoreMerges = false; ///< whole words that are tokens stay whole
  bool addBos = false;       ///< unless the file says otherwise
};

const std::vector<PreRule> &preRules() {
  static const std::vector<PreRule> rules = {
      {"default", {marks}, true, {"\\p{N}+", "[0-9][0-9][0-9]"}, false, false, false},
      {"gpt-2", {}, true, {}, false, false, false},
      {"gpt2", {}, true, {}, false, false, false},
      {"phi-2", {}, true, {}, false, false, false},
      {"mpt", {}, true, {}, false, false, false},
      {"olmo", {}, true, {}, false, false, false},
      {"llama-bpe", {llama3}, false, {}, false, true, true},
      {"llama3", {llama3}, false, {}, false, true, true},
      {"llama-v3", {llama3}, false, {}, false, true, true},
      {"falcon3", {llama3}, false, {}, false, true, true},
      {"dbrx", {llama3}, false, {}, false, false, false},
      {"smaug-bpe", {llama3}, false, {}, false, false, false},
      {"qwen2", {qwen2}, false, {}, true, false, false},
      {"deepseek-r1-qwen", {qwen2}, false, {}, true, false, false},
      {"stablelm2", {qwen2}, false, {}, false, false, false},
      {"smollm", {"\\p{N}"}, true, {}, false, false, false},
      {"starcoder", {"\\p{N}"}, true, {}, false, false, false},
      {"refact", {"\\p{N}"}, true, {}, false, false, false},
      {"command-r", {"\\p{N}"}, true, {}, true, false, true},
      {"codeshell", {"\\p{N}"}, true, {}, false, false, false},
      {"exaone", {"\\p{N}"}, true, {}, false, false, false},
      {"falcon", {falconMarks}, true, {"[0-9][0-9][0-9]"}, false, false, false},
      {"gpt-4o", {gpt4o}, false, {}, false, true, false},
      {"llama4", {gpt4o}, false, {}, false, true, true},
      {"tekken", {tekken}, false, {}, false, true, true},
      {"bloom", {bloom}, false, {}, false, false, false},
      {"poro-chat", {bloom}, false, {}, false, false, false},
  };
  return rules;
}

class Converter {
public:
  Converter(const GgufVocabulary &vocabulary, std::string &error)
      : vocabulary(vocabulary), error(error) {}

  bool run(std::string &json) {
    if (!check())
      return false;
    Json root;
    root["version"] = "1.0";
    root["truncation"] = nullptr;
    root["padding"] = nullptr;
    root["added_tokens"] = addedTokens();
    bool done = vocabulary.model == "gpt2" ? fillByteLevel(root) : fillSentencePiece(root);
    if (done)
      json = root.dump(-1, ' ', false, Json::error_handler_t::replace);
    return done;
  }

private:
  bool fail(const std::string &key, const std::string &message) {
    error = "tokenizer.ggml." + key + ": " + message;
    return false;
  }

  size_t count() const { return vocabulary.tokens.size(); }
  int32_t typeOf(size_t id) const {
    return vocabulary.types.empty() ? Normal : vocabulary.types[id];
  }

  bool check() {
    if (vocabulary.model != "gpt2" && vocabulary.model != "llama")
      return fail("model", "'" + vocabulary.model + "' is not supported (known: gpt2, llama)");
    if (count() == 0)
      return fail("tokens", "missing or empty");
    if (!vocabulary.types.empty() && vocabulary.types.size() != count())
      return fail("token_type", lengthMessage(vocabulary.types.size()));
    if (!vocabulary.scores.empty() && vocabulary.scores.size() != count())
      return fail("scores", lengthMessage(vocabulary.scores.size()));
    for (auto [key, id] :
         {std::pair("bos_token_id", vocabulary.bosId), std::pair("eos_token_id", vocabulary.eosId),
          std::pair("unknown_token_id", vocabulary.unknownId)})
      if (id && (*id < 0 || size_t(*id) >= count()))
        return fail(key, std::to_string(*id) + " is outside the vocabulary of " +
                             std::to_string(count()) + " tokens");
    for (size_t id = 0; id < count(); ++id) {
      const std::string &token = vocabulary.tokens[id];
      std::string which = "token " + std::to_string(id);
      if (!isValidUtf8(token))
        return fail("tokens", which + " is not valid UTF-8");
      auto [other, isNew] = ids.emplace(token, int32_t(id));
      if (!isNew)
        return fail("tokens", which + " repeats token " + std::to_string(other->second) + ", '" +
                                  token + "'");
    }
    return true;
  }

  std::string lengthMessage(size_t found) const {
    return "expected " + std::to_string(count()) + " values, one for each token, found " +
           std::to_string(found);
  }

  Json addedTokens() const {
    Json list = Json::array();
    for (size_t id = 0; id < count(); ++id) {
      int32_t type = typeOf(id);
      bool unknown = type == Unknown && vocabulary.model == "llama";
      if ((type != Control && type != UserDefined && !unknown) || vocabulary.tokens[id].empty())
        continue;
      list.push_back({{"id", id},
                      {"content", vocabulary.tokens[id]},
                      {"single_word", false},
                      {"lstrip", false},
                      {"rstrip", false},
                      {"normalized", false},
                      {"special", type != UserDefined}});
    }
    return list;
  }

  Json vocabularyObject() const {
    Json object = Json::object();
    auto &items = object.get_ref<Json::object_t &>();
    items.reserve(count());
    // Straight into the underlying list: the keys are known to differ.
    for (size_t id = 0; id < count(); ++id)
      static_cast<std::vector<Json::object_t::value_type> &>(items).emplace_back(
          vocabulary.tokens[id], Json(id));
    return object;
  }

  Json postProcessor(bool addBos, bool addEos) const {
    addBos = addBos && vocabulary.bosId;
    addEos = addEos && vocabulary.eosId;
    if (!addBos && !addEos)
      return nullptr;
    Json single = Json::array(), special = Json::object();
    auto add = [&](int32_t id) {
      const std::string &token = vocabulary.tokens[id];
      single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
      special[token] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
    };
    if (addBos)
      add(*vocabulary.bosId);
    single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
    if (addEos)
      add(*vocabulary.eosId);
    Json pair = {{{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                 {{"Sequence", {{"id", "B"}, {"type_id", 1}}}}};
    return {{"type", "TemplateProcessing"},
            {"single", single},
            {"pair", pair},
            {"special_tokens", special}};
  }

  static Json byteLevel(bool prefixSpace, bool useRegex) {
    return {{"type", "ByteLevel"},
            {"add_prefix_space", prefixSpace},
            {"trim_offsets", true},
            {"use_regex", useRegex}};
  }

  static Json split(const char *pattern) {
    return {{"type", "Split"},
            {"pattern", {{"Regex", pattern}}},
            {"behavior", "Isolated"},
            {"invert", false}};
  }

  /// Patterns cut characters, but the last step maps bytes, so GPT-2's pattern must
  /// stand as a split of its own when others follow it.
  Json preTokenizer(const PreRule &rule) const {
    static constexpr const char *gpt2 =
        "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    Json steps = Json::array();
    for (const char *pattern : rule.first)
      steps.push_back(split(pattern));
    if (rule.gpt2 && !rule.last.empty())
      steps.push_back(split(gpt2));
    for (const char *pattern : rule.last)
      steps.push_back(split(pattern));
    steps.push_back(
        byteLevel(vocabulary.addSpacePrefix.value_or(false), rule.gpt2 && rule.last.empty()));
    return {{"type", "Sequence"}, {"pretokenizers", steps}};
  }

  const PreRule *findRule() {
    std::string_view name = vocabulary.pre.empty() ? "default" : std::string_view(vocabulary.pre);
    std::string known;
    for (const PreRule &rule : preRules()) {
      if (rule.name == name)
        return &rule;
      known += (known.empty() ? "" : ", ") + std::string(rule.name);
    }
    fail("pre", "'" + vocabulary.pre + "' is not supported (known: " + known + ")");
    return nullptr;
  }

  bool fillByteLevel(Json &root) {
    const PreRule *rule = findRule();
    if (!rule)
      return false;
    Json merges = Json::array();
    for (size_t i = 0; i < vocabulary.merges.size(); ++i) {
      const std::string &merge = vocabulary.merges[i];
      // Tokens hold no blank but perhaps as their first character.
      size_t space = merge.find(' ', 1);
      if (merge.size() < 3 || space == std::string::npos || space + 1 == merge.size())
        return fail("merges", "entry " + std::to_string(i) + ", '" + merge +
                                  "', is not two tokens with a blank between");
      merges.push_back({merge.substr(0, space), merge.substr(space + 1)});
    }
    if (merges.empty())
      return fail("merges", "missing or empty; a gpt2 vocabulary needs merges");
    root["normalizer"] = rule->nfc ? Json{{"type", "NFC"}} : Json(nullptr);
    root["pre_tokenizer"] = preTokenizer(*rule);
    root["post_processor"] =
        postProcessor(vocabulary.addBos.value_or(rule->addBos), vocabulary.addEos.value_or(false));
    root["decoder"] = byteLevel(false, true);
    root["model"] = {{"type", "BPE"},
                     {"dropout", nullptr},
                     {"unk_token", nullptr},
                     {"continuing_subword_prefix", nullptr},
                     {"end_of_word_suffix", nullptr},
                     {"fuse_unk", false},
                     {"byte_fallback", false},
                     {"ignore_merges", rule->ignoreMerges}};
    root["model"]["vocab"] = vocabularyObject();
    root["model"]["merges"] = std::move(merges);
    return true;
  }

  /// The pairs of normal tokens that make a normal token, best score first. Among
  /// equals the order is the one that transformers' converter writes: longer left
  /// halves first, then longer right halves, then by id.
  Json mergesByScore() const {
    struct Merge {
      float score;
      size_t leftSize;  ///< characters
      size_t rightSize; ///< characters
      int32_t token, left, right;
    };
    std::vector<Merge> found;
    for (size_t id = 0; id < count(); ++id) {
      const std::string &token = vocabulary.tokens[id];
      size_t characters = countCharacters(token), position = 0;
      if (typeOf(id) != Normal || characters > longestPiece)
        continue;
      for (size_t n = 1; n < characters; ++n) {
        nextCharacter(token, position);
        int32_t left = normalId(token.substr(0, position)),
                right = normalId(token.substr(position));
        if (left >= 0 && right >= 0)
          found.push_back({vocabulary.scores[id], n, characters - n, int32_t(id), left, right});
      }
    }
    std::sort(found.begin(), found.end(), [](const Merge &a, const Merge &b) {
      if (a.score != b.score)
        return a.score > b.score;
      if (a.leftSize != b.leftSize)
        return a.leftSize > b.leftSize;
      if (a.rightSize != b.rightSize)
        return a.rightSize > b.rightSize;
      return std::tie(a.token, a.left, a.right) < std::tie(b.token, b.left, b.right);
    });
    Json merges = Json::array();
    for (const Merge &merge : found)
      merges.push_back({vocabulary.tokens[merge.left], vocabulary.tokens[merge.right]});
    return merges;
  }

  int32_t normalId(const std::string &token) const {
    auto it = ids.find(token);
    return it != ids.end() && typeOf(it->second) == Normal ? it->second : -1;
  }

  std::string unknownToken() const {
    for (size_t id = 0; id < count(); ++id)
      if (typeOf(id) == Unknown)
        return vocabulary.tokens[id];
    return vocabulary.unknownId ? vocabulary.tokens[*vocabulary.unknownId] : "";
  }

  bool fillSentencePiece(Json &root) {
    if (vocabulary.scores.empty())
      return fail("scores", "missing; a llama vocabulary needs scores");
    for (size_t id = 0; id < count(); ++id)
      if (!(vocabulary.scores[id] == vocabulary.scores[id]))
        return fail("scores", "the score of token " + std::to_string(id) + " is not a number");
    bool prefix = vocabulary.addSpacePrefix.value_or(true);
    Json normalizers = Json::array(), decoders = Json::array();
    if (prefix)
      normalizers.push_back({{"type", "Prepend"}, {"prepend", "▁"}});
    normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}});
    decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}});
    decoders.push_back({{"type", "ByteFallback"}});
    decoders.push_back({{"type", "Fuse"}});
    if (prefix)
      decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    root["normalizer"] = {{"type", "Sequence"}, {"normalizers", normalizers}};
    root["pre_tokenizer"] = nullptr;
    root["post_processor"] =
        postProcessor(vocabulary.addBos.value_or(true), vocabulary.addEos.value_or(false));
    root["decoder"] = {{"type", "Sequence"}, {"decoders", decoders}};
    std::string unknown = unknownToken();
    root["model"] = {{"type", "BPE"},
                     {"dropout", nullptr},
                     {"unk_token", unknown.empty() ? Json(nullptr) : Json(unknown)},
                     {"continuing_subword_prefix", nullptr},
                     {"end_of_word_suffix", nullptr},
                     {"fuse_unk", true},
                     {"byte_fallback", true},
                     {"ignore_merges", false}};
    root["model"]["vocab"] = vocabularyObject();
    root["model"]["merges"] = mergesByScore();
    return true;
  }

  /// Longest token, in characters, that is looked at for merges; real ones have at
  /// most a few dozen. Bounds the time for hostile files.
  static constexpr size_t longestPiece = 512;

  const GgufVocabulary &vocabulary;
  std::string &error;
  std::unordered_map<std::string, int32_t> ids;
};

} // namespace

bool ggufTokenizerJson(const GgufVocabulary &vocabulary, std::string &json, std::string &error) {
  return Converter(vocabulary, error).run(json);
}

} // namespace qplan::text
