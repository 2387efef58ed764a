//===- QuantizedTest.cpp - checkpoints of other tools ---------------------===//
//
// Golden words of each tool's packing (one word, one row), folders that the tools
// wrote (values by hash), and what is refused, by name.
//
//===----------------------------------------------------------------------===//

#include "TestFiles.h"
#include "ir/codecs/Codec.h"
#include "ir/import/Checkpoint.h"
#include "ir/import/quantized/CacheScales.h"
#include "ir/weights/WeightStore.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/SHA256.h>

using namespace qplan;
using namespace qplan::test;

#define EXPECT_PART(message, part) EXPECT_NE((message).find(part), std::string::npos) << (message)

namespace {

/// A folder with a few tensors and a description of their quantization.
class Folder {
public:
  template <typename T>
  Folder &add(const std::string &name, const std::string &dtype, std::vector<int64_t> shape,
              std::vector<T> values) {
    std::string bytes(values.size() * sizeof(T), 0);
    std::memcpy(bytes.data(), values.data(), bytes.size());
    header += fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                          header.empty() ? "" : ",", name, dtype, fmt::join(shape, ","),
                          data.size(), data.size() + bytes.size());
    data += bytes;
    return *this;
  }
  std::unique_ptr<Checkpoint> open(const std::string &quantization) {
    write(quantization);
    auto checkpoint = openCheckpoint(folder.path());
    EXPECT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
    return checkpoint ? std::move(*checkpoint) : nullptr;
  }
  std::string error(const std::string &quantization) {
    write(quantization);
    return messageOf(openCheckpoint(folder.path()));
  }

private:
  void write(const std::string &quantization) {
    folder.write("config.json", R"({"quantization_config":)" + quantization + "}");
    folder.write("model.safetensors", safetensorsImage("{" + header + "}", data));
  }
  TempFolder folder;
  std::string header, data;
};

/// Codes of a row of an integer format.
std::vector<int> codesOf(const Checkpoint &checkpoint, const std::string &name, int64_t row) {
  const TensorInfo *tensor = checkpoint.find(name);
  EXPECT_TRUE(tensor && tensor->rows);
  if (!tensor || !tensor->rows)
    return {};
  const Codec &codec = codecFor(*tensor->format);
  std::vector<uint8_t> bytes(codec.bytesPerRow(tensor->shape[1]));
  tensor->rows->read(row, bytes.data());
  GridRow grid;
  codec.gridRow(bytes.data(), tensor->shape[1], grid);
  return {grid.codes.begin(), grid.codes.end()};
}

std::vector<int> upTo(int n) {
  std::vector<int> values;
  for (int i = 0; i < n; ++i)
    values.push_back(i);
  return values;
}

constexpr uint16_t half1 = 0x3c00; // 1.0
constexpr uint32_t first8 = 0x76543210u, next8 = 0xfedcba98u;

std::string packed(const std::string &weights, const std::string &more = "") {
  return R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":)"
         R"({"group_0":{"targets":["Linear"],"weights":{)" +
         weights + "}" + more + "}}}";
}

} // namespace

TEST(Quantized, CompressedTensorsWords) {
  Folder folder;
  folder.add<uint32_t>("m.weight_packed", "I32", {1, 2}, {first8, next8})
      .add<int64_t>("m.weight_shape", "I64", {2}, {1, 16})
      .add<uint16_t>("m.weight_scale", "F16", {1, 1}, {half1});
  auto checkpoint = folder.open(packed(R"("num_bits":4,"type":"int","group_size":128)"));
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint->tensors().size(), 1u);
  const TensorInfo *weight = checkpoint->find("m.weight");
  ASSERT_TRUE(weight);
  EXPECT_EQ(weight->format, FormatId::Int4);
  EXPECT_EQ(codesOf(*checkpoint, "m.weight", 0), upTo(16));
}

TEST(Quantized, CompressedTensorsOfThreeBitsInBothPackings) {
  auto codes = [](std::vector<uint32_t> words) {
    Folder folder;
    folder.add<uint32_t>("m.weight_packed", "I32", {1, int64_t(words.size())}, words)
        .add<int64_t>("m.weight_shape", "I64", {2}, {1, 32})
        .add<uint16_t>("m.weight_scale", "F16", {1, 1}, {half1});
    auto checkpoint = folder.open(packed(R"("num_bits":3,"type":"int")"));
    return checkpoint ? codesOf(*checkpoint, "m.weight", 0) : std::vector<int>();
  };
  std::vector<int> expected;
  for (int i = 0; i < 32; ++i)
    expected.push_back(i % 8);
  EXPECT_EQ(codes({0x88fac688u, 0xc688fac6u, 0xfac688fau}), expected);
  uint32_t ten[4] = {}; // ten codes a word, as releases before 0.13 stored them
  for (int i = 0; i < 32; ++i)
    ten[i / 10] |= uint32_t(i % 8) << (i % 10 * 3);
  EXPECT_EQ(codes({ten[0], ten[1], ten[2], ten[3]}), expected);
}

TEST(Quantized, CompressedTensorsZeroPointsLieAlongOutputs) {
  Folder folder;
  std::vector<uint32_t> rows(16, first8);
  folder.add<uint32_t>("m.weight_packed", "I32", {16, 1}, rows)
      .add<int64_t>("m.weight_shape", "I64", {2}, {16, 8})
      .add<uint16_t>("m.weight_scale", "F16", {16, 1}, std::vector<uint16_t>(16, half1))
      .add<uint32_t>("m.weight_zero_point", "I32", {2, 1}, {first8, next8});
  auto checkpoint =
      folder.open(packed(R"("num_bits":4,"type":"int","group_size":32,"symmetric":false)"));
  ASSERT_TRUE(checkpoint);
  BlobStore blobs;
  WeightStore store(*checkpoint, blobs);
  auto values = store.readAll(WeightRef("m.weight"));
  ASSERT_TRUE(!!values) << messageOf(values.takeError());
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column)
      EXPECT_EQ((*values)[row * 8 + column], float(column - row));
}

TEST(Quantized, AwqAndGptqWords) {
  Folder awq;
  awq.add<uint32_t>("m.qweight", "I32", {1, 1}, {0x75316420u})
      .add<uint32_t>("m.qzeros", "I32", {1, 1}, {0u})
      .add<uint16_t>("m.scales", "F16", {1, 8}, std::vector<uint16_t>(8, half1));
  auto checkpoint = awq.open(R"({"quant_method":"awq","bits":4,"group_size":128})");
  ASSERT_TRUE(checkpoint);
  BlobStore blobs;
  WeightStore store(*checkpoint, blobs);
  auto values = store.readAll(WeightRef("m.weight"));
  ASSERT_TRUE(!!values);
  EXPECT_EQ(*values, (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7}));

  Folder gptq;
  gptq.add<uint32_t>("m.qweight", "I32", {1, 8}, std::vector<uint32_t>(8, first8))
      .add<uint32_t>("m.qzeros", "I32", {1, 1}, {0x77777777u})
      .add<uint16_t>("m.scales", "F16", {1, 8}, std::vector<uint16_t>(8, half1));
  checkpoint = gptq.open(R"({"quant_method":"gptq","bits":4,"group_size":-1})");
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint->find("m.weight")->format, FormatId::Int4);
  EXPECT_EQ(codesOf(*checkpoint, "m.weight", 7), upTo(8));
}

TEST(Quantized, GptqZeroPointsThatToolsReadDifferentlyAreRefused) {
  Folder folder;
  folder.add<uint32_t>("m.qweight", "I32", {1, 8}, std::vector<uint32_t>(8, first8))
      .add<uint32_t>("m.qzeros", "I32", {1, 1}, {0xf7777777u})
      .add<uint16_t>("m.scales", "F16", {1, 8}, std::vector<uint16_t>(8, half1));
  EXPECT_PART(folder.error(R"({"quant_method":"gptq","bits":4,"group_size":128})"),
              "group 0, output 7 is stored as ones");
}

TEST(Quantized, ModelOptNibblesLieAlongOutputs) {
  Folder folder;
  folder.add<uint8_t>("m.weight", "U8", {2, 1}, {0xe1, 0x87})
      .add<float>("m.weight_scale", "F32", {4, 1}, {1, 1, 1, 1});
  auto checkpoint = folder.open(R"({"quant_method":"modelopt","quant_algo":"W4A16_AWQ"})");
  ASSERT_TRUE(checkpoint);
  BlobStore blobs;
  WeightStore store(*checkpoint, blobs);
  auto values = store.readAll(WeightRef("m.weight"));
  ASSERT_TRUE(!!values);
  EXPECT_EQ(*values, (std::vector<float>{1, -2, 7, -8}));
}

TEST(Quantized, FoldersOfTheToolsHaveTheValuesThatTheyGive) {
  size_t tensors = 0;
  for (const auto &entry : std::filesystem::directory_iterator(QPLAN_TEST_INPUTS "/quantized")) {
    if (!entry.is_directory())
      continue;
    auto checkpoint = openCheckpoint(entry.path().string());
    ASSERT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
    BlobStore blobs;
    WeightStore store(**checkpoint, blobs);
    std::ifstream expected(entry.path() / "weights.sha256");
    for (std::string name, hash; expected >> name >> hash; ++tensors) {
      auto values = store.readAll(WeightRef(name));
      ASSERT_TRUE(!!values) << messageOf(values.takeError());
      llvm::ArrayRef<uint8_t> bytes(reinterpret_cast<const uint8_t *>(values->data()),
                                    values->size() * 4);
      EXPECT_EQ(llvm::toHex(llvm::SHA256::hash(bytes), true), hash) << entry.path() << " " << name;
    }
  }
  EXPECT_EQ(tensors, 16u * 7);
}

TEST(Quantized, WhatNoFormatHoldsIsReadAsValuesAndSaid) {
  auto checkpoint = openCheckpoint(QPLAN_TEST_INPUTS "/quantized/gptq_actorder");
  ASSERT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
  EXPECT_EQ((*checkpoint)->find("model.layers.0.mlp.up_proj.weight")->format, FormatId::F32);
  ASSERT_FALSE((*checkpoint)->warnings().empty());
  EXPECT_PART((*checkpoint)->warnings()[0], "act-order");
}

TEST(Quantized, InputsAreKept) {
  auto checkpoint = openCheckpoint(QPLAN_TEST_INPUTS "/quantized/modelopt_int8_sq");
  ASSERT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
  const TensorInfo *weight = (*checkpoint)->find("model.layers.0.mlp.down_proj.weight");
  ASSERT_TRUE(weight);
  EXPECT_EQ(weight->input.format, FormatId::Int8Tensor);
  EXPECT_GT(weight->input.scale, 0);
  EXPECT_EQ(weight->input.factors, "model.layers.0.mlp.down_proj.pre_quant_scale");
  EXPECT_FALSE((*checkpoint)->find("model.layers.0.mlp.down_proj.input_scale"));
}

TEST(Quantized, ScalesOfCachesAreShownWhereTheyAreOfFp8) {
  auto folder = [](std::vector<float> keys, std::vector<int64_t> shape) {
    Folder made;
    made.add<uint32_t>("a.k_proj.weight_packed", "I32", {1, 2}, {first8, next8})
        .add<int64_t>("a.k_proj.weight_shape", "I64", {2}, {1, 16})
        .add<uint16_t>("a.k_proj.weight_scale", "F16", {1, 1}, {half1})
        .add<float>("a.k_scale", "F32", shape, keys)
        .add<float>("a.q_scale", "F32", {1}, {1})
        .add<uint16_t>("a.v_proj.output_scale", "F16", {1}, {half1});
    return made;
  };
  auto config = [](const std::string &scheme) {
    return R"({"kv_cache_scheme":)" + scheme + "," +
           packed(R"("num_bits":4,"type":"int","group_size":128)").substr(1);
  };
  const std::string fp8 = R"({"num_bits":8,"type":"float","dynamic":false})";
  auto checkpoint = folder({0.5f}, {1}).open(config(fp8));
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint->tensors().size(), 3u);
  EXPECT_EQ(cacheScales(*checkpoint, "a.k_proj", true), std::vector<double>{0.5});
  EXPECT_EQ(cacheScales(*checkpoint, "a.v_proj", false), std::vector<double>{1});
  EXPECT_TRUE(cacheScales(*checkpoint, "a.v_proj", true).empty());
  EXPECT_EQ(cacheFormatOf(*checkpoint), FormatId::Fp8E4M3Tensor);
  checkpoint = folder({0.5f, 0.25f}, {2, 1, 1}).open(config(fp8));
  EXPECT_EQ(cacheFormatOf(*checkpoint), FormatId::Fp8E4M3Head);

  for (const char *other : {"null", R"("nvfp4")", R"({"num_bits":8,"type":"int"})"}) {
    checkpoint = folder({0.5f}, {1}).open(config(other));
    EXPECT_EQ(checkpoint->tensors().size(), 1u) << other;
    EXPECT_EQ(cacheFormatOf(*checkpoint), std::nullopt);
    ASSERT_EQ(checkpoint->warnings().size(), 1u);
    EXPECT_PART(checkpoint->warnings()[0], "not of an fp8 cache are not used");
  }
  EXPECT_PART(folder({0.0f}, {1}).error(config(fp8)), "'a.k_scale' has 0 at 0");
  EXPECT_PART(folder({1, 1}, {2}).error(config(fp8)), "[heads, 1, 1]");
}

TEST(Quantized, TensorsThatDoNotFitAreRefusedByName) {
  auto config = packed(R"("num_bits":4,"type":"int","group_size":32)");
  auto withScales = [&](std::vector<int64_t> shape, int64_t columns, size_t scales) {
    Folder folder;
    folder.add<uint32_t>("m.weight_packed", "I32", {1, 2}, {first8, next8})
        .add<int64_t>("m.weight_shape", "I64", {2}, {1, columns})
        .add<uint16_t>("m.weight_scale", "F16", shape, std::vector<uint16_t>(scales, half1));
    return folder.error(config);
  };
  EXPECT_EQ(withScales({1, 1}, 16, 1), "");
  EXPECT_PART(withScales({1, 3}, 16, 3), "'m.weight_scale' of shape [1, 3] has 3 scales");
  EXPECT_PART(withScales({2, 1}, 16, 2), "[1, *] is expected");
  EXPECT_PART(withScales({1, 1}, 40, 1), "does not hold the 1 x 40 codes of 4 bits");
  EXPECT_PART(withScales({1, 1}, int64_t(1) << 40, 1), "does not hold");
  EXPECT_PART(withScales({1, 1}, -16, 1), "does not hold");
  Folder lonely;
  lonely.add<uint8_t>("m.weight", "I8", {1, 4}, {1, 2, 3, 4});
  EXPECT_PART(lonely.error(packed(R"("num_bits":8,"type":"int")")),
              "has no tensor 'm.weight_scale'");
}

TEST(Quantized, SettingsThatAreNotImportedAreRefusedByName) {
  Folder folder;
  folder.add<uint32_t>("m.weight_packed", "I32", {1, 2}, {first8, next8});
  auto error = [&](const std::string &weights, const std::string &more = "") {
    return folder.error(packed(weights, more));
  };
  EXPECT_PART(error(R"("num_bits":4,"type":"float")"), "weights of float 4 bits");
  EXPECT_PART(error(R"("num_bits":"4")"), "`num_bits` is \"4\"; a whole number is expected");
  EXPECT_PART(error(R"("num_bits":4)",
                    R"(,"input_activations":{"num_bits":8,"type":"int","strategy":"group",)"
                    R"("dynamic":true})"),
              "strategy 'group', dynamic, are not imported");
  EXPECT_PART(folder.error(R"({"quant_method":"compressed-tensors"})"), "no config_groups");
  EXPECT_PART(folder.error(R"({"quant_method":"compressed-tensors","config_groups":{"a":{)"
                           R"("targets":["re:(("],"weights":{}}}})"),
              "is an expression that this build cannot read");
  EXPECT_PART(folder.error(R"({"quant_method":"compressed-tensors","config_groups":{"a":{)"
                           R"("targets":["re:.*\\.q$"],"weights":{"num_bits":4}}}})"),
              "no config_group has its module as target");
  EXPECT_PART(folder.error(R"({"quant_method":"awq","version":"marlin"})"), "layout of one kernel");
  EXPECT_PART(folder.error(R"({"quant_method":"fp8","weight_block_size":[128]})"),
              "[rows, columns] is expected");
}
