//===- Olmo2.cpp - OLMo 2 -------------------------------------------------===//
//
// Norms come after attention and MLP, before the residual sum, and query and key
// are normalised over their whole rows.
//
//===----------------------------------------------------------------------===//

#include "ir/models/Decoder.h"

using namespace qplan;

static llvm::Error build(ModelBuilder &builder) {
  DecoderSpec spec = readDecoder(builder);
  spec.qkNorm = DecoderSpec::QkNorm::WholeRow;
  spec.attentionIn = "";
  spec.attentionOut = "post_attention_layernorm";
  spec.mlpIn = "";
  spec.mlpOut = "post_feedforward_layernorm";
  buildDecoder(builder, spec);
  return builder.config.takeError();
}

static constexpr llvm::StringLiteral names[] = {"olmo2"};
static constexpr GgufName ggufTensors[] = {
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight"},
};

extern const Architecture architectureOlmo2;
const Architecture architectureOlmo2 = {
    .name = "olmo2",
    .modelTypes = names,
    .ggufNames = names,
    .summary = "OLMo 2: norms after attention and MLP, q and k normalised whole",
    .build = build,
    .ggufTensors = ggufTensors,
};
