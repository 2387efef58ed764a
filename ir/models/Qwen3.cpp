//===- Qwen3.cpp - Qwen3, dense -------------------------------------------===//
//
// Llama's graph with an RMSNorm over each head of query and key, and a head
// dimension that need not be hidden / heads.
//
//===----------------------------------------------------------------------===//

#include "ir/models/Decoder.h"

using namespace qplan;

static llvm::Error build(ModelBuilder &builder) {
  DecoderSpec spec = readDecoder(builder);
  Config &config = builder.config;
  spec.qkNorm = DecoderSpec::QkNorm::PerHead;
  if (config.flag("use_sliding_window", false) && config.has("sliding_window"))
    spec.window = [&builder](int64_t layer) { return windowOf(builder, layer, 0); };
  buildDecoder(builder, spec);
  return config.takeError();
}

static constexpr llvm::StringLiteral names[] = {"qwen3"};

extern const Architecture architectureQwen3;
const Architecture architectureQwen3 = {
    .name = "qwen3",
    .modelTypes = names,
    .ggufNames = names,
    .summary = "Qwen3: Llama with a norm over each head of q and k",
    .build = build,
};
