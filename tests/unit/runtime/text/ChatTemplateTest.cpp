//===- ChatTemplateTest.cpp - conversations to prompts --------------------===//
//
// Templates of well-known families against jinja2's prompts, refusals with their
// line, and templates that try to run for ever or to fill the memory.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/ChatTemplate.h"
#include "TestInputs.h"
#include <gtest/gtest.h>

using namespace qplan::text;
using nlohmann::json;

namespace {

std::string rendered(const std::string &source) {
  Result<ChatTemplate> chat = ChatTemplate::parse(source, "<s>", std::nullopt);
  if (!chat)
    return chat.failure().message;
  Result<std::string> text = chat->render({{"user", "Hi"}}, true);
  return text ? *text : text.failure().message;
}

TEST(ChatTemplate, GivesTheReferencePrompts) {
  json cases = readJson("chat/expected.json");
  ASSERT_GT(cases.size(), 80u);
  for (const json &wanted : cases) {
    std::string name = wanted["template"].get<std::string>();
    Result<ChatTemplate> chat = ChatTemplate::parse(readInput("chat/" + name), "<s>", "</s>");
    ASSERT_TRUE(chat) << name << ": " << chat.failure().message;
    std::vector<ChatMessage> messages;
    for (const json &message : wanted["messages"])
      messages.push_back(
          {message["role"].get<std::string>(), message["content"].get<std::string>()});
    Result<std::string> text = chat->render(messages, wanted["generation_prompt"].get<bool>());
    if (wanted.contains("refused")) {
      ASSERT_FALSE(text) << name;
      EXPECT_NE(text.failure().message.find(wanted["refused"].get<std::string>()),
                std::string::npos);
      continue;
    }
    ASSERT_TRUE(text) << name << ": " << text.failure().message;
    EXPECT_EQ(*text, wanted["expected"].get<std::string>()) << name;
  }
}

TEST(ChatTemplate, ComesFromTheConfig) {
  Result<ChatTemplate> chat =
      ChatTemplate::fromConfig(readInput("models/tiny/tokenizer_config.json"), "c.json");
  ASSERT_TRUE(chat) << chat.failure().message;
  EXPECT_EQ(*chat->render({{"user", "Hi"}}, true), "<|user|>\nHi\n<|assistant|>\n");
}

TEST(ChatTemplate, TakesTheDefaultOfSeveral) {
  Result<ChatTemplate> chat = ChatTemplate::fromConfig(
      R"({"chat_template": [{"name": "tool_use", "template": "no"},
                            {"name": "default", "template": "{{ bos_token }}yes"}],
          "bos_token": {"content": "<b>"}})",
      "c.json");
  ASSERT_TRUE(chat) << chat.failure().message;
  EXPECT_EQ(*chat->render({}, false), "<b>yes");
}

TEST(ChatTemplate, NamesWhatTheConfigLacks) {
  Result<ChatTemplate> chat = ChatTemplate::fromConfig("{}", "c.json");
  ASSERT_FALSE(chat);
  EXPECT_EQ(
      chat.failure().message,
      "c.json: chat_template: missing; without a chat template only plain prompts can be used");
}

TEST(ChatTemplate, LeavesMissingTokensUndefined) {
  EXPECT_EQ(rendered("{{ bos_token }}|{{ eos_token }}|{{ eos_token is defined }}"), "<s>||False");
}

TEST(ChatTemplate, NamesTheLineOfAMistake) {
  EXPECT_EQ(rendered("\n{% if x %}"),
            "chat template: line 2: a block is not closed; expected 'endif'");
  EXPECT_EQ(rendered("{{ 'a }}"), "chat template: line 1: a string is not closed");
  EXPECT_EQ(rendered("{{ 1 + }}"), "chat template: line 1: expected an expression, found '}}'");
  EXPECT_EQ(rendered("a\nb\n{% include 'x' %}"),
            "chat template: line 3: the statement 'include' is not supported (known: if, for, set, "
            "macro, break, continue, generation)");
  EXPECT_EQ(rendered("{{ 1 | odd_filter }}"),
            "chat template: line 1: the filter 'odd_filter' is not supported for a int");
  EXPECT_EQ(rendered("{{ lipsum() }}"),
            "chat template: line 1: 'lipsum' is not a function that templates can call here");
  EXPECT_EQ(rendered("{{ nothing.at_all }}"),
            "chat template: line 1: 'at_all' is asked of something undefined");
  EXPECT_EQ(rendered("{{ 1 // 0 }}"), "chat template: line 1: division by zero");
  EXPECT_EQ(rendered("{{ 'a' + 1 }}"),
            "chat template: line 1: '+' cannot be applied to a str and a int");
}

TEST(ChatTemplate, BoundsTimeAndMemory) {
  auto contains = [](const std::string &source, const char *part) {
    std::string text = rendered(source);
    EXPECT_NE(text.find(part), std::string::npos) << text.substr(0, 200);
  };
  contains("{% for i in range(60000) %}{% for j in range(60000) %}{% endfor %}{% endfor %}",
           "runs too long");
  contains("{% for i in range(9999999999) %}{% endfor %}", "at most 65536 elements");
  contains("{{ 'x' * 999999999999 }}", "64 MiB");
  contains("{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}"
           "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
           "64 MiB");
  contains("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "too deeply");
  contains("{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = [ns.l] %}"
           "{% endfor %}",
           "nested too deeply");
  contains("{% set ns = namespace() %}{% set ns.x = ns %}", "a namespace cannot be kept");
  contains("{{ " + std::string(100000, '(') + " }}", "nested too deeply");
  contains("{{ " + std::string(100000, '-') + "1 }}", "nested too deeply");
  std::string sum = "{{ 1";
  for (int i = 0; i < 50000; ++i)
    sum += "+1";
  contains(sum + " }}", "nested too deeply");
  std::string blocks;
  for (int i = 0; i < 50000; ++i)
    blocks += "{% if 1 %}";
  contains(blocks, "nested too deeply");
}

TEST(ChatTemplate, KeepsWholeNumbersWhole) {
  EXPECT_EQ(rendered("{{ 9223372036854775807 }}"),
            "chat template: line 1: a number has too many digits");
  EXPECT_EQ(rendered("{{ 999999999999999999 * 10 }}"),
            "chat template: line 1: a number grows too large");
  EXPECT_EQ(rendered("{{ -7 // 2 }} {{ -7 % 2 }} {{ 7 / 2 }} {{ 2.0 }}"), "-4 1 3.5 2.0");
}

TEST(ChatTemplate, ScopesVariablesAsJinja) {
  EXPECT_EQ(rendered("{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}"), "1");
  EXPECT_EQ(rendered("{% set n = namespace(x=1) %}{% for i in [1] %}{% set n.x = 2 %}{% endfor %}"
                     "{{ n.x }}"),
            "2");
  EXPECT_EQ(rendered("{% for i in [] %}{% else %}none{% endfor %}"), "none");
}

TEST(ChatTemplate, HandlesWhiteSpaceAsTransformersDoes) {
  EXPECT_EQ(rendered("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
  EXPECT_EQ(rendered("a \n {{- 'b' -}} \n c"), "abc");
  EXPECT_EQ(rendered("a {%+ if true %}b{% endif %} {# c #}d"), "a b d");
}

} // namespace
