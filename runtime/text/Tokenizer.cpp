//===- Tokenizer.cpp - text to token ids and back -------------------------===//
//
// The order of the stages: repair, added tokens and normalizer, pre-tokenizer,
// model, special tokens. Each stage has a file of its own.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/Tokenizer.h"
#include "runtime/text/Unicode.h"
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace qplan::text {

namespace {

/// ICU counts in 32 bits, and normalization can triple a text.
constexpr size_t longestText = size_t(1) << 30;
/// Largest known tokenizer.json: 35 MB.
constexpr size_t largestFile = size_t(1) << 29;

Result<std::string> readFile(const std::string &path) {
  std::FILE *file = std::fopen(path.c_str(), "rb");
  if (!file)
    return inputFailure(path + ": cannot be opened: " + std::strerror(errno));
  std::string text;
  char buffer[1 << 16];
  size_t count;
  while ((count = std::fread(buffer, 1, sizeof buffer, file)) > 0 && text.size() <= largestFile)
    text.append(buffer, count);
  bool failed = std::ferror(file);
  std::fclose(file);
  if (failed)
    return Failure{QPLAN_MACHINE_FAILURE, path + ": cannot be read"};
  if (text.size() > largestFile)
    return inputFailure(path + ": larger than 512 MiB; no tokenizer.json is");
  return text;
}

} // namespace

Result<Tokenizer> Tokenizer::parse(std::string_view json, std::string name) {
  JsonReader reader(json, std::move(name));
  if (Status status = reader.status())
    return *status;
  Field root = reader.root();
  root.onlyKeys({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                 "post_processor", "decoder", "model"});
  if (Status status = reader.status())
    return *status;
  std::string version = root.at("version").string("1.0");
  if (version != "1.0")
    root.at("version").fail("expected 1.0, found " + version);
  Tokenizer tokenizer;
  tokenizer.model = BpeModel::parse(root.at("model"));
  tokenizer.normalizer = parseNormalizer(root.at("normalizer"));
  tokenizer.preTokenizer = parsePreTokenizer(root.at("pre_tokenizer"));
  tokenizer.decoder = parseDecoder(root.at("decoder"));
  tokenizer.postProcessor = parsePostProcessor(root.at("post_processor"));
  if (Status status = reader.status())
    return *status;
  tokenizer.added =
      AddedTokens::parse(root.at("added_tokens"), tokenizer.model, tokenizer.normalizer.get());
  if (Status status = reader.status())
    return *status;
  return tokenizer;
}

Result<Tokenizer> Tokenizer::load(const std::string &path) {
  Result<std::string> text = readFile(path);
  if (!text)
    return text.failure();
  return parse(*text, path);
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() > longestText)
    return usageFailure("a text of " + std::to_string(text.size()) +
                        " bytes is too long to encode at once; the most is 1 GiB");
  std::string repaired;
  if (!isValidUtf8(text)) {
    repaired = repairUtf8(text);
    text = repaired;
  }
  std::vector<Piece> pieces;
  if (Status status = added.extract(text, normalizer.get(), options.plainSpecial, pieces))
    return *status;
  if (preTokenizer)
    if (Status status = preTokenizer->apply(pieces))
      return *status;

  std::vector<int32_t> ids;
  if (options.addSpecial)
    ids = postProcessor.before;
  BpeCache cache;
  for (const Piece &piece : pieces) {
    if (piece.id >= 0)
      ids.push_back(piece.id);
    else
      model.encode(piece.text, cache, ids);
  }
  if (options.addSpecial)
    ids.insert(ids.end(), postProcessor.behind.begin(), postProcessor.behind.end());
  return ids;
}

Result<std::string> Tokenizer::decode(const std::vector<int32_t> &ids, bool skipSpecial) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (int32_t id : ids) {
    const std::string *token = tokenOf(id);
    if (token && !(skipSpecial && isSpecial(id)))
      tokens.push_back(*token);
  }
  if (decoder)
    if (Status status = decoder->apply(tokens))
      return *status;
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    // Without a decoder the tokens are shown as words.
    if (!decoder && i > 0)
      text += ' ';
    text += tokens[i];
  }
  return text;
}

int32_t Tokenizer::idLimit() const { return std::max(model.idLimit(), added.idLimit()); }

int32_t Tokenizer::idOf(std::string_view token) const {
  int32_t id = added.idOf(token);
  return id >= 0 ? id : model.idOf(token);
}

const std::string *Tokenizer::tokenOf(int32_t id) const {
  if (const AddedToken *token = added.find(id))
    return &token->spelling;
  return model.tokenOf(id);
}

const std::string *Tokenizer::contentOf(int32_t id) const {
  if (const AddedToken *token = added.find(id))
    return &token->content;
  return model.tokenOf(id);
}

bool Tokenizer::isSpecial(int32_t id) const {
  // The reference asks by spelling: a model token spelled like a special one counts.
  const std::string *token = tokenOf(id);
  return token && added.isSpecial(*token);
}

} // namespace qplan::text
