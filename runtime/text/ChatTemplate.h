//===- ChatTemplate.h - conversations to prompts ----------------*- C++ -*-===//
//
// A checkpoint's chat template: a program in Jinja's language that writes the
// prompt for a list of messages. It runs with the settings that the transformers
// library uses (trim_blocks, lstrip_blocks); see Jinja.h for what is understood.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_CHATTEMPLATE_H
#define QPLAN_TEXT_CHATTEMPLATE_H

#include "runtime/text/JinjaProgram.h"
#include "runtime/text/Result.h"
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace qplan::text {

struct ChatMessage {
  std::string role;
  std::string content;
};

/// Immutable once made; thread-safe.
class ChatTemplate {
public:
  /// Reads a template. A token that is nothing is undefined to the template.
  static Result<ChatTemplate> parse(std::string_view source, std::optional<std::string> bosToken,
                                    std::optional<std::string> eosToken);
  /// Reads the template and the tokens of a tokenizer_config.json; `name` is the
  /// file's name for messages.
  static Result<ChatTemplate> fromConfig(std::string_view json, std::string name);
  /// The prompt. With `generationPrompt` it ends where the answer begins.
  Result<std::string> render(const std::vector<ChatMessage> &messages, bool generationPrompt) const;

private:
  std::shared_ptr<const jinja::Program> program;
  std::optional<std::string> bosToken, eosToken;
};

} // namespace qplan::text
#endif // QPLAN_TEXT_CHATTEMPLATE_H
