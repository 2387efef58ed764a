//===- GgufVocabularyTest.cpp - a GGUF file's vocabulary ------------------===//
//
// The written tokenizer.json must load and cut texts as the original does; real
// families are rebuilt from their tokenizer.json and must give its ids.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/GgufVocabulary.h"
#include "TestInputs.h"
#include "runtime/text/Tokenizer.h"
#include <gtest/gtest.h>

using namespace qplan::text;
using nlohmann::json;

namespace {

/// The arrays that a GGUF file would hold for a tokenizer.json.
GgufVocabulary vocabularyOf(const json &file, const std::string &model, const std::string &pre) {
  GgufVocabulary vocabulary;
  vocabulary.model = model;
  vocabulary.pre = pre;
  const json &tokens = file["model"]["vocab"];
  vocabulary.tokens.resize(tokens.size());
  for (auto it = tokens.begin(); it != tokens.end(); ++it)
    vocabulary.tokens[it.value().get<size_t>()] = it.key();
  vocabulary.types.assign(tokens.size(), 1);
  for (const json &token : file["added_tokens"])
    if (token["special"].get<bool>() && token["id"].get<size_t>() < tokens.size())
      vocabulary.types[token["id"].get<size_t>()] = 3;
  for (const json &merge : file["model"]["merges"])
    vocabulary.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  return vocabulary;
}

std::string converted(const GgufVocabulary &vocabulary) {
  std::string text, error;
  EXPECT_TRUE(ggufTokenizerJson(vocabulary, text, error)) << error;
  return text;
}

std::string refusal(const GgufVocabulary &vocabulary) {
  std::string text, error;
  EXPECT_FALSE(ggufTokenizerJson(vocabulary, text, error));
  EXPECT_TRUE(text.empty());
  return error;
}

void expectSameIds(const std::string &text, const std::string &original) {
  Result<Tokenizer> made = Tokenizer::parse(text, "made.json");
  ASSERT_TRUE(made) << made.failure().message;
  Result<Tokenizer> wanted = Tokenizer::load(inputPath("tokenizers/" + original));
  ASSERT_TRUE(wanted);
  std::string excerpt = readInput("text/wikitext2-test.txt").substr(0, 60000) +
                        " 1234 日本 😀 e\u0301 don't <|im_start|> x";
  EXPECT_EQ(*made->encode(excerpt), *wanted->encode(excerpt)) << original;
}

GgufVocabulary tinyByteLevel() {
  GgufVocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.pre = "gpt-2";
  vocabulary.tokens = {"a", "b", "ab", "<e>"};
  vocabulary.types = {1, 1, 1, 3};
  vocabulary.merges = {"a b"};
  return vocabulary;
}

GgufVocabulary tinySentencePiece() {
  GgufVocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.tokens = {"<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab", "ba", "<0x21>"};
  vocabulary.types = {2, 3, 3, 1, 1, 1, 1, 1, 1, 6};
  vocabulary.scores = {0, 0, 0, -9, -9, -9, -1, -3, -2, 0};
  vocabulary.bosId = 1;
  vocabulary.eosId = 2;
  return vocabulary;
}

TEST(GgufVocabulary, RebuildsByteLevelFamilies) {
  for (auto [name, pre] : {std::pair("smollm", "smollm"), std::pair("qwen2", "qwen2"),
                           std::pair("gpt4o", "gpt-4o"), std::pair("llama3", "llama-bpe")}) {
    json file = readJson(std::string("tokenizers/") + name + ".json");
    expectSameIds(converted(vocabularyOf(file, "gpt2", pre)), std::string(name) + ".json");
  }
}

TEST(GgufVocabulary, RebuildsSentencePieceFromScores) {
  json file = readJson("tokenizers/sentencepiece.json");
  GgufVocabulary vocabulary = vocabularyOf(file, "llama", "");
  std::map<std::string, float> rank;
  for (size_t i = 0; i < vocabulary.merges.size(); ++i) {
    std::string merge = vocabulary.merges[i];
    rank.emplace(merge.erase(merge.find(' '), 1), -float(i));
  }
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string &token = vocabulary.tokens[id];
    vocabulary.scores.push_back(rank.contains(token) ? rank[token] : -1e6f);
    if (token.size() == 6 && token.starts_with("<0x"))
      vocabulary.types[id] = 6;
  }
  vocabulary.types[0] = 2;
  vocabulary.merges.clear();
  expectSameIds(converted(vocabulary), "sentencepiece.json");
}

TEST(GgufVocabulary, OrdersMergesByScore) {
  json file = json::parse(converted(tinySentencePiece()), nullptr, false);
  EXPECT_EQ(file["model"]["merges"], json::parse(R"([["a","b"],["b","a"],["▁","ab"]])"));
}

TEST(GgufVocabulary, AddsBosAsTheModelDoes) {
  EncodeOptions special{true, false};
  GgufVocabulary vocabulary = tinySentencePiece();
  Result<Tokenizer> tokenizer = Tokenizer::parse(converted(vocabulary), "t.json");
  ASSERT_TRUE(tokenizer) << tokenizer.failure().message;
  EXPECT_EQ(*tokenizer->encode("ab!", special), (std::vector<int32_t>{1, 7, 9}));
  EXPECT_EQ(*tokenizer->decode({1, 7, 9}, true), "ab!");

  vocabulary.addBos = false;
  vocabulary.addEos = true;
  vocabulary.addSpacePrefix = false;
  Result<Tokenizer> other = Tokenizer::parse(converted(vocabulary), "t.json");
  ASSERT_TRUE(other);
  EXPECT_EQ(*other->encode("ab!", special), (std::vector<int32_t>{6, 9, 2}));
}

TEST(GgufVocabulary, NamesWhatItRefuses) {
  GgufVocabulary vocabulary = tinyByteLevel();
  vocabulary.model = "bert";
  EXPECT_EQ(refusal(vocabulary),
            "tokenizer.ggml.model: 'bert' is not supported (known: gpt2, llama)");
  vocabulary = tinyByteLevel();
  vocabulary.pre = "odd";
  EXPECT_NE(refusal(vocabulary).find("tokenizer.ggml.pre: 'odd' is not supported (known: default"),
            std::string::npos);
  vocabulary = tinyByteLevel();
  vocabulary.types.pop_back();
  EXPECT_EQ(refusal(vocabulary), "tokenizer.ggml.token_type: expected 4 values, one for each "
                                 "token, found 3");
  vocabulary = tinyByteLevel();
  vocabulary.tokens[1] = "a";
  EXPECT_EQ(refusal(vocabulary), "tokenizer.ggml.tokens: token 1 repeats token 0, 'a'");
  vocabulary = tinyByteLevel();
  vocabulary.tokens[1] = "\xFF";
  EXPECT_EQ(refusal(vocabulary), "tokenizer.ggml.tokens: token 1 is not valid UTF-8");
  vocabulary = tinyByteLevel();
  vocabulary.merges = {"ab"};
  EXPECT_NE(refusal(vocabulary).find("tokenizer.ggml.merges: entry 0"), std::string::npos);
  vocabulary = tinyByteLevel();
  vocabulary.bosId = 4;
  EXPECT_EQ(refusal(vocabulary),
            "tokenizer.ggml.bos_token_id: 4 is outside the vocabulary of 4 tokens");
  vocabulary = tinySentencePiece();
  vocabulary.scores.clear();
  EXPECT_EQ(refusal(vocabulary),
            "tokenizer.ggml.scores: missing; a llama vocabulary needs scores");
}

TEST(GgufVocabulary, LoadsForEveryKnownPre) {
  GgufVocabulary vocabulary = tinyByteLevel();
  vocabulary.pre = "odd";
  std::string list = refusal(vocabulary);
  list = list.substr(list.find("known: ") + 7);
  list.pop_back();
  int count = 0;
  for (size_t begin = 0; begin < list.size(); ++count) {
    size_t end = std::min(list.find(", ", begin), list.size());
    vocabulary.pre = list.substr(begin, end - begin);
    Result<Tokenizer> tokenizer = Tokenizer::parse(converted(vocabulary), vocabulary.pre);
    ASSERT_TRUE(tokenizer) << tokenizer.failure().message;
    EXPECT_EQ(*tokenizer->encode("ab<e>"), (std::vector<int32_t>{2, 3})) << vocabulary.pre;
    begin = end + 2;
  }
  EXPECT_GT(count, 20);
}

} // namespace
