//===- OpsTest.cpp - single ops, and what the evaluator refuses -----------===//

#include "EvalTesting.h"

#include <mlir/Parser/Parser.h>

using namespace qplan;
using namespace qplan::test;

namespace {

using Floats = std::vector<float>;

class EvalOps : public testing::Test {
protected:
  /// Evaluates the body of @forward over `ids`; weights come from zoo/llama_gqa and blobs.
  llvm::Expected<EvalRows> eval(const std::string &body, const Sequences &ids,
                                const std::string &width = "4") {
    std::string text =
        "func.func @forward(%ids: tensor<?xi32>) -> tensor<?x" + width + "xf32> {\n" + body + "}\n";
    auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    if (!module)
      return llvm::createStringError("does not parse");
    return evaluate(*module, store, ids);
  }
  /// `%name = qp.weight` of the values given.
  std::string weight(const std::string &name, std::vector<int64_t> shape,
                     std::vector<float> values) {
    std::string type = "tensor<";
    for (int64_t extent : shape)
      type += std::to_string(extent) + "x";
    auto blob = blobs.putFloats(shape, values);
    EXPECT_TRUE(!!blob);
    return "%" + name + " = qp.weight \"blob:" + *blob + "\" : " + type + "f32>\n";
  }
  /// `%x`: rows of `table` [n, 4], chosen by id.
  std::string rows(std::vector<float> table) {
    int64_t n = int64_t(table.size()) / 4;
    std::string type = "tensor<" + std::to_string(n) + "x4xf32>";
    return weight("table", {n, 4}, std::move(table)) +
           "%x = qp.embedding %ids, %table : tensor<?xi32>, " + type + " -> tensor<?x4xf32>\n";
  }

  /// %w and %r of a router that sends the row %x to experts 1 and 2, and the weights %e0 to %e3.
  std::string fourExperts() {
    return rows({1, 3, 3, 1}) +
           "%w, %r = qp.route softmax_of_chosen %x {top_k = 2 : i64} : tensor<?x4xf32> -> "
           "tensor<?x2xf32>, tensor<?x2xi32>\n" +
           weight("e0", {4, 4}, Floats(16, 0)) + weight("e1", {4, 4}, Floats(16, 1)) +
           weight("e2", {4, 4}, Floats(16, 2)) + weight("e3", {4, 4}, Floats(16, 3));
  }
  std::vector<float> values(const std::string &body, const Sequences &ids,
                            const std::string &width = "4") {
    auto found = eval(body, ids, width);
    if (!found) {
      ADD_FAILURE() << llvm::toString(found.takeError());
      return {};
    }
    return found->values;
  }

  Context context;
  std::unique_ptr<Checkpoint> checkpoint =
      llvm::cantFail(openCheckpoint(inputPath("zoo/llama_gqa")));
  BlobStore blobs;
  WeightStore store{*checkpoint, blobs};
};

const char *const returnX = "return %x : tensor<?x4xf32>\n";
const char *const returnY = "return %y : tensor<?x4xf32>\n";

} // namespace

TEST_F(EvalOps, EmbeddingTakesRowsOfEverySequence) {
  EXPECT_EQ(values(rows({1, 2, 3, 4, 5, 6, 7, 8}) + returnX, {{1}, {0, 1}}),
            Floats({5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST_F(EvalOps, OutlierColumnsAreThoseOfAnyRow) {
  std::string table = rows({1, 8, 0.5, 2, -1, 1, 0.25, -0.5});
  std::string split = table + "%o = qp.outliers %x {threshold = 6.0 : f64} : tensor<?x4xf32>\n";
  EXPECT_EQ(values(split + "return %o : tensor<?x4xf32>\n", {{0, 1}}),
            Floats({0, 8, 0, 0, 0, 1, 0, 0}));
  EXPECT_EQ(values(split + "return %o : tensor<?x4xf32>\n", {{1}}), Floats({0, 0, 0, 0}));
  // The scale of a row comes from what is below the threshold: 2, and 1 in an outlier column.
  Floats found = values(table +
                            "%q = qp.quantize %x {threshold = 6.0 : f64} : tensor<?x4xf32> -> "
                            "!qp.packed<?x4, int8_token>\n"
                            "%y = qp.dequantize %q : !qp.packed<?x4, int8_token> -> "
                            "tensor<?x4xf32>\n" +
                            returnY,
                        {{0, 1}});
  Floats codes = {64, 0, 32, 127, -127, 0, 32, -64};
  ASSERT_EQ(found.size(), codes.size());
  for (size_t i = 0; i < codes.size(); ++i)
    EXPECT_EQ(found[i], codes[i] * ((i < 4 ? 2.0f : 1.0f) / 127.0f)) << i;
}

TEST_F(EvalOps, PositionsStartAnewInEachSequence) {
  std::string body = rows({0, 0, 0, 0}) +
                     weight("p", {3, 4}, {9, 9, 9, 9, 1, 1, 1, 1, 2, 2, 2, 2}) +
                     "%y = qp.position_embedding %x, %p {offset = 1 : i64} : tensor<?x4xf32>, "
                     "tensor<3x4xf32>\n" +
                     returnY;
  EXPECT_EQ(values(body, {{0}, {0, 0}}), Floats({1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2}));
}

TEST_F(EvalOps, NormsOfGroupsHaveTheirOwnMeans) {
  std::string body = rows({3, 3, -5, 5}) + weight("g", {2}, {1, 2}) +
                     "%y = qp.rms_norm %x, %g {epsilon = 0.0 : f64, groups = 2 : i64, gamma_offset "
                     "= 1.0 : f64} : tensor<?x4xf32>, tensor<2xf32> -> tensor<?x4xf32>\n" +
                     returnY;
  EXPECT_EQ(values(body, {{0}}), Floats({2, 3, -2, 3}));
}

TEST_F(EvalOps, RopeTurnsPairsByThePosition) {
  // A quarter turn at each position for the first pair, none for the second.
  auto turned = [&](const std::string &style) {
    Floats found = values(rows({1, 2, 3, 4}) +
                              "%y = qp.rope %x {attention_factor = 2.0 : f64, head_dim = 4 : i64, "
                              "heads = 1 : i64, inverse_frequency = array<f64: 1.5707963267948966, "
                              "0.0>, style = #qp<rope_style " +
                              style + ">} : tensor<?x4xf32>\n" + returnY,
                          {{0, 0}});
    for (float &value : found)
      value = std::round(value * 1000) / 1000;
    return found;
  };
  EXPECT_EQ(turned("half"), Floats({2, 4, 6, 8, -6, 4, 2, 8}));
  EXPECT_EQ(turned("adjacent"), Floats({2, 4, 6, 8, -4, 2, 6, 8}));
}

TEST_F(EvalOps, PackedResultsAreWhatTheCodecStores) {
  // int8_token: the scale of a row is its largest magnitude / 127.
  std::string body = rows({127, 1.4f, -63.5f, 0}) +
                     "%q = qp.quantize %x : tensor<?x4xf32> -> !qp.packed<?x4, int8_token>\n"
                     "%y = qp.dequantize %q : !qp.packed<?x4, int8_token> -> tensor<?x4xf32>\n" +
                     returnY;
  EXPECT_EQ(values(body, {{0}}), Floats({127, 1, -64, 0}));
}

TEST_F(EvalOps, StaticScalesSaturate) {
  std::string body =
      rows({1000, 1.4f, -2.6f, 0}) +
      "%q = qp.quantize %x {scale = 0.5 : f64} : tensor<?x4xf32> -> !qp.packed<?x4, int8_tensor>\n"
      "%y = qp.dequantize %q : !qp.packed<?x4, int8_tensor> -> tensor<?x4xf32>\n" +
      std::string(returnY);
  EXPECT_EQ(values(body, {{0}}), Floats({63.5f, 1.5f, -2.5f, 0}));
}

TEST_F(EvalOps, TiesOfTheRouterGoToTheLowerExpert) {
  std::string body =
      fourExperts() +
      "%s = qp.expert_linear %x, %r, [%e0, %e1, %e2, %e3] [\"e\"] : "
      "tensor<?x4xf32>, tensor<?x2xi32>, [tensor<4x4xf32>, tensor<4x4xf32>, "
      "tensor<4x4xf32>, tensor<4x4xf32>] -> tensor<?x4xf32>\n"
      "%y = qp.combine %s, %w : tensor<?x4xf32>, tensor<?x2xf32> -> tensor<?x4xf32>\n" +
      returnY;
  // Experts 1 and 2 with halves: (1 + 2) / 2 times the sum 8 of the row.
  EXPECT_EQ(values(body, {{0}}), Floats({12, 12, 12, 12}));
}

TEST_F(EvalOps, ExpertsInAChainKeepTheRowsOfOthers) {
  std::string types = "tensor<?x4xf32>, tensor<?x2xi32>, [tensor<4x4xf32>, tensor<4x4xf32>]";
  std::string body =
      fourExperts() +
      "%a = qp.expert_linear %x, %r, [%e3, %e1] [\"e.3\", \"e.1\"] {numbers = array<i64: 3, 1>} : " +
      types + " -> tensor<?x4xf32>\n" +
      "%s = qp.expert_linear %x, %r, [%e0, %e2] onto %a [\"e.0\", \"e.2\"] {numbers = "
      "array<i64: 0, 2>} : " +
      types + " onto tensor<?x4xf32> -> tensor<?x4xf32>\n" +
      "%y = qp.combine %s, %w : tensor<?x4xf32>, tensor<?x2xf32> -> tensor<?x4xf32>\n" + returnY;
  EXPECT_EQ(values(body, {{0}}), Floats({12, 12, 12, 12})); // as one bank gives
}

TEST_F(EvalOps, WindowsHideOldKeys) {
  // All scores are equal: the result is the mean of the values that are seen.
  auto attention = [&](const std::string &window) {
    return values(
        rows({0, 0, 0, 0, 3, 3, 3, 3, 6, 6, 6, 6}) +
            "%y = qp.attention %x, %x, %x {layer = 0 : i64, heads = 1 : i64, kv_heads = 1 "
            ": i64, head_dim = 4 : i64, scale = 0.0 : f64, window = " +
            window + " : i64} : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>\n" + returnY,
        {{0, 1, 2}, {2}});
  };
  EXPECT_EQ(attention("0"), Floats({0, 0, 0, 0, 1.5f, 1.5f, 1.5f, 1.5f, 3, 3, 3, 3, 6, 6, 6, 6}));
  EXPECT_EQ(attention("2"),
            Floats({0, 0, 0, 0, 1.5f, 1.5f, 1.5f, 1.5f, 4.5f, 4.5f, 4.5f, 4.5f, 6, 6, 6, 6}));
}

TEST_F(EvalOps, KeysAndValuesAreRoundedToTheFormatOfTheCache) {
  float fine = 1.0f + 1.0f / 256; // needs 8 bits after the point: bf16 has 7
  std::string body = rows({fine, fine, fine, fine}) +
                     "%y = qp.attention %x, %x, %x {layer = 0 : i64, heads = 1 : i64, kv_heads = 1 "
                     ": i64, head_dim = 4 : i64, scale = 1.0 : f64, kv_format = \"bf16\"} : "
                     "tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>\n" +
                     returnY;
  EXPECT_EQ(values(body, {{0}}), Floats({1, 1, 1, 1}));
}

TEST_F(EvalOps, CachedVectorsAreRowsOfTheirHead) {
  // The value of the one key that is seen comes back: 2 heads of 2 columns in `format`.
  auto cached = [&](const std::string &format, const std::string &scales) {
    return values(rows({127, 1.4f, 0.5f, -2}) +
                      "%y = qp.attention %x, %x, %x {layer = 0 : i64, heads = 2 : i64, kv_heads = 2 "
                      ": i64, head_dim = 2 : i64, scale = 1.0 : f64, kv_format = \"" +
                      format + "\"" + scales +
                      "} : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>\n" + returnY,
                  {{0}});
  };
  // Each head has its own scale: 1, and 2 / 127.
  float step = 2.0f / 127;
  EXPECT_EQ(cached("int8", ""), Floats({127, 1, step * 32, step * -127}));
  // f8E4M3FN has 4 significant bits: 127 is 128, and 1.4 is 1.375.
  EXPECT_EQ(cached("fp8_e4m3_tensor", ""), Floats({128, 1.375f, 0.5f, -2}));
  // Beyond 448 scales a value saturates.
  EXPECT_EQ(cached("fp8_e4m3_head", ", value_scales = array<f64: 0.25, 1.0>"),
            Floats({112, 1.375f, 0.5f, -2}));
}

TEST_F(EvalOps, IdsOutsideTheTableAreRefused) {
  EXPECT_EQ(messageOf(eval(rows({1, 2, 3, 4}) + returnX, {{0, 1}})).substr(0, 4), "loc(");
  EXPECT_NE(messageOf(eval(rows({1, 2, 3, 4}) + returnX, {{0, 1}}))
                .find("`qp.embedding` token 1 of the batch is 1, expected 0 to 0"),
            std::string::npos);
  EXPECT_NE(messageOf(eval(rows({1, 2, 3, 4}) + returnX, {{-1}})), "");
}

TEST_F(EvalOps, UnknownOpsAreRefusedWithTheirLocation) {
  std::string body = rows({1, 2, 3, 4}) +
                     "%y = func.call @other(%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> "
                     "loc(\"layers.7\")\n" +
                     returnY +
                     "}\nfunc.func private @other(tensor<?x4xf32>) -> tensor<?x4xf32>\n"
                     "func.func @more() {\nreturn\n";
  EXPECT_EQ(messageOf(eval(body, {{0}})),
            "loc(\"layers.7\"): `func.call` has no meaning in the qp dialect");
}

TEST_F(EvalOps, WeightsOfAnotherShapeAreRefused) {
  std::string body =
      "%w = qp.weight \"model.norm.weight\" : tensor<65xf32>\n" + rows({1, 2, 3, 4}) + returnX;
  EXPECT_NE(messageOf(eval(body, {{0}})).find("gives [64], the type says [65]"), std::string::npos);
}

TEST_F(EvalOps, SharedScalesOfRowsMustBeGiven) {
  std::string body = rows({1, 2, 3, 4}) +
                     "%q = qp.quantize %x : tensor<?x4xf32> -> !qp.packed<?x4, int8_tensor>\n" +
                     returnX;
  EXPECT_NE(messageOf(eval(body, {{0}})).find("needs the attribute `scale`"), std::string::npos);
}

TEST_F(EvalOps, ModulesWithoutForwardAreRefused) {
  auto module = mlir::parseSourceString<mlir::ModuleOp>("func.func private @forward()", &context);
  EXPECT_NE(messageOf(evaluate(*module, store, {})).find("no function @forward"),
            std::string::npos);
}
