//===- @Name@.cpp - @summary@ @@fill===//
//
// The plain decoder of Decoder.h: RMSNorm, rotary attention, gated MLP. What this
// architecture does differently is set on the spec before the graph is built.
//
//===----------------------------------------------------------------------===//

#include "ir/models/Decoder.h"

using namespace qplan;

static llvm::Error build(ModelBuilder &builder) {
  DecoderSpec spec = readDecoder(builder);
  buildDecoder(builder, spec);
  return builder.config.takeError();
}

static constexpr llvm::StringLiteral modelTypes[] = {"@lower@"};
static constexpr llvm::StringLiteral ggufNames[] = {"@lower@"};

extern const Architecture architecture@Name@;
const Architecture architecture@Name@ = {
    .name = "@lower@",
    .modelTypes = modelTypes,
    .ggufNames = ggufNames,
    .summary = "@summary@",
    .build = build,
};
