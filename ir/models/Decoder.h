//===- Decoder.h - the graph that most decoder models share ------*- C++ -*-===//
//
// Norm, attention, norm, gated MLP, with the places at which families of the
// Llama line differ as fields. An architecture's file fills a DecoderSpec from the
// configuration and calls buildDecoder.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_MODELS_DECODER_H
#define QPLAN_IR_MODELS_DECODER_H

#include "ir/models/Architecture.h"

#include <functional>

namespace qplan {

struct DecoderSpec {
  int64_t layers, hidden, heads, kvHeads, headDim, intermediate, vocabulary, maxPositions;
  double epsilon;
  qp::Activation activation = qp::Activation::Silu;
  Rope rope;

  double embeddingMultiplier = 1.0;
  double residualMultiplier = 1.0;
  double attentionScale; ///< on q . k
  double logitsMultiplier = 1.0;
  double attentionSoftcap = 0.0, logitsSoftcap = 0.0;
  double gammaOffset = 0.0; ///< added to the weights of norms: Gemma stores w - 1

  enum class QkNorm { None, PerHead, WholeRow } qkNorm = QkNorm::None;
  /// Names of norms inside `model.layers.N.`; empty: there is none at that place.
  llvm::StringRef attentionIn = "input_layernorm", attentionOut = "";
  llvm::StringRef mlpIn = "post_attention_layernorm", mlpOut = "";

  std::function<int64_t(int64_t layer)> window = [](int64_t) { return 0; };
  std::function<bool(int64_t layer)> rotates = [](int64_t) { return true; };
  /// The feed-forward part, in place of gate, up and down projections.
  std::function<mlir::Value(ModelBuilder &, int64_t layer, mlir::Value x)> mlp;
};

/// Reads the fields that have one name in all families of the Llama line.
DecoderSpec readDecoder(ModelBuilder &builder);

/// Writes the graph.
void buildDecoder(ModelBuilder &builder, const DecoderSpec &spec);

/// Window of a layer from `layer_types` (transformers 5), else `fallback`.
int64_t windowOf(ModelBuilder &builder, int64_t layer, int64_t fallback);

} // namespace qplan

#endif // QPLAN_IR_MODELS_DECODER_H
