//===- TokenizerTest.cpp - ids, texts and refusals ------------------------===//
//
// Every family of tokenizers against the ids and texts of the tokenizers package,
// and one message for each thing in a file that is not understood.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/Tokenizer.h"
#include "TestInputs.h"
#include "runtime/text/TextStream.h"
#include <cstdio>
#include <gtest/gtest.h>

using namespace qplan::text;
using nlohmann::json;

namespace {

/// FNV-1a of 64 bits, in the notation of the expected files.
struct Hash {
  uint64_t value = 0xcbf29ce484222325;
  void add(uint8_t byte) { value = (value ^ byte) * 0x100000001b3; }
  std::string text() const {
    char buffer[20];
    std::snprintf(buffer, sizeof buffer, "%016llx", static_cast<unsigned long long>(value));
    return buffer;
  }
};

std::string hashOf(const std::string &text) {
  Hash hash;
  for (char c : text)
    hash.add(uint8_t(c));
  return hash.text();
}

std::string hashOf(const std::vector<int32_t> &ids) {
  Hash hash;
  for (int32_t id : ids)
    for (int shift = 0; shift < 32; shift += 8)
      hash.add(uint8_t(uint32_t(id) >> shift));
  return hash.text();
}

std::string fromHex(const std::string &hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += char(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

Tokenizer parsed(const json &file) {
  Result<Tokenizer> tokenizer = Tokenizer::parse(file.dump(), "t.json");
  EXPECT_TRUE(tokenizer) << tokenizer.failure().message;
  return std::move(*tokenizer);
}

std::string refusal(const std::string &text) {
  Result<Tokenizer> tokenizer = Tokenizer::parse(text, "t.json");
  return tokenizer ? "accepted" : tokenizer.failure().message;
}

std::vector<int32_t> idsOf(const Tokenizer &tokenizer, std::string_view text,
                           EncodeOptions options = {}) {
  Result<std::vector<int32_t>> ids = tokenizer.encode(text, options);
  EXPECT_TRUE(ids);
  return *ids;
}

class Families : public testing::TestWithParam<const char *> {
protected:
  void SetUp() override {
    std::string name = GetParam();
    std::string file =
        name == "tiny" ? "models/tiny/tokenizer.json" : "tokenizers/" + name + ".json";
    Result<Tokenizer> loaded = Tokenizer::load(inputPath(file));
    ASSERT_TRUE(loaded) << loaded.failure().message;
    tokenizer = std::make_unique<Tokenizer>(std::move(*loaded));
    expected = readJson("tokenizers/" + name + ".expected.json");
    texts = readJson("tokenizers/texts.json");
    ASSERT_EQ(expected["cases"].size(), texts.size());
  }

  void check(const std::string &text, const json &wanted) {
    EncodeOptions options;
    options.addSpecial = true;
    std::vector<int32_t> ids = idsOf(*tokenizer, text, options);
    ASSERT_EQ(ids.size(), wanted["count"].get<size_t>());
    if (wanted.contains("ids"))
      ASSERT_EQ(ids, wanted["ids"].get<std::vector<int32_t>>());
    ASSERT_EQ(hashOf(ids), wanted["ids_hash"].get<std::string>());
    ASSERT_EQ(hashOf(*tokenizer->decode(ids, false)), wanted["text_hash"].get<std::string>());
    ASSERT_EQ(hashOf(*tokenizer->decode(ids, true)), wanted["plain_hash"].get<std::string>());
  }

  std::unique_ptr<Tokenizer> tokenizer;
  json expected, texts;
};

TEST_P(Families, GiveTheReferenceIdsAndTexts) {
  for (size_t i = 0; i < texts.size(); ++i) {
    SCOPED_TRACE("text " + std::to_string(i));
    check(fromHex(texts[i].get<std::string>()), expected["cases"][i]);
    if (HasFatalFailure())
      return;
  }
}

TEST_P(Families, GiveTheReferenceIdsOfWikiText) {
  std::string text = readInput("text/wikitext2-test.txt");
  check(text.substr(0, expected["wikitext"]["bytes"].get<size_t>()), expected["wikitext"]);
}

TEST_P(Families, StreamWhatTheyDecode) {
  if (std::string(GetParam()) == "prefixed")
    GTEST_SKIP() << "without a decoder, what a stream shows has no blanks between tokens";
  for (size_t i = 0; i < texts.size(); ++i) {
    std::vector<int32_t> ids = idsOf(*tokenizer, fromHex(texts[i].get<std::string>()));
    TextStream stream(*tokenizer, {});
    std::string shown;
    for (int32_t id : ids)
      shown += *stream.push(id);
    shown += *stream.finish();
    EXPECT_EQ(shown, *tokenizer->decode(ids)) << "text " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, Families,
                         testing::Values("tiny", "gpt2", "llama3", "qwen2", "smollm", "gpt4o",
                                         "falcon", "sentencepiece", "metaspace", "metaspace_words",
                                         "normalized", "prefixed"),
                         [](const auto &info) { return std::string(info.param); });

TEST(Tokenizer, TakesSpecialTokensForTextWhenTold) {
  Tokenizer tokenizer = parsed(smallTokenizer());
  EXPECT_EQ(idsOf(tokenizer, "c<s>b<t>"), (std::vector<int32_t>{2, 4, 1, 5}));
  // The characters of "<s>" are not in the vocabulary.
  EXPECT_EQ(idsOf(tokenizer, "c<s>b<t>", {false, true}), (std::vector<int32_t>{2, 1, 5}));
}

TEST(Tokenizer, KnowsTokensAndIds) {
  Tokenizer tokenizer = parsed(smallTokenizer());
  EXPECT_EQ(tokenizer.idLimit(), 6);
  EXPECT_EQ(tokenizer.idOf("ab"), 3);
  EXPECT_EQ(tokenizer.idOf("<t>"), 5);
  EXPECT_EQ(tokenizer.idOf("zz"), -1);
  EXPECT_EQ(*tokenizer.contentOf(4), "<s>");
  EXPECT_EQ(tokenizer.contentOf(6), nullptr);
  EXPECT_EQ(tokenizer.contentOf(-1), nullptr);
  EXPECT_TRUE(tokenizer.isSpecial(4));
  EXPECT_FALSE(tokenizer.isSpecial(5));
}

TEST(Tokenizer, LeavesOutIdsWithoutAToken) {
  Tokenizer tokenizer = parsed(smallTokenizer());
  EXPECT_EQ(*tokenizer.decode({0, 99, -5, 4, 2}), "a<s>c");
  EXPECT_EQ(*tokenizer.decode({0, 99, -5, 4, 2}, true), "ac");
}

TEST(Tokenizer, TakesMergesInBothNotations) {
  json file = smallTokenizer();
  file["model"]["merges"] = {"a b"};
  EXPECT_EQ(idsOf(parsed(file), "abc"), (std::vector<int32_t>{3, 2}));
}

TEST(Tokenizer, IgnoresTruncationAndPadding) {
  json file = smallTokenizer();
  file["truncation"] = {{"max_length", 1}};
  file["padding"] = {{"length", 8}};
  EXPECT_EQ(idsOf(parsed(file), "ccc").size(), 3u);
}

TEST(Tokenizer, NamesAFileThatIsNotThere) {
  Result<Tokenizer> tokenizer = Tokenizer::load("/nonexistent/tokenizer.json");
  ASSERT_FALSE(tokenizer);
  EXPECT_NE(tokenizer.failure().message.find("/nonexistent/tokenizer.json: cannot be opened"),
            std::string::npos);
}

TEST(Tokenizer, SaysWhereJsonIsBroken) {
  EXPECT_EQ(refusal("{\"version\": \"1.0\",, }"),
            "t.json: not valid JSON: syntax error at byte 19");
  EXPECT_EQ(refusal(""), "t.json: not valid JSON: syntax error at byte 1");
  EXPECT_EQ(refusal("[]"), "t.json: expected an object, found array");
}

/// One change of the small tokenizer and what its refusal must say.
struct Mistake {
  const char *pointer;
  const char *value;
  const char *message;
};

class Mistakes : public testing::TestWithParam<Mistake> {};

TEST_P(Mistakes, AreNamed) {
  json file = smallTokenizer();
  file[json::json_pointer(GetParam().pointer)] = json::parse(GetParam().value);
  std::string message = refusal(file.dump());
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Tokenizer, Mistakes,
    testing::Values(
        Mistake{"/version", "\"2.0\"", "version: expected 1.0, found 2.0"},
        Mistake{"/extra", "1", "the key 'extra' is not supported"},
        Mistake{"/model", "null", "model: expected an object"},
        Mistake{"/model/type", "\"Unigram\"", "the model 'Unigram' is not supported (known: BPE)"},
        Mistake{"/model/dropout", "0.1", "model.dropout: random dropping"},
        Mistake{"/model/unk_token", "\"?\"", "model.unk_token: the token '?' is not in"},
        Mistake{"/model/vocab/x", "-1", "model.vocab: expected a whole number"},
        Mistake{"/model/vocab/x", "3", "share the id 3"},
        Mistake{"/model/vocab/x", "99999999999", "expected a number of at most"},
        Mistake{"/model/vocab/x", "16000000", "far above the number of tokens"},
        Mistake{"/model/merges", "[[\"a\",\"z\"]]",
                "merges[0]: the token 'z' is not in model.vocab"},
        Mistake{"/model/merges", "[[\"b\",\"a\"]]", "merges[0]: the token 'ba' is not in"},
        Mistake{"/model/merges", "[\"a b c\"]", "merges[0]: expected two tokens"},
        Mistake{"/model/merges", "[7]", "merges[0]: expected two tokens"},
        Mistake{"/added_tokens/0/id", "7", "added_tokens[0].id: expected 4 for '<s>'"},
        Mistake{"/added_tokens/0/content", "\"\"", "expected 1 to 4096 bytes"},
        Mistake{"/added_tokens/1/content", "\"<s>\"", "is listed twice"},
        Mistake{"/added_tokens/0/special", "null", "added_tokens[0].special: expected true or"},
        Mistake{"/normalizer", "{\"type\":\"Precompiled\"}",
                "normalizer: the normalizer 'Precompiled'"},
        Mistake{"/normalizer", "{\"type\":\"NFC\",\"x\":1}", "the key 'x' is not supported"},
        Mistake{"/normalizer",
                "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},\"content\":\"\"}",
                "normalizer.pattern.Regex: the pattern '(' cannot be compiled"},
        Mistake{"/normalizer",
                "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}",
                "an empty text is no pattern"},
        Mistake{"/pre_tokenizer", "{\"type\":\"UnicodeScripts\"}",
                "'UnicodeScripts' is not supported"},
        Mistake{
            "/pre_tokenizer",
            "{\"type\":\"Split\",\"pattern\":{\"String\":\"x\"},\"behavior\":\"Odd\",\"invert\":"
            "false}",
            "pre_tokenizer.behavior: the behavior 'Odd'"},
        Mistake{"/pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"ab\"}",
                "replacement: expected a string of one character"},
        Mistake{"/decoder", "{\"type\":\"CTC\"}", "the decoder 'CTC' is not supported"},
        Mistake{"/post_processor", "{\"type\":\"Odd\"}", "the post-processor 'Odd'"},
        Mistake{"/post_processor",
                "{\"type\":\"TemplateProcessing\",\"single\":[],\"pair\":[],\"special_tokens\":{}}",
                "post_processor.single: expected the text once, found it 0 times"}));

TEST(Tokenizer, RefusesDeepNesting) {
  std::string deep;
  for (int i = 0; i < 100000; ++i)
    deep += R"({"type":"Sequence","normalizers":[)";
  std::string closing;
  for (int i = 0; i < 100000; ++i)
    closing += "]}";
  std::string message =
      refusal(R"({"model":{"vocab":{},"merges":[]},"normalizer":)" + deep + closing + "}");
  EXPECT_NE(message.find("nested too deeply"), std::string::npos) << message.substr(0, 200);
}

} // namespace
