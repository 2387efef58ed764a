//===- CheckpointTest.cpp - recognition, hashes, GGUF checkpoints ---------===//

#include "ir/import/Checkpoint.h"
#include "TestFiles.h"
#include "ir/codecs/Codec.h"
#include "ir/import/Gguf.h"

#include <gtest/gtest.h>
#include <llvm/ADT/StringExtras.h>

using namespace qplan;
using namespace qplan::test;

#define EXPECT_PART(message, part)                                                                 \
  do {                                                                                             \
    std::string text = (message);                                                                  \
    EXPECT_NE(text.find(part), std::string::npos) << text;                                         \
  } while (false)

TEST(Checkpoint, SaysWhatOtherFilesAre) {
  TempFolder folder;
  EXPECT_PART(messageOf(openCheckpoint(folder.path("none"))), "no such file or folder");
  EXPECT_PART(messageOf(openCheckpoint(folder.write("m.onnx", "x"))),
              "ONNX model, which this build cannot read");
  EXPECT_PART(messageOf(openCheckpoint(folder.write("m", std::string("\x08\x0a\x12\x07pytorch")))),
              "ONNX");
  EXPECT_PART(messageOf(openCheckpoint(folder.write("a", safetensorsImage("{}      ", "")))),
              "is a safetensors file");
  EXPECT_PART(messageOf(openCheckpoint(folder.write("b", std::string("PK\3\4...")))),
              "PyTorch pickle");
  EXPECT_PART(messageOf(openCheckpoint(folder.write("c", "{\"a\":1}"))),
              "JSON file; give the folder");
  EXPECT_PART(messageOf(openCheckpoint(folder.write("d", "hello"))),
              "begins with bytes 68656c6c6f");
  EXPECT_PART(messageOf(openCheckpoint(folder.write("e", ""))), "the file is empty");
}

TEST(Checkpoint, SuggestsNearTensorNames) {
  auto checkpoint = openCheckpoint(QPLAN_TEST_INPUTS "/zoo/llama_gqa");
  ASSERT_TRUE(!!checkpoint);
  EXPECT_PART(messageOf((*checkpoint)->get("model.layers.0.mlp.down.weight")),
              "has no tensor 'model.layers.0.mlp.down.weight'; it has 20 tensors, nearest: "
              "'model.layers.0.mlp.down_proj.weight'");
}

TEST(Checkpoint, HashesContentNotPlace) {
  TempFolder first, second;
  std::string data(4096, 'x');
  std::string header = R"({"a":{"dtype":"U8","shape":[4096],"data_offsets":[0,4096]}})";
  auto hashOf = [&](const TempFolder &folder, const std::string &config, const std::string &bytes) {
    folder.write("config.json", config);
    folder.write("model.safetensors", safetensorsImage(header, bytes));
    return (*openCheckpoint(folder.path()))->contentHash();
  };
  std::string hash = hashOf(first, "{}", data);
  EXPECT_EQ(hash.size(), 64u);
  EXPECT_EQ(hash, hashOf(second, "{}", data));
  EXPECT_NE(hash, hashOf(second, R"({"a":1})", data));
  data[2048] = 'y';
  EXPECT_NE(hash, hashOf(second, "{}", data)) << "other weights of the same shape";
}

TEST(GgufCheckpoint, ReadsAFileOfLlamaCppsTools) {
  auto checkpoint = openCheckpoint(QPLAN_TEST_INPUTS "/gguf/llama-k_quants.gguf");
  ASSERT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
  const Checkpoint &c = **checkpoint;
  EXPECT_EQ(c.kind(), CheckpointKind::Gguf);
  EXPECT_TRUE(c.config().is_null());
  EXPECT_EQ(c.find("blk.0.attn_q.weight")->format, FormatId::Q2_K);
  EXPECT_EQ(c.find("blk.0.attn_k.weight")->format, FormatId::Q3_K);
  EXPECT_EQ(c.find("blk.0.attn_v.weight")->format, FormatId::Q4_K);
  EXPECT_EQ(c.find("blk.0.attn_k.weight")->shape, (std::vector<int64_t>{64, 256}));
  EXPECT_EQ(*c.gguf()->stringValue("general.architecture"), "llama");
  EXPECT_EQ(*c.gguf()->unsignedValue("llama.attention.head_count"), 4u);
  EXPECT_EQ(c.gguf()->strings("tokenizer.ggml.tokens")->size(), 64u);
  EXPECT_EQ((*c.gguf()->strings("tokenizer.ggml.tokens"))[1], "<s>");
  EXPECT_EQ(*c.gguf()->boolValue("tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(c.license(), "cc0-1.0");
  EXPECT_EQ(c.tokenizerJsonPath(), "");
}

TEST(GgufCheckpoint, RefusesTypesWithoutACodecByName) {
  TempFolder folder;
  GgufImage image;
  image.tensor("blk.0.x", {256}, 16, std::string(66, 'x'));
  EXPECT_PART(messageOf(openCheckpoint(folder.write("a.gguf", image.bytes()))),
              "tensor 'blk.0.x' is stored as IQ2_XXS, which this build cannot read; convert the "
              "model to one of F32, F16");
  GgufImage numbers;
  numbers.tensor("map", {2}, 27, std::string(16, 'x'));
  auto checkpoint = openCheckpoint(folder.write("b.gguf", numbers.bytes()));
  ASSERT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
  EXPECT_FALSE((*checkpoint)->find("map")->format.has_value());
}

/// Values of the only row of a tensor of `columns`.
static std::vector<float> rowOf(const Checkpoint &checkpoint, const char *name, int64_t columns) {
  const TensorInfo *tensor = checkpoint.find(name);
  EXPECT_TRUE(tensor && tensor->rows);
  if (!tensor || !tensor->rows)
    return {};
  const Codec &codec = codecFor(*tensor->format);
  std::vector<uint8_t> row(codec.bytesPerRow(columns));
  tensor->rows->read(0, row.data());
  const std::vector<float> side = tensor->rows->side();
  std::vector<float> values(columns);
  codec.decodeRow(row.data(), columns, values.data(), {side, 0});
  return values;
}

TEST(GgufCheckpoint, ReadsBlocksOfFp4) {
  // What gguf-py stores for -16..15: exponent 2, halves of the block in the halves of bytes.
  const std::string mx = llvm::fromHex("810e0e1d1d2d2d3c3c4c4b4b5a5a595960");
  // Scales 2, 0.5, nothing (0x7f) and 2^-9; codes 0..15 twice.
  const std::string nv = llvm::fromHex("40307f01") + llvm::fromHex("8091a2b3c4d5e6f7") +
                         llvm::fromHex("0112233445566778") + std::string(8, '\x22') +
                         std::string(8, '\xf7');
  const float half = 0.5f;
  const std::string scale(reinterpret_cast<const char *>(&half), 4);
  GgufImage image;
  image.tensor("a.weight", {32}, 39, mx).tensor("b.weight", {64}, 40, nv);
  image.tensor("b.scale", {1}, 0, scale);
  TempFolder folder;
  auto checkpoint = openCheckpoint(folder.write("a.gguf", image.bytes()));
  ASSERT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
  EXPECT_EQ((*checkpoint)->find("b.scale"), nullptr); // used up
  std::vector<float> a = rowOf(**checkpoint, "a.weight", 32);
  EXPECT_EQ(a, (std::vector<float>{-16, -16, -12, -12, -12, -12, -8, -8, -8, -6, -6,
                                   -4,  -4,  -2,  -2,  0,   0,   0,  2,  2,  4,  4,
                                   6,   6,   8,   8,   8,   12,  12, 12, 12, 16}));
  std::vector<float> b = rowOf(**checkpoint, "b.weight", 64);
  const float numbers[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  for (int i = 0; i < 16; ++i)
    EXPECT_EQ(b[i], numbers[i]) << i; // scale 2 * 0.5
  EXPECT_EQ(b[16], 0.25f * numbers[1]);
  EXPECT_EQ(b[24], 0.25f * numbers[0]);
  EXPECT_EQ(b[31], 0.25f * numbers[7]);
  EXPECT_EQ(b[32], 0.0f);
  EXPECT_EQ(b[48], 0x1p-10f * 6);
  EXPECT_EQ(b[63], 0x1p-10f * -6);
}

TEST(GgufCheckpoint, RefusesScalesOfExpertsAndBadScales) {
  TempFolder folder;
  GgufImage stacked;
  stacked.tensor("b.weight", {64}, 40, std::string(36, '\0'));
  stacked.tensor("b.scale", {2}, 0, std::string(8, '\0'));
  EXPECT_PART(messageOf(openCheckpoint(folder.write("a.gguf", stacked.bytes()))),
              "tensor 'b.scale' is F32 of shape [2]; one F32 number");
  GgufImage zero;
  zero.tensor("b.weight", {64}, 40, std::string(36, '\0'));
  zero.tensor("b.scale", {1}, 0, std::string(4, '\0'));
  EXPECT_PART(messageOf(openCheckpoint(folder.write("b.gguf", zero.bytes()))),
              "tensor 'b.scale' is 0; a finite scale above 0 is expected");
}

/// Part `number` (from 0) of `count`, with one tensor.
static std::string part(uint16_t number, uint16_t count, const std::string &tensor,
                        uint32_t total) {
  GgufImage image;
  image.u16("split.no", number).u16("split.count", count);
  image.value("split.tensors.count", 5, raw(total)).string("general.architecture", "llama");
  return image.tensor(tensor, {1}, 0, "abcd").bytes();
}

TEST(GgufCheckpoint, JoinsSplitFiles) {
  TempFolder folder;
  std::string first = folder.write("m-00001-of-00002.gguf", part(0, 2, "a", 2));
  folder.write("m-00002-of-00002.gguf", part(1, 2, "b", 2));
  auto checkpoint = openCheckpoint(first);
  ASSERT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
  EXPECT_EQ((*checkpoint)->tensors().size(), 2u);
  EXPECT_EQ((*checkpoint)->find("b")->file, folder.path("m-00002-of-00002.gguf"));
}

TEST(GgufCheckpoint, RefusesBrokenSplits) {
  TempFolder folder;
  std::string first = folder.write("m-00001-of-00002.gguf", part(0, 2, "a", 2));
  EXPECT_PART(messageOf(openCheckpoint(first)), "m-00002-of-00002.gguf: no such file");
  std::string second = folder.write("m-00002-of-00002.gguf", part(1, 2, "b", 2));
  EXPECT_PART(messageOf(openCheckpoint(second)), "is part 2 of 2; give the first part, ");
  folder.write("m-00002-of-00002.gguf", part(0, 2, "b", 2));
  EXPECT_PART(messageOf(openCheckpoint(first)), "says it is part 1 of 2; part 2 of 2 is expected");
  folder.write("m-00002-of-00002.gguf", part(1, 2, "a", 2));
  EXPECT_PART(messageOf(openCheckpoint(first)), "tensor 'a' is also in");
  folder.write("m-00002-of-00002.gguf", part(1, 2, "b", 2));
  folder.write("m-00001-of-00002.gguf", part(0, 2, "a", 9));
  EXPECT_PART(messageOf(openCheckpoint(first)),
              "split.tensors.count is 9, but the 2 parts hold 2 tensors");
  EXPECT_PART(messageOf(openCheckpoint(folder.write("n.gguf", part(0, 2, "a", 2)))),
              "its name does not end in");
}
