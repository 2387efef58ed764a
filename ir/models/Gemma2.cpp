//===- Gemma2.cpp - Gemma 2 -----------------------------------------------===//
//
// Norms before and after attention and MLP with weights stored as w - 1, scores
// and logits soft-capped, a sliding window in every other layer, embeddings times
// sqrt(hidden).
//
//===----------------------------------------------------------------------===//

#include "ir/models/Decoder.h"

#include <cmath>

using namespace qplan;

static llvm::Error build(ModelBuilder &builder) {
  DecoderSpec spec = readDecoder(builder);
  Config &config = builder.config;
  spec.activation = builder.activation(
      config.has("hidden_activation") ? "hidden_activation" : "hidden_act", "gelu_pytorch_tanh");
  // Converters to GGUF add the 1 to the weights.
  spec.gammaOffset = builder.fromGguf() ? 0.0 : 1.0;
  spec.embeddingMultiplier = std::sqrt(double(spec.hidden));
  spec.attentionScale =
      1.0 / std::sqrt(config.positive("query_pre_attn_scalar", double(spec.headDim)));
  spec.attentionSoftcap = config.notNegative("attn_logit_softcapping", 0.0);
  spec.logitsSoftcap = config.notNegative("final_logit_softcapping", 0.0);
  spec.attentionOut = "post_attention_layernorm";
  spec.mlpIn = "pre_feedforward_layernorm";
  spec.mlpOut = "post_feedforward_layernorm";
  spec.window = [&builder](int64_t layer) {
    int64_t window = builder.config.integer("sliding_window", 4096);
    return windowOf(builder, layer, layer % 2 == 0 ? window : 0);
  };
  buildDecoder(builder, spec);
  return config.takeError();
}

static constexpr llvm::StringLiteral names[] = {"gemma2"};
static constexpr GgufName ggufTensors[] = {
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"},
    {"model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight"},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight"},
};

extern const Architecture architectureGemma2;
const Architecture architectureGemma2 = {
    .name = "gemma2",
    .modelTypes = names,
    .ggufNames = names,
    .summary = "Gemma 2: four norms a layer, soft caps, alternating windows",
    .build = build,
    .ggufTensors = ggufTensors,
};
