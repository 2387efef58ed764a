//===- Qwen2.cpp - Qwen2 and Qwen2.5 --------------------------------------===//
//
// Llama's graph with biases on query, key and value. The sliding window, where it
// is used at all, starts at layer `max_window_layers`.
//
//===----------------------------------------------------------------------===//

#include "ir/models/Decoder.h"

using namespace qplan;

static llvm::Error build(ModelBuilder &builder) {
  DecoderSpec spec = readDecoder(builder);
  Config &config = builder.config;
  bool sliding = config.flag("use_sliding_window", false) && config.has("sliding_window");
  int64_t first = config.integer("max_window_layers", spec.layers);
  spec.window = [&builder, sliding, first](int64_t layer) -> int64_t {
    if (!sliding)
      return 0;
    int64_t usual = layer >= first ? builder.config.integer("sliding_window") : 0;
    return windowOf(builder, layer, usual);
  };
  buildDecoder(builder, spec);
  return config.takeError();
}

static constexpr llvm::StringLiteral names[] = {"qwen2"};

extern const Architecture architectureQwen2;
const Architecture architectureQwen2 = {
    .name = "qwen2",
    .modelTypes = names,
    .ggufNames = names,
    .summary = "Qwen2, Qwen2.5: Llama with biases on q, k, v",
    .build = build,
};
