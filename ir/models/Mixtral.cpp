//===- Mixtral.cpp - Mixtral of experts -----------------------------------===//
//
// Llama's graph with a routed MLP: softmax over the chosen experts' router
// logits, which equals softmax over all, cut to the chosen and renormalised.
//
//===----------------------------------------------------------------------===//

#include "ir/models/Decoder.h"

#include <fmt/format.h>

using namespace mlir;
using namespace qplan;

namespace {

struct Experts {
  int64_t count, chosen, intermediate;
  qp::Activation activation;
};

Value expertPart(ModelBuilder &builder, const Experts &experts, int64_t layer, Value x) {
  std::string prefix = fmt::format("model.layers.{}.block_sparse_moe.", layer);
  std::string site = fmt::format("layers.{}.mlp.", layer);
  OpBuilder &ops = builder.ops();
  MLIRContext *context = ops.getContext();
  int64_t hidden = qp::widthOf(x.getType());

  Value router = builder.matrix(prefix + "gate.weight", experts.count, hidden);
  Value logits = builder.linear(x, router, Value(), site + "router");
  Type choice = RankedTensorType::get({ShapedType::kDynamic, experts.chosen}, ops.getI32Type());
  auto route = qp::RouteOp::create(
      ops, builder.at(site + "router"), qp::rowsType(context, experts.chosen), choice, logits,
      ops.getI64IntegerAttr(experts.chosen),
      qp::RouterModeAttr::get(context, qp::RouterMode::SoftmaxOfChosen));

  // Experts [first, end) as one site, in the rows of `onto`.
  auto part = [&](Value input, StringRef tensor, const std::string &name, int64_t outputs,
                  bool perSlot, int64_t first, int64_t end, Value onto) -> Value {
    SmallVector<Value> weights;
    SmallVector<std::string> tensors;
    for (int64_t i = first; i < end && builder.config.isGood(); ++i) {
      tensors.push_back(fmt::format("{}experts.{}.{}.weight", prefix, i, tensor.str()));
      weights.push_back(builder.matrix(tensors.back(), outputs, qp::widthOf(input.getType())));
    }
    DenseI64ArrayAttr numbers; // a bank has them all, and may claim to have very many
    if (first != 0 || end != experts.count)
      numbers = ops.getDenseI64ArrayAttr(llvm::to_vector(llvm::seq<int64_t>(first, end)));
    auto linear = qp::ExpertLinearOp::create(
        ops, builder.at(name), qp::rowsType(context, outputs), input, route.getRoutes(), weights,
        onto, ops.getStrArrayAttr({name}), numbers,
        perSlot ? ops.getUnitAttr() : UnitAttr());
    for (const std::string &each : tensors)
      builder.keepInput(linear, each);
    return linear.getResult();
  };
  auto bank = [&](Value input, StringRef tensor, StringRef name, int64_t outputs, bool perSlot) {
    const std::string own = site + "experts.";
    if (!builder.options.singleExperts)
      return part(input, tensor, own + name.str(), outputs, perSlot, 0, experts.count, Value());
    Value rows;
    for (int64_t i = 0; i < experts.count && builder.config.isGood(); ++i)
      rows = part(input, tensor, fmt::format("{}{}.{}", own, i, name.str()), outputs, perSlot, i,
                  i + 1, rows);
    return rows;
  };
  Value gate = bank(x, "w1", "gate", experts.intermediate, false);
  Value up = bank(x, "w3", "up", experts.intermediate, false);
  Value mixed = builder.gated(experts.activation, gate, up);
  Value down = bank(mixed, "w2", "down", hidden, true);
  return qp::CombineOp::create(ops, down.getLoc(), qp::rowsType(context, hidden), down,
                               route.getWeights());
}

llvm::Error build(ModelBuilder &builder) {
  DecoderSpec spec = readDecoder(builder);
  Config &config = builder.config;
  if (config.has("sliding_window")) {
    int64_t window = config.integer("sliding_window");
    spec.window = [window](int64_t) { return window; };
  }
  Experts experts = {config.integer("num_local_experts"), config.integer("num_experts_per_tok"),
                     spec.intermediate, spec.activation};
  if (experts.chosen > experts.count)
    config.refuse("num_experts_per_tok", "at most num_local_experts");
  spec.mlp = [experts](ModelBuilder &b, int64_t layer, Value x) {
    return expertPart(b, experts, layer, x);
  };
  buildDecoder(builder, spec);
  return config.takeError();
}

constexpr llvm::StringLiteral names[] = {"mixtral"};
constexpr GgufName ggufTensors[] = {
    {"model.layers.{}.block_sparse_moe.gate.weight", "blk.{}.ffn_gate_inp.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w1.weight", "blk.{}.ffn_gate_exps.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w2.weight", "blk.{}.ffn_down_exps.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w3.weight", "blk.{}.ffn_up_exps.weight"},
};

} // namespace

extern const Architecture architectureMixtral;
const Architecture architectureMixtral = {
    .name = "mixtral",
    .modelTypes = names,
    // GGUF files call it "llama" and tell it by llama.expert_count.
    .ggufNames = {},
    .summary = "Mixtral: Llama with a routed mixture of experts",
    .build = build,
    .ggufTensors = ggufTensors,
    .ggufPermutesHeads = true,
};
