//===- Decoder.cpp - the graph that most decoder models share -------------===//

#include "ir/models/Decoder.h"

#include <cmath>
#include <fmt/format.h>

using namespace mlir;
using namespace qplan;

DecoderSpec qplan::readDecoder(ModelBuilder &builder) {
  Config &config = builder.config;
  DecoderSpec spec;
  spec.layers = config.integer("num_hidden_layers");
  spec.hidden = config.integer("hidden_size");
  spec.heads = config.integer("num_attention_heads");
  spec.kvHeads = config.integer("num_key_value_heads", spec.heads);
  spec.headDim = config.integer("head_dim", std::max<int64_t>(1, spec.hidden / spec.heads));
  spec.intermediate = config.integer("intermediate_size");
  spec.vocabulary = config.integer("vocab_size");
  spec.maxPositions = config.integer("max_position_embeddings");
  spec.epsilon = config.notNegative("rms_norm_eps", 1e-6);
  spec.activation = builder.activation("hidden_act");
  if (spec.kvHeads > spec.heads || spec.heads % spec.kvHeads != 0)
    config.refuse("num_key_value_heads", "a divisor of num_attention_heads");
  // A table of angles has this length, before any tensor is asked for.
  constexpr int64_t mostColumns = 65536;
  if (spec.headDim % 2 != 0 || spec.headDim > mostColumns) {
    config.refuse("head_dim", fmt::format("even and at most {}", mostColumns));
    spec.headDim = 2;
  }
  spec.attentionScale = 1.0 / std::sqrt(double(spec.headDim));
  spec.rope = readRope(config, spec.headDim);
  return spec;
}

int64_t qplan::windowOf(ModelBuilder &builder, int64_t layer, int64_t fallback) {
  auto type = builder.config.entry("layer_types", layer);
  if (!type)
    return fallback;
  if (*type == "sliding_attention")
    return builder.config.integer("sliding_window");
  if (*type != "full_attention")
    builder.config.refuse("layer_types", "a list of sliding_attention and full_attention");
  return 0;
}

namespace {

Value attentionPart(ModelBuilder &builder, const DecoderSpec &spec, int64_t layer, Value x) {
  std::string prefix = fmt::format("model.layers.{}.self_attn.", layer);
  std::string site = fmt::format("layers.{}.attn.", layer);
  int64_t width = spec.heads * spec.headDim, kvWidth = spec.kvHeads * spec.headDim;
  Value q = builder.linear(x, prefix + "q_proj", site + "q", width);
  Value k = builder.linear(x, prefix + "k_proj", site + "k", kvWidth);
  Value v = builder.linear(x, prefix + "v_proj", site + "v", kvWidth);
  if (spec.qkNorm != DecoderSpec::QkNorm::None) {
    bool perHead = spec.qkNorm == DecoderSpec::QkNorm::PerHead;
    q = builder.rmsNorm(q, prefix + "q_norm.weight", spec.epsilon, spec.gammaOffset,
                        perHead ? spec.heads : 1, perHead);
    k = builder.rmsNorm(k, prefix + "k_norm.weight", spec.epsilon, spec.gammaOffset,
                        perHead ? spec.kvHeads : 1, perHead);
  }
  if (spec.rotates(layer)) {
    q = builder.rope(q, spec.heads, spec.headDim, spec.rope);
    k = builder.rope(k, spec.kvHeads, spec.headDim, spec.rope);
  }
  Value mixed = builder.attention(q, k, v,
                                  {layer, spec.heads, spec.kvHeads, spec.headDim,
                                   spec.attentionScale, spec.window(layer), spec.attentionSoftcap});
  return builder.linear(mixed, prefix + "o_proj", site + "o", spec.hidden);
}

Value gatedPart(ModelBuilder &builder, const DecoderSpec &spec, int64_t layer, Value x) {
  std::string prefix = fmt::format("model.layers.{}.mlp.", layer);
  std::string site = fmt::format("layers.{}.mlp.", layer);
  Value gate = builder.linear(x, prefix + "gate_proj", site + "gate", spec.intermediate);
  Value up = builder.linear(x, prefix + "up_proj", site + "up", spec.intermediate);
  Value mixed = builder.gated(spec.activation, gate, up);
  return builder.linear(mixed, prefix + "down_proj", site + "down", spec.hidden);
}

} // namespace

void qplan::buildDecoder(ModelBuilder &builder, const DecoderSpec &spec) {
  builder.setShape(spec.layers, spec.maxPositions);
  Value x = builder.embed("model.embed_tokens.weight", spec.vocabulary, spec.hidden,
                          spec.embeddingMultiplier);
  for (int64_t layer = 0; layer < spec.layers && builder.config.isGood(); ++layer) {
    auto norm = [&](Value value, StringRef name) {
      if (name.empty())
        return value;
      std::string full = fmt::format("model.layers.{}.{}.weight", layer, name.str());
      return builder.rmsNorm(value, full, spec.epsilon, spec.gammaOffset);
    };
    Value mixed = attentionPart(builder, spec, layer, norm(x, spec.attentionIn));
    x = builder.add(x, norm(mixed, spec.attentionOut), spec.residualMultiplier);
    Value input = norm(x, spec.mlpIn);
    Value output =
        spec.mlp ? spec.mlp(builder, layer, input) : gatedPart(builder, spec, layer, input);
    x = builder.add(x, norm(output, spec.mlpOut), spec.residualMultiplier);
  }
  x = builder.selectRows(x);
  x = builder.rmsNorm(x, "model.norm.weight", spec.epsilon, spec.gammaOffset);
  builder.finish(x, "lm_head.weight", "model.embed_tokens.weight", spec.logitsMultiplier,
                 spec.logitsSoftcap);
}
