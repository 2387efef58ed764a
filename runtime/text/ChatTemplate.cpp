//===- ChatTemplate.cpp - conversations to prompts ------------------------===//
//
// The variables that a template sees are those that transformers gives it:
// messages, add_generation_prompt, bos_token, eos_token, and tools and documents
// as None. strftime_now is left undefined: templates then write a fixed date, and
// a prompt does not depend on the day.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/ChatTemplate.h"
#include "runtime/text/JsonReader.h"
#include "runtime/text/Unicode.h"

namespace qplan::text {

using jinja::Dict;
using jinja::List;
using jinja::Value;

namespace {

/// A token of tokenizer_config.json: its text, or an object that holds it.
std::optional<std::string> parseToken(const Field &field) {
  if (!field.present())
    return std::nullopt;
  return field.isObject() ? field.at("content").string() : field.string();
}

/// "chat_template" is a text or a list of named ones.
std::string parseSource(const Field &field) {
  if (!field.isArray())
    return field.string();
  for (size_t i = 0, n = field.size(); i < n; ++i)
    if (field.at(i).at("name").string() == "default")
      return field.at(i).at("template").string();
  field.fail("no template is named 'default'");
  return "";
}

} // namespace

Result<ChatTemplate> ChatTemplate::parse(std::string_view source,
                                         std::optional<std::string> bosToken,
                                         std::optional<std::string> eosToken) {
  Result<jinja::Program> program = jinja::Program::parse(repairUtf8(source));
  if (!program)
    return inputFailure("chat template: " + program.failure().message);
  ChatTemplate chat;
  chat.program = std::make_shared<const jinja::Program>(std::move(*program));
  chat.bosToken = std::move(bosToken);
  chat.eosToken = std::move(eosToken);
  return chat;
}

Result<ChatTemplate> ChatTemplate::fromConfig(std::string_view json, std::string name) {
  JsonReader reader(json, name);
  if (Status status = reader.status())
    return *status;
  Field source = reader.root().at("chat_template");
  if (!source.present())
    source.fail("missing; without a chat template only plain prompts can be used");
  std::string text = reader.failed() ? "" : parseSource(source);
  std::optional<std::string> bos = parseToken(reader.root().at("bos_token"));
  std::optional<std::string> eos = parseToken(reader.root().at("eos_token"));
  if (Status status = reader.status())
    return *status;
  Result<ChatTemplate> chat = parse(text, std::move(bos), std::move(eos));
  if (!chat)
    return inputFailure(name + ": " + chat.failure().message);
  return chat;
}

Result<std::string> ChatTemplate::render(const std::vector<ChatMessage> &messages,
                                         bool generationPrompt) const {
  List list;
  for (const ChatMessage &message : messages) {
    Dict entry;
    entry.set("role", Value::of(message.role));
    entry.set("content", Value::of(message.content));
    list.push_back(Value::of(std::move(entry)));
  }
  Dict globals;
  globals.set("messages", Value::of(std::move(list)));
  globals.set("add_generation_prompt", Value::of(generationPrompt));
  globals.set("tools", Value::none());
  globals.set("documents", Value::none());
  if (bosToken)
    globals.set("bos_token", Value::of(*bosToken));
  if (eosToken)
    globals.set("eos_token", Value::of(*eosToken));
  Result<std::string> text = program->render(globals);
  if (!text)
    return inputFailure("chat template: " + text.failure().message);
  return text;
}

} // namespace qplan::text
