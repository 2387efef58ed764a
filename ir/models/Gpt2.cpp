//===- Gpt2.cpp - GPT-2 ---------------------------------------------------===//
//
// Learned positions, LayerNorm with bias, one stacked projection for query, key
// and value, and weights stored as [inputs, outputs] (transformers' Conv1D).
// GGUF files store them the usual way round.
//
//===----------------------------------------------------------------------===//

#include "ir/models/Architecture.h"

#include <cmath>
#include <fmt/format.h>

using namespace mlir;
using namespace qplan;

namespace {

struct Gpt2 {
  ModelBuilder &builder;
  int64_t hidden, heads, inner;
  double epsilon;
  qp::Activation activation;
  std::string root; ///< "transformer." or "" (hub files)

  std::string name(StringRef tensor, int64_t layer) const {
    return fmt::format("{}h.{}.{}", root, layer, tensor.str());
  }

  /// Rows [begin, begin + outputs) of a stacked projection, stored transposed.
  Value project(Value x, const std::string &tensor, StringRef site, int64_t begin,
                int64_t outputs, int64_t stacked) {
    std::string turn = builder.fromGguf() ? "" : "|transpose";
    std::string slice =
        outputs == stacked ? "" : fmt::format("|slice_rows({},{})", begin, begin + outputs);
    Value weight = builder.matrix(tensor + ".weight", outputs, qp::widthOf(x.getType()),
                                  turn + slice);
    Value bias = builder.weight(tensor + ".bias", {outputs}, slice);
    Value y = builder.linear(x, weight, bias, site);
    builder.keepInput(y.getDefiningOp(), tensor + ".weight");
    return y;
  }

  Value layer(int64_t i, Value x, double scale) {
    std::string site = fmt::format("layers.{}.", i);
    Value h = builder.layerNorm(x, name("ln_1", i), epsilon);
    Value qkv[3];
    const char *parts[3] = {"attn.q", "attn.k", "attn.v"};
    for (int64_t p = 0; p < 3; ++p)
      qkv[p] = project(h, name("attn.c_attn", i), site + parts[p], p * hidden, hidden, 3 * hidden);
    Value mixed =
        builder.attention(qkv[0], qkv[1], qkv[2], {i, heads, heads, hidden / heads, scale});
    x = builder.add(x, project(mixed, name("attn.c_proj", i), site + "attn.o", 0, hidden, hidden));
    h = builder.layerNorm(x, name("ln_2", i), epsilon);
    h = builder.pointwise(activation,
                          project(h, name("mlp.c_fc", i), site + "mlp.up", 0, inner, inner));
    return builder.add(
        x, project(h, name("mlp.c_proj", i), site + "mlp.down", 0, hidden, hidden));
  }
};

llvm::Error build(ModelBuilder &builder) {
  Config &config = builder.config;
  auto size = [&](StringRef own, StringRef usual) {
    return config.integer(config.has(own) ? own : usual);
  };
  int64_t hidden = size("n_embd", "hidden_size"), layers = size("n_layer", "num_hidden_layers");
  int64_t heads = size("n_head", "num_attention_heads");
  int64_t positions = size("n_positions", "max_position_embeddings");
  int64_t inner = config.integer("n_inner", config.integer("intermediate_size", 4 * hidden));
  if (hidden % heads != 0)
    config.refuse("n_head", "a divisor of n_embd");

  std::string root = builder.has("transformer.wte.weight") ? "transformer." : "";
  Gpt2 model{builder, hidden, heads, inner, config.notNegative("layer_norm_epsilon", 1e-5),
             builder.activation("activation_function", "gelu_new"), root};
  builder.setShape(layers, positions);
  Value x = builder.embed(root + "wte.weight", config.integer("vocab_size"), hidden);
  Value table = builder.weight(root + "wpe.weight", {positions, hidden});
  x = qp::PositionEmbeddingOp::create(builder.ops(), builder.at("positions"), x.getType(), x, table,
                                      builder.ops().getI64IntegerAttr(0));
  for (int64_t i = 0; i < layers && config.isGood(); ++i) {
    double scale = config.flag("scale_attn_weights", true)
                       ? 1.0 / std::sqrt(double(hidden / heads))
                       : 1.0;
    if (config.flag("scale_attn_by_inverse_layer_idx", false))
      scale /= double(i + 1);
    x = model.layer(i, x, scale);
  }
  x = builder.layerNorm(builder.selectRows(x), root + "ln_f", model.epsilon);
  builder.finish(x, "lm_head.weight", root + "wte.weight");
  return config.takeError();
}

constexpr llvm::StringLiteral names[] = {"gpt2"};
constexpr GgufName ggufTensors[] = {
    {"wte.weight", "token_embd.weight"},
    {"wpe.weight", "position_embd.weight"},
    {"ln_f.weight", "output_norm.weight"},
    {"ln_f.bias", "output_norm.bias"},
    {"h.{}.ln_1.weight", "blk.{}.attn_norm.weight"},
    {"h.{}.ln_1.bias", "blk.{}.attn_norm.bias"},
    {"h.{}.ln_2.weight", "blk.{}.ffn_norm.weight"},
    {"h.{}.ln_2.bias", "blk.{}.ffn_norm.bias"},
    {"h.{}.attn.c_attn.weight", "blk.{}.attn_qkv.weight"},
    {"h.{}.attn.c_attn.bias", "blk.{}.attn_qkv.bias"},
    {"h.{}.attn.c_proj.weight", "blk.{}.attn_output.weight"},
    {"h.{}.attn.c_proj.bias", "blk.{}.attn_output.bias"},
    {"h.{}.mlp.c_fc.weight", "blk.{}.ffn_up.weight"},
    {"h.{}.mlp.c_fc.bias", "blk.{}.ffn_up.bias"},
    {"h.{}.mlp.c_proj.weight", "blk.{}.ffn_down.weight"},
    {"h.{}.mlp.c_proj.bias", "blk.{}.ffn_down.bias"},
};

} // namespace

extern const Architecture architectureGpt2;
const Architecture architectureGpt2 = {
    .name = "gpt2",
    .modelTypes = names,
    .ggufNames = names,
    .summary = "GPT-2: learned positions, LayerNorm, stacked and transposed weights",
    .build = build,
    .ggufTensors = ggufTensors,
};
