//===- HfFolderTest.cpp ---------------------------------------------------===//

#include "ir/import/HfFolder.h"
#include "TestFiles.h"

#include <gtest/gtest.h>

using namespace qplan;
using namespace qplan::test;
using nlohmann::json;

/// A file with tensor `name`, one f32.
static std::string shard(const std::string &name) {
  return safetensorsImage("{\"" + name + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                          "abcd");
}
static std::string openError(const TempFolder &folder) {
  return messageOf(openCheckpoint(folder.path()));
}
#define EXPECT_PART(message, part) EXPECT_NE((message).find(part), std::string::npos) << (message)

TEST(HfFolder, ReadsASingleFile) {
  auto checkpoint = openCheckpoint(QPLAN_TEST_INPUTS "/zoo/llama_gqa");
  ASSERT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
  const Checkpoint &c = **checkpoint;
  EXPECT_EQ(c.kind(), CheckpointKind::HuggingFace);
  EXPECT_EQ(c.config()["hidden_size"], 64);
  EXPECT_EQ(c.tensors().size(), 20u);
  const TensorInfo *tensor = c.find("model.layers.1.mlp.down_proj.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->shape, (std::vector<int64_t>{64, 32}));
  EXPECT_EQ(tensor->format, FormatId::F32);
  EXPECT_EQ(tensor->storage, "F32");
  EXPECT_EQ(tensor->bytes, 64u * 32 * 4);
  EXPECT_EQ(c.gguf(), nullptr);
  EXPECT_TRUE(c.warnings().empty());
  for (size_t i = 1; i < c.tensors().size(); ++i)
    EXPECT_LT(c.tensors()[i - 1].offset, c.tensors()[i].offset) << "file order";
}

TEST(HfFolder, FindsTheTokenizer) {
  auto tiny = openCheckpoint(QPLAN_TEST_INPUTS "/models/tiny");
  ASSERT_TRUE(!!tiny) << messageOf(tiny.takeError());
  EXPECT_EQ((*tiny)->tokenizerJsonPath(), QPLAN_TEST_INPUTS "/models/tiny/tokenizer.json");
  EXPECT_EQ((*tiny)->companionFile("../tiny/config.json"), "");
  EXPECT_EQ((*tiny)->tensors().front().format, FormatId::BF16);
}

TEST(HfFolder, ReadsEveryFolderOfTheZoo) {
  size_t count = 0;
  for (const auto &entry : std::filesystem::directory_iterator(QPLAN_TEST_INPUTS "/zoo")) {
    if (!entry.is_directory())
      continue;
    auto checkpoint = openCheckpoint(entry.path().string());
    EXPECT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
    ++count;
  }
  EXPECT_EQ(count, 13u);
}

TEST(HfFolder, JoinsShardsAndReportsUnlistedTensors) {
  TempFolder folder;
  folder.write("config.json", "{}");
  folder.write("model-00001-of-00002.safetensors", shard("a"));
  folder.write("model-00002-of-00002.safetensors",
               safetensorsImage(R"({"b":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
                                R"("c":{"dtype":"U8","shape":[0],"data_offsets":[8,8]}})",
                                "12345678"));
  folder.write(
      "model.safetensors.index.json",
      R"({"metadata":{"total_size":1},"weight_map":{"a":"model-00001-of-00002.safetensors",)"
      R"("b":"model-00002-of-00002.safetensors"}})");
  auto checkpoint = openCheckpoint(folder.path());
  ASSERT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
  EXPECT_EQ((*checkpoint)->tensors().size(), 3u);
  EXPECT_FALSE((*checkpoint)->find("b")->format.has_value());
  EXPECT_EQ((*checkpoint)->find("b")->storage, "I64");
  ASSERT_EQ((*checkpoint)->warnings().size(), 1u);
  EXPECT_PART((*checkpoint)->warnings()[0], "tensor 'c' is not listed");
}

TEST(HfFolder, RefusesShardsThatDisagreeWithTheIndex) {
  TempFolder folder;
  folder.write("config.json", "{}");
  folder.write("1.safetensors", shard("a"));
  folder.write("2.safetensors", shard("b"));
  auto index = [&](const std::string &map) {
    folder.write("model.safetensors.index.json", R"({"weight_map":)" + map + "}");
    return openError(folder);
  };
  EXPECT_EQ(index(R"({"a":"1.safetensors","b":"2.safetensors"})"), "");
  EXPECT_PART(
      index(R"({"a":"3.safetensors"})"),
      "3.safetensors: no such file, but model.safetensors.index.json places tensor 'a' there");
  EXPECT_PART(index(R"({"z":"1.safetensors"})"),
              "places tensor 'z' there, but the file does not hold it");
  EXPECT_PART(index(R"({"a":"2.safetensors","b":"1.safetensors"})"), "but it is in");
  EXPECT_PART(index(R"({"a":"../1.safetensors"})"), "a file name without a folder is expected");
  EXPECT_PART(index(R"({"a":".."})"), "a file name without a folder is expected");
  EXPECT_PART(index(R"({"a":7})"), "gives tensor 'a' a number; a file name is expected");
  EXPECT_PART(index(R"({})"), "lists no tensor");
  EXPECT_PART(index(R"([])"), "has no weight_map object");
  folder.write("2.safetensors", shard("a"));
  EXPECT_PART(index(R"({"a":"1.safetensors","b":"2.safetensors"})"), "a name may appear once");
}

TEST(HfFolder, PrefersTheIndexToTheSingleFile) {
  TempFolder folder;
  folder.write("config.json", "{}");
  folder.write("model.safetensors", shard("single"));
  folder.write("s.safetensors", shard("sharded"));
  folder.write("model.safetensors.index.json", R"({"weight_map":{"sharded":"s.safetensors"}})");
  auto checkpoint = openCheckpoint(folder.path());
  ASSERT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
  EXPECT_NE((*checkpoint)->find("sharded"), nullptr);
  EXPECT_EQ((*checkpoint)->find("single"), nullptr);
}

TEST(HfFolder, RefusesMethodsItDoesNotReadByName) {
  TempFolder folder;
  folder.write("model.safetensors", shard("a"));
  auto error = [&](const char *config) {
    folder.write("config.json", config);
    return openError(folder);
  };
  EXPECT_EQ(error("{}"), "");
  EXPECT_EQ(error(R"({"quantization_config":null})"), "");
  EXPECT_PART(error(R"({"quantization_config":{"quant_method":"hqq"}})"),
              "already quantized with 'hqq'");
  EXPECT_PART(error(R"({"text_config":{"quantization_config":{"quant_method":"quark"}}})"),
              "'quark'");
  EXPECT_PART(error(R"({"quantization_config":{"load_in_4bit":true}})"), "'bitsandbytes'");
  EXPECT_PART(error(R"({"quantization_config":7})"), "an object {...} is expected");
  EXPECT_PART(error(R"({"quantization_config":{}})"), "an unnamed method");
  EXPECT_PART(error(R"({"architecture":"LlamaForCausalLM","mapping":{}})"), "TensorRT-LLM");
  folder.write("quantize_config.json", R"({"quant_method":"eetq"})");
  EXPECT_PART(error("{}"), "'eetq'");
  folder.write("hf_quant_config.json", R"({"quantization":{"quant_algo":"W1A1"}})");
  EXPECT_PART(error("{}"), "quant_algo 'W1A1' is not imported");
}

TEST(HfFolder, NamesWhatIsMissingOrBroken) {
  TempFolder folder;
  EXPECT_PART(openError(folder), "has no config.json");
  folder.write("x.gguf", "GGUF");
  EXPECT_PART(openError(folder), "name the model itself, perhaps");
  folder.write("config.json", "[]");
  EXPECT_PART(openError(folder), "config.json: holds a JSON array; an object {...} is expected");
  folder.write("config.json", "{\"a\":\n1,}");
  EXPECT_PART(openError(folder), "config.json: line 2, column 3: is not valid JSON");
  folder.write("config.json", "{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}");
  EXPECT_PART(openError(folder), "nested deeper than 64 levels");
  folder.write("config.json", "{}");
  EXPECT_PART(openError(folder), "has neither model.safetensors.index.json nor model.safetensors");
  folder.write("pytorch_model.bin", "");
  EXPECT_PART(openError(folder), "convert them to safetensors");
}

TEST(HfFolder, ReadsTheLicense) {
  TempFolder folder;
  folder.write("config.json", "{}");
  folder.write("model.safetensors", shard("a"));
  folder.write("README.md", "---\ntags: x\nlicense: \"apache-2.0\"\n---\nlicense: no\n");
  EXPECT_EQ((*openCheckpoint(folder.path()))->license(), "apache-2.0");
  folder.write("LICENSE", "Apache License");
  EXPECT_EQ((*openCheckpoint(folder.path()))->license(), "Apache License");
}
