//===- SmolLM3.cpp - SmolLM3 ----------------------------------------------===//
//
// Llama's graph where some layers do not rotate (NoPE): `no_rope_layers` holds 1
// for a layer that rotates; without it every `no_rope_layer_interval`-th does not.
//
//===----------------------------------------------------------------------===//

#include "ir/models/Decoder.h"

using namespace qplan;

static llvm::Error build(ModelBuilder &builder) {
  DecoderSpec spec = readDecoder(builder);
  Config &config = builder.config;
  int64_t interval = config.integer("no_rope_layer_interval", 4);
  spec.rotates = [&config, interval](int64_t layer) {
    if (auto entry = config.entry("no_rope_layers", layer); entry && entry->is_number_integer())
      return entry->get<int64_t>() != 0;
    return (layer + 1) % interval != 0;
  };
  if (config.flag("use_sliding_window", false) && config.has("sliding_window"))
    spec.window = [&builder](int64_t layer) { return windowOf(builder, layer, 0); };
  buildDecoder(builder, spec);
  return config.takeError();
}

static constexpr llvm::StringLiteral names[] = {"smollm3"};

extern const Architecture architectureSmolLM3;
const Architecture architectureSmolLM3 = {
    .name = "smollm3",
    .modelTypes = names,
    .ggufNames = names,
    .summary = "SmolLM3: Llama with layers that do not rotate",
    .build = build,
    .ggufPermutesHeads = true,
};
