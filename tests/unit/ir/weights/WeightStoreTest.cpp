//===- WeightStoreTest.cpp ------------------------------------------------===//
//
// Transforms are compared with a brute-force matrix; real checkpoints with each
// other (a GGUF is its Hugging Face original, permuted) and with hashes of what
// gguf-py dequantizes.
//
//===----------------------------------------------------------------------===//

#include "ir/weights/WeightStore.h"
#include "../import/TestFiles.h"
#include "ir/codecs/Codec.h"

#include <cmath>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/SHA256.h>
#include <random>

using namespace qplan;
using namespace qplan::test;
using T = WeightTransform;

static std::unique_ptr<Checkpoint> openInput(const std::string &name) {
  auto checkpoint = openCheckpoint(std::string(QPLAN_TEST_INPUTS "/") + name);
  EXPECT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
  return std::move(*checkpoint);
}

namespace {

/// A row-major matrix, and each transform in its obvious form.
struct Matrix {
  int64_t rows, columns;
  std::vector<float> values;
  float at(int64_t r, int64_t c) const { return values[r * columns + c]; }
  template <typename F>
  static Matrix make(int64_t rows, int64_t columns, F value) {
    Matrix result{rows, columns, {}};
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        result.values.push_back(value(r, c));
    return result;
  }
};

class WeightStoreTest : public testing::Test {
protected:
  /// A blob of random values in `format`, and what it decodes to.
  std::pair<WeightRef, Matrix> random(std::vector<int64_t> shape, FormatId format) {
    int64_t columns = shape.back(), rows = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i)
      rows *= shape[i];
    const Codec &codec = codecFor(format);
    uint64_t size = codec.bytesPerRow(columns);
    std::vector<uint8_t> bytes(rows * size);
    Matrix matrix{rows, columns, std::vector<float>(rows * columns)};
    std::vector<float> row(columns);
    for (int64_t r = 0; r < rows; ++r) {
      for (float &value : row)
        value = std::normal_distribution<float>()(generator);
      EXPECT_EQ(messageOf(codec.encodeRow(row.data(), columns, nullptr, &bytes[r * size])), "");
      codec.decodeRow(&bytes[r * size], columns, &matrix.values[r * columns]);
    }
    return {WeightRef::fromBlob(*blobs.put(shape, format, bytes)), matrix};
  }

  /// The reference reads as `expected`, whole and in tiles.
  void expectReads(const WeightRef &ref, const Matrix &expected) {
    auto view = store.open(ref.text()); // through the text form
    ASSERT_TRUE(!!view) << messageOf(view.takeError());
    ASSERT_EQ(view->rows(), expected.rows);
    ASSERT_EQ(view->columns(), expected.columns);
    EXPECT_EQ(*view->readAll(), expected.values) << ref.text();
    for (int i = 0; i < 20; ++i) {
      auto below = [&](int64_t end) { return static_cast<int64_t>(generator() % end); };
      int64_t r = below(expected.rows), c = below(expected.columns);
      int64_t nr = 1 + below(expected.rows - r), nc = 1 + below(expected.columns - c),
              stride = nc + 3;
      std::vector<float> tile(nr * stride, -7);
      ASSERT_EQ(messageOf(view->readTile(r, nr, c, nc, tile.data(), stride)), "");
      for (int64_t y = 0; y < nr; ++y) {
        for (int64_t x = 0; x < nc; ++x)
          ASSERT_EQ(tile[y * stride + x], expected.at(r + y, c + x)) << ref.text();
        ASSERT_EQ(tile[y * stride + nc], -7) << "nothing is written beside the tile";
      }
    }
    expectNative(*view, expected);
  }

  /// Where there are stored rows, they decode to the same values.
  static void expectNative(const WeightView &view, const Matrix &expected) {
    if (!view.nativeFormat())
      return;
    const Codec &codec = codecFor(*view.nativeFormat());
    std::vector<float> row(view.columns());
    for (int64_t r = 0; r < view.rows(); ++r) {
      std::vector<uint8_t> scratch;
      auto bytes = view.nativeRow(r, scratch);
      ASSERT_TRUE(!!bytes) << messageOf(bytes.takeError());
      ASSERT_EQ(bytes->size(), codec.bytesPerRow(view.columns()));
      codec.decodeRow(bytes->data(), view.columns(), row.data());
      for (int64_t c = 0; c < view.columns(); ++c)
        ASSERT_EQ(row[c], expected.at(r, c)) << view.text();
    }
  }

  std::unique_ptr<Checkpoint> checkpoint = openInput("zoo/llama_gqa");
  BlobStore blobs;
  WeightStore store{*checkpoint, blobs};
  std::mt19937 generator{1};
};

class WeightStoreFormats : public WeightStoreTest, public testing::WithParamInterface<FormatId> {};

} // namespace

TEST_P(WeightStoreFormats, TransformsMatchTheirDefinitions) {
  auto [ref, m] = random({12, 96}, GetParam());
  std::vector<float> byColumn(96), byRow(12);
  for (float &value : byColumn)
    value = 0.5f + generator() % 8;
  for (float &value : byRow)
    value = 0.5f + generator() % 8;
  std::string columnScale = *blobs.putFloats({96}, byColumn),
              rowScale = *blobs.putFloats({12}, byRow);
  const Matrix &x = m;
  expectReads(ref, x);
  expectReads(ref.with(T::sliceRows(3, 7)),
              Matrix::make(4, 96, [&](auto r, auto c) { return x.at(r + 3, c); }));
  expectReads(ref.with(T::sliceColumns(32, 96)),
              Matrix::make(12, 64, [&](auto r, auto c) { return x.at(r, c + 32); }));
  expectReads(ref.with(T::sliceColumns(5, 42)),
              Matrix::make(12, 37, [&](auto r, auto c) { return x.at(r, c + 5); }));
  expectReads(ref.with(T::transpose()),
              Matrix::make(96, 12, [&](auto r, auto c) { return x.at(c, r); }));
  expectReads(ref.with(T::transpose()).with(T::sliceRows(31, 70)).with(T::sliceColumns(1, 9)),
              Matrix::make(39, 8, [&](auto r, auto c) { return x.at(c + 1, r + 31); }));
  // Head size 6: Hugging Face row s*3 + i lies at GGUF row 2*i + s.
  expectReads(ref.with(T::unpermuteRope(2)), Matrix::make(12, 96, [&](auto r, auto c) {
                return x.at(r / 6 * 6 + 2 * (r % 3) + r % 6 / 3, c);
              }));
  expectReads(ref.with(T::addConstant(-1)),
              Matrix::make(12, 96, [&](auto r, auto c) { return x.at(r, c) + -1.0f; }));
  expectReads(ref.with(T::multiplyConstant(0.3)),
              Matrix::make(12, 96, [&](auto r, auto c) { return x.at(r, c) * 0.3f; }));
  expectReads(ref.with(T::scaleColumns(columnScale)),
              Matrix::make(12, 96, [&](auto r, auto c) { return x.at(r, c) * byColumn[c]; }));
  expectReads(ref.with(T::scaleRows(rowScale)),
              Matrix::make(12, 96, [&](auto r, auto c) { return x.at(r, c) * byRow[r]; }));
  // A block of 4: sums and differences of neighbours, then of those, over the root of 4.
  auto turned = [](int64_t i, float a, float b, float c, float d) {
    const float first = i % 2 ? a - b : a + b, second = i % 2 ? c - d : c + d;
    return (i % 4 < 2 ? first + second : first - second) * 0.5f;
  };
  expectReads(ref.with(T::rotateColumns(4)), Matrix::make(12, 96, [&](auto r, auto c) {
                auto at = [&](int64_t i) { return x.at(r, c / 4 * 4 + i); };
                return turned(c, at(0), at(1), at(2), at(3));
              }));
  expectReads(ref.with(T::rotateRows(4)), Matrix::make(12, 96, [&](auto r, auto c) {
                auto at = [&](int64_t i) { return x.at(r / 4 * 4 + i, c); };
                return turned(r, at(0), at(1), at(2), at(3));
              }));
  expectReads(ref.with(T::reshape({32, 36})),
              Matrix::make(32, 36, [&](auto r, auto c) { return x.values[r * 36 + c]; }));
  expectReads(ref.with(T::reshape({3, 4, 96})).with(T::selectExpert(2)),
              Matrix::make(4, 96, [&](auto r, auto c) { return x.at(r + 8, c); }));
  expectReads(
      WeightRef::concatRows({ref.with(T::sliceRows(4, 6)), ref, ref.with(T::sliceRows(0, 1))}),
      Matrix::make(15, 96, [&](auto r, auto c) {
        return x.at(r < 2 ? r + 4 : r < 14 ? r - 2 : 0, c);
      }));
}
INSTANTIATE_TEST_SUITE_P(Formats, WeightStoreFormats,
                         testing::Values(FormatId::F32, FormatId::BF16, FormatId::Q8_0,
                                         FormatId::Q4_1, FormatId::Int4G32, FormatId::Int8),
                         [](const auto &info) { return formatName(info.param).str(); });

TEST_F(WeightStoreTest, VectorsTakeTheTransformsOfTheirRows) {
  auto [ref, m] = random({12}, FormatId::F32);
  const std::vector<float> &x = m.values;
  std::string scale =
      *blobs.putFloats({12}, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  expectReads(ref.with(T::sliceRows(3, 7)),
              Matrix::make(1, 4, [&](auto, auto c) { return x[c + 3]; }));
  expectReads(ref.with(T::unpermuteRope(3)), Matrix::make(1, 12, [&](auto, auto c) {
                return x[c / 4 * 4 + 2 * (c % 2) + c % 4 / 2];
              }));
  expectReads(ref.with(T::scaleRows(scale)),
              Matrix::make(1, 12, [&](auto, auto c) { return x[c] * (c + 1); }));
  expectReads(WeightRef::concatRows({ref.with(T::sliceRows(10, 12)), ref}),
              Matrix::make(1, 14, [&](auto, auto c) { return c < 2 ? x[c + 10] : x[c - 2]; }));
  EXPECT_EQ(*store.shapeOf(ref.with(T::sliceRows(3, 7))), std::vector<int64_t>{4});
}

TEST_F(WeightStoreTest, LargeTransposesReadInBlocks) {
  auto [ref, m] = random({300, 512}, FormatId::Q8_0);
  const Matrix &x = m;
  expectReads(ref.with(T::transpose()),
              Matrix::make(512, 300, [&](auto r, auto c) { return x.at(c, r); }));
}

TEST_F(WeightStoreTest, NativeFormatSurvivesWhatMovesWholeBlocks) {
  auto [ref, m] = random({8, 64}, FormatId::Q4_0);
  auto native = [&](const WeightRef &r) { return *store.formatOf(r); };
  EXPECT_EQ(native(ref.with(T::unpermuteRope(2)).with(T::sliceRows(1, 3))), FormatId::Q4_0);
  EXPECT_EQ(native(ref.with(T::sliceColumns(32, 64))), FormatId::Q4_0);
  EXPECT_EQ(native(ref.with(T::sliceColumns(16, 48))), std::nullopt);
  EXPECT_EQ(native(ref.with(T::transpose())), std::nullopt);
  EXPECT_EQ(native(ref.with(T::addConstant(0))), std::nullopt);
  EXPECT_EQ(native(WeightRef::concatRows({ref, ref})), FormatId::Q4_0);
  auto [other, n] = random({8, 64}, FormatId::Q8_0);
  EXPECT_EQ(native(WeightRef::concatRows({ref, other})), std::nullopt);
  EXPECT_EQ(store.open(ref.with(T::transpose()))->storedFormat(), FormatId::Q4_0);
  EXPECT_NE(messageOf(store.readNativeRow(ref.with(T::transpose()), 0)).find("has no stored rows"),
            std::string::npos);
}

TEST_F(WeightStoreTest, ErrorsQuoteTheTransformAndTheShape) {
  std::string name = "model.layers.0.self_attn.k_proj.weight"; // [32, 64]
  auto error = [&](const std::string &tail) { return messageOf(store.open(name + tail)); };
  std::string blob = *blobs.putFloats({3}, std::vector<float>{1, 2, 3});
  const std::pair<std::string, const char *> wrong[] = {
      {"|slice_rows(0,33)|transpose",
       "k_proj.weight|slice_rows(0,33)': the last transform is applied to shape [32, 64]; 0 <= "
       "begin < end <= 32 is expected"},
      {"|slice_rows(5,5)", "0 <= begin < end <= 32"},
      {"|slice_columns(-1,5)", "0 <= begin < end <= 64"},
      {"|unpermute_rope(0)", "32 rows must be heads of an even size"},
      {"|unpermute_rope(32)", "32 rows must be heads of an even size"},
      {"|select_expert(32)", "an index below 32 is expected"},
      {"|reshape(0,2048)", "positive dimensions"},
      {"|reshape(4611686018427387904,4)", "positive dimensions"},
      {"|reshape(5)", "a shape of 2048 elements is expected"},
      {"|reshape(2,16,64)|transpose", "a matrix is expected"},
      {"|reshape(2,16,64)|slice_rows(0,1)", "select_expert or reshape first"},
      {"|scale_rows(" + blob + ")", "32 factors are needed, the blob has 3"},
      {"|scale_rows(feed)", "no blob is called 'feed'"},
      {"x", "has no tensor"},
  };
  for (const auto &[tail, part] : wrong)
    EXPECT_NE(error(tail).find(part), std::string::npos) << tail << ": " << error(tail);
  name = "concat_rows(model.norm.weight;model.layers.0.self_attn.k_proj.weight)";
  EXPECT_NE(error("").find("parts of shapes [64] and [32, 64]"), std::string::npos) << error("");
  float value;
  EXPECT_NE(
      messageOf(store.readRows(WeightRef("model.norm.weight"), 1, 1, &value)).find("rows 1..2"),
      std::string::npos);
}

TEST_F(WeightStoreTest, FiniteCheckNamesTheFirstBadValue) {
  std::vector<float> values(6, 1.0f);
  EXPECT_EQ(
      messageOf(store.open(WeightRef::fromBlob(*blobs.putFloats({2, 3}, values)))->checkFinite()),
      "");
  values[4] = INFINITY;
  std::string blob = *blobs.putFloats({2, 3}, values);
  EXPECT_NE(messageOf(store.open(WeightRef::fromBlob(blob))->checkFinite())
                .find("the value at row 1, column 1 is inf"),
            std::string::npos);
}

TEST(WeightStore, ReadsMisalignedTensors) {
  TempFolder folder;
  folder.write("config.json", "{}");
  std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                       R"("w":{"dtype":"F32","shape":[1,2],"data_offsets":[1,9]}})";
  folder.write("model.safetensors", safetensorsImage(header, "x" + raw(1.5f) + raw(-2.0f)));
  auto checkpoint = openCheckpoint(folder.path());
  ASSERT_TRUE(!!checkpoint) << messageOf(checkpoint.takeError());
  BlobStore blobs;
  WeightStore store(**checkpoint, blobs);
  EXPECT_EQ(*store.readAll(WeightRef("w")), (std::vector<float>{1.5f, -2.0f}));
  EXPECT_NE(
      messageOf(store.readAll(WeightRef("a"))).find("is stored as U8, which holds no weights"),
      std::string::npos);
}

//===----------------------------------------------------------------------===//
// Real files
//===----------------------------------------------------------------------===//

TEST(WeightStore, UnpermutedGgufEqualsItsOriginal) {
  auto gguf = openInput("gguf/llama_gqa-f32.gguf"), folder = openInput("zoo/llama_gqa");
  BlobStore blobs;
  WeightStore ours(*gguf, blobs), original(*folder, blobs);
  const std::tuple<const char *, const char *> pairs[] = {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"blk.0.attn_q.weight|unpermute_rope(4)", "model.layers.0.self_attn.q_proj.weight"},
      {"blk.1.attn_k.weight|unpermute_rope(2)", "model.layers.1.self_attn.k_proj.weight"},
      {"blk.1.attn_v.weight", "model.layers.1.self_attn.v_proj.weight"},
      {"blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight"},
      {"output_norm.weight", "model.norm.weight"}};
  for (auto [left, right] : pairs)
    EXPECT_EQ(*ours.open(left)->readAll(), *original.open(right)->readAll()) << left;
  EXPECT_NE(*ours.readAll(WeightRef("blk.0.attn_q.weight")),
            *original.readAll(WeightRef("model.layers.0.self_attn.q_proj.weight")));
}

/// The stored rows of a GGUF weight are what the codec makes of the original's values.
static void expectEncodes(WeightStore &original, const std::string &from, WeightStore &gguf,
                          const std::string &to) {
  auto source = original.open(from), stored = gguf.open(to);
  ASSERT_TRUE(!!source && !!stored);
  ASSERT_EQ(source->shape(), stored->shape());
  const Codec &codec = codecFor(*stored->nativeFormat());
  std::vector<float> row(source->columns());
  std::vector<uint8_t> bytes(codec.bytesPerRow(source->columns())), scratch;
  for (int64_t r = 0; r < source->rows(); ++r) {
    ASSERT_EQ(messageOf(source->readRows(r, 1, row.data())), "");
    ASSERT_EQ(messageOf(codec.encodeRow(row.data(), source->columns(), nullptr, bytes.data())), "");
    ASSERT_EQ(llvm::ArrayRef<uint8_t>(bytes), *stored->nativeRow(r, scratch)) << to << " row " << r;
  }
}

TEST(WeightStore, ExpertsOfAStackAreTheOriginals) {
  auto gguf = openInput("gguf/mixtral-q4_0.gguf"), folder = openInput("zoo/mixtral");
  BlobStore blobs;
  WeightStore ours(*gguf, blobs), original(*folder, blobs);
  for (int expert = 0; expert < 4; ++expert) {
    std::string from = fmt::format("model.layers.1.block_sparse_moe.experts.{}.", expert);
    std::string select = fmt::format("_exps.weight|select_expert({})", expert);
    expectEncodes(original, from + "w1.weight", ours, "blk.1.ffn_gate" + select);
    expectEncodes(original, from + "w2.weight", ours, "blk.1.ffn_down" + select);
    expectEncodes(original, from + "w3.weight", ours, "blk.1.ffn_up" + select);
  }
  expectEncodes(original, "model.layers.0.self_attn.q_proj.weight", ours,
                "blk.0.attn_q.weight|unpermute_rope(4)");
}

TEST(WeightStore, TransposedLinearsAreTheOnesOfTheGguf) {
  auto gguf = openInput("gguf/gpt2-q8_0.gguf"), folder = openInput("zoo/gpt2");
  BlobStore blobs;
  WeightStore ours(*gguf, blobs), original(*folder, blobs);
  expectEncodes(original, "transformer.h.0.attn.c_attn.weight|transpose", ours,
                "blk.0.attn_qkv.weight");
  expectEncodes(original, "transformer.h.1.mlp.c_proj.weight|transpose", ours,
                "blk.1.ffn_down.weight");
}

TEST(WeightStore, DequantizesAsGgufPyDoes) {
  size_t tensors = 0;
  for (const auto &entry : std::filesystem::directory_iterator(QPLAN_TEST_INPUTS "/gguf")) {
    if (entry.path().extension() != ".gguf")
      continue;
    auto checkpoint = openInput("gguf/" + entry.path().filename().string());
    BlobStore blobs;
    WeightStore store(*checkpoint, blobs);
    std::ifstream expected(std::filesystem::path(entry.path()).replace_extension(".sha256"));
    for (std::string name, hash; expected >> name >> hash; ++tensors) {
      auto values = store.readAll(WeightRef(name));
      ASSERT_TRUE(!!values) << messageOf(values.takeError());
      llvm::ArrayRef<uint8_t> bytes(reinterpret_cast<const uint8_t *>(values->data()),
                                    values->size() * 4);
      EXPECT_EQ(llvm::toHex(llvm::SHA256::hash(bytes), true), hash) << entry.path() << " " << name;
    }
  }
  EXPECT_GT(tensors, 100u);
}
