//===- Llama.cpp - Llama 1 to 3, SmolLM2, InternLM 1, Mistral -------------===//
//
// Mistral is the same graph with a sliding window in every layer. GGUF files call
// both "llama" and keep query and key rows in adjacent-pair order.
//
//===----------------------------------------------------------------------===//

#include "ir/models/Decoder.h"

using namespace qplan;

static llvm::Error build(ModelBuilder &builder) {
  DecoderSpec spec = readDecoder(builder);
  Config &config = builder.config;
  if (config.has("sliding_window")) {
    int64_t window = config.integer("sliding_window");
    spec.window = [window](int64_t) { return window; };
  }
  buildDecoder(builder, spec);
  return config.takeError();
}

static constexpr llvm::StringLiteral modelTypes[] = {"llama", "mistral"};
static constexpr llvm::StringLiteral ggufNames[] = {"llama"};

extern const Architecture architectureLlama;
const Architecture architectureLlama = {
    .name = "llama",
    .modelTypes = modelTypes,
    .ggufNames = ggufNames,
    .summary = "Llama 1-3, SmolLM2, InternLM, Mistral: RMSNorm, rotary, gated SiLU MLP",
    .build = build,
    .ggufPermutesHeads = true,
};
