//===- Tokenizer.h - text to token ids and back -----------------*- C++ -*-===//
//
// A tokenizer as a Hugging Face tokenizer.json describes it. Ids are those of the
// Hugging Face tokenizers library for the same file and text; a field of the file
// that this library does not know is an error, never skipped. "truncation" and
// "padding" are the exception: they are settings of a caller's batches and do not
// change which tokens a text has.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_TOKENIZER_H
#define QPLAN_TEXT_TOKENIZER_H

#include "runtime/text/AddedTokens.h"
#include "runtime/text/BpeModel.h"
#include "runtime/text/Decoder.h"
#include "runtime/text/Normalizer.h"
#include "runtime/text/PostProcessor.h"
#include "runtime/text/PreTokenizer.h"
#include "runtime/text/Result.h"
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace qplan::text {

/// How to encode.
struct EncodeOptions {
  bool addSpecial = false;   ///< add the post-processor's tokens (BOS, EOS)
  bool plainSpecial = false; ///< special tokens written in the text are plain text
};

/// Immutable once made; all functions are const and thread-safe.
class Tokenizer {
public:
  /// Reads the text of a tokenizer.json; `name` is the file's name for messages.
  static Result<Tokenizer> parse(std::string_view json, std::string name);
  /// Reads a file.
  static Result<Tokenizer> load(const std::string &path);

  /// The ids of `text`, of which invalid UTF-8 reads as U+FFFD (as Python's
  /// errors="replace"). At most 1 GiB.
  Result<std::vector<int32_t>> encode(std::string_view text, EncodeOptions options = {}) const;
  /// The text of `ids`, valid UTF-8. Ids without a token are left out, as in the
  /// reference: vocabularies are padded.
  Result<std::string> decode(const std::vector<int32_t> &ids, bool skipSpecial = false) const;

  /// One more than the highest id.
  int32_t idLimit() const;
  /// The id of a token, written as in the file, or -1.
  int32_t idOf(std::string_view token) const;
  /// The token of an id as decoding sees it, or null. The pointer lives as long as
  /// the tokenizer.
  const std::string *tokenOf(int32_t id) const;
  /// The token of an id as the file writes it, or null; lives as long as above.
  const std::string *contentOf(int32_t id) const;
  bool isSpecial(int32_t id) const;
  /// Whether every token stands for bytes of its own (see Decoder.h).
  bool isByteLevel() const { return decoder && decoder->isByteLevel(); }

private:
  std::unique_ptr<Normalizer> normalizer;
  std::unique_ptr<PreTokenizer> preTokenizer;
  std::unique_ptr<Decoder> decoder;
  PostProcessor postProcessor;
  BpeModel model;
  AddedTokens added;
};

} // namespace qplan::text
#endif // QPLAN_TEXT_TOKENIZER_H
