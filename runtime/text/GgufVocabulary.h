//===- GgufVocabulary.h - a GGUF file's vocabulary --------------*- C++ -*-===//
//
// GGUF files hold a vocabulary as arrays and name the rest. This turns both into
// the text of an equivalent tokenizer.json, the one form that a plan keeps. Reading
// the GGUF file itself is the caller's work.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_GGUFVOCABULARY_H
#define QPLAN_TEXT_GGUFVOCABULARY_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace qplan::text {

/// The tokenizer.ggml.* values of a GGUF file; what the file lacks stays as it is.
struct GgufVocabulary {
  std::string model;                   ///< .model: "gpt2" or "llama"
  std::string pre;                     ///< .pre: how "gpt2" cuts texts; "" is "default"
  std::vector<std::string> tokens;     ///< .tokens, by id
  std::vector<float> scores;           ///< .scores, one for each token; needed for "llama"
  std::vector<int32_t> types;          ///< .token_type, one for each token: 1 normal, 2 unknown,
                                       ///< 3 control, 4 user defined, 5 unused, 6 byte
  std::vector<std::string> merges;     ///< .merges: "left right"; needed for "gpt2"
  std::optional<int32_t> bosId;        ///< .bos_token_id
  std::optional<int32_t> eosId;        ///< .eos_token_id
  std::optional<int32_t> unknownId;    ///< .unknown_token_id
  std::optional<bool> addBos;          ///< .add_bos_token
  std::optional<bool> addEos;          ///< .add_eos_token
  std::optional<bool> addSpacePrefix;  ///< .add_space_prefix
};

/// Writes the tokenizer.json of `vocabulary` to `json` and returns true. Otherwise
/// `error` says which key is at fault, what it holds and what would be understood.
bool ggufTokenizerJson(const GgufVocabulary &vocabulary, std::string &json, std::string &error);

} // namespace qplan::text
#endif // QPLAN_TEXT_GGUFVOCABULARY_H
