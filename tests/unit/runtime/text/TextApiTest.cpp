//===- TextApiTest.cpp - the C interface ----------------------------------===//
//
// Status codes, messages and ownership at the border; what the functions do is
// tested beside the classes behind them.
//
//===----------------------------------------------------------------------===//
#include "TestInputs.h"
#include "qplan/text.h"
#include <gtest/gtest.h>

using namespace qplan::text;

extern "C" int textApiRound(const char *path, const char *text);

namespace {

TEST(TextApi, ServesACProgram) {
  for (const char *name : {"tokenizers/gpt2.json", "tokenizers/sentencepiece.json"})
    EXPECT_EQ(textApiRound(inputPath(name).c_str(), "Héllo, 世界! 😀"), 0) << name;
}

TEST(TextApi, TellsInputFromUsage) {
  qplan_text_error error;
  qplan_tokenizer *tokenizer = nullptr;
  EXPECT_EQ(qplan_tokenizer_parse("{", 1, nullptr, &tokenizer, &error), QPLAN_INVALID_INPUT);
  EXPECT_EQ(std::string(error.message).rfind("tokenizer.json: not valid JSON", 0), 0u);
  EXPECT_EQ(qplan_tokenizer_load(nullptr, &tokenizer, &error), QPLAN_INVALID_USAGE);
  EXPECT_EQ(std::string(error.message), "the argument 'path' must not be NULL");
  EXPECT_EQ(qplan_tokenizer_load("x", nullptr, nullptr), QPLAN_INVALID_USAGE);
  EXPECT_EQ(tokenizer, nullptr);
  qplan_tokenizer_free(nullptr);
  qplan_text_free(nullptr);
}

TEST(TextApi, CutsLongMessages) {
  qplan_text_error error;
  qplan_tokenizer *tokenizer = nullptr;
  std::string name(5000, 'n');
  EXPECT_EQ(qplan_tokenizer_parse("", 0, name.c_str(), &tokenizer, &error), QPLAN_INVALID_INPUT);
  EXPECT_EQ(std::string(error.message).size(), sizeof error.message - 1);
}

TEST(TextApi, ChecksStopRules) {
  qplan_text_error error;
  qplan_tokenizer *tokenizer = nullptr;
  std::string file = smallTokenizer().dump();
  ASSERT_EQ(qplan_tokenizer_parse(file.data(), file.size(), "t", &tokenizer, &error), QPLAN_OK);
  EXPECT_EQ(qplan_tokenizer_id_limit(tokenizer), 6);
  EXPECT_EQ(qplan_tokenizer_token_id(tokenizer, "ab"), 3);
  EXPECT_STREQ(qplan_tokenizer_token(tokenizer, 4), "<s>");
  EXPECT_EQ(qplan_tokenizer_token(tokenizer, 1000), nullptr);
  EXPECT_EQ(qplan_tokenizer_is_special(tokenizer, 4), 1);

  const char *empty = "";
  qplan_stop_v1 stop = {sizeof stop, nullptr, 0, &empty, 1, 0};
  qplan_text_stream *stream = nullptr;
  EXPECT_EQ(qplan_text_stream_create(tokenizer, &stop, &stream, &error), QPLAN_INVALID_USAGE);
  stop.size = 1;
  EXPECT_EQ(qplan_text_stream_create(tokenizer, &stop, &stream, &error), QPLAN_INVALID_USAGE);
  qplan_tokenizer_free(tokenizer);
}

TEST(TextApi, RendersChats) {
  qplan_text_error error;
  qplan_chat_template *chat = nullptr;
  std::string source = readInput("chat/smollm2.jinja");
  ASSERT_EQ(
      qplan_chat_template_parse(source.data(), source.size(), nullptr, nullptr, &chat, &error),
      QPLAN_OK);
  qplan_chat_message messages[] = {{"user", "Hi"}};
  char *text = nullptr;
  size_t size = 0;
  ASSERT_EQ(qplan_chat_template_render(chat, messages, 1, 1, &text, &size, &error), QPLAN_OK);
  EXPECT_EQ(std::string(text, size),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  qplan_text_free(text);
  qplan_chat_template_free(chat);
}

} // namespace
