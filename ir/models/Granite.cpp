//===- Granite.cpp - Granite 3, dense -------------------------------------===//
//
// Llama's graph with multipliers on embedding, attention scores and residual
// branches, and logits divided by `logits_scaling`.
//
//===----------------------------------------------------------------------===//

#include "ir/models/Decoder.h"

using namespace qplan;

static llvm::Error build(ModelBuilder &builder) {
  DecoderSpec spec = readDecoder(builder);
  Config &config = builder.config;
  spec.embeddingMultiplier = config.real("embedding_multiplier", 1.0);
  spec.residualMultiplier = config.real("residual_multiplier", 1.0);
  spec.attentionScale = config.real("attention_multiplier", 1.0);
  double divisor = config.real("logits_scaling", 1.0);
  if (divisor == 0)
    config.refuse("logits_scaling", "other than 0");
  spec.logitsMultiplier = 1.0 / divisor;
  buildDecoder(builder, spec);
  return config.takeError();
}

static constexpr llvm::StringLiteral names[] = {"granite"};

extern const Architecture architectureGranite;
const Architecture architectureGranite = {
    .name = "granite",
    .modelTypes = names,
    .ggufNames = names,
    .summary = "Granite 3: Llama with multipliers",
    .build = build,
    .ggufPermutesHeads = true,
};
