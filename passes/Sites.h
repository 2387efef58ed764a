//===- Sites.h - the places of a module that can be quantized ----*- C++ -*-===//
//
// A site is the weight operand of a linear, of a bank of experts (or of one expert), or the
// table of the embedding, under the name that recipes, statistics and reports use.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SITES_H
#define QPLAN_PASSES_SITES_H

#include "ir/Formats.h"
#include "ir/QpDialect.h"

#include <mlir/IR/BuiltinOps.h>

namespace qplan {

struct Site {
  std::string name;                ///< "layers.3.mlp.down", "lm_head", "embedding"
  mlir::Operation *op = nullptr;   ///< LinearOp, ExpertLinearOp or EmbeddingOp
  unsigned firstWeight = 0;        ///< operand number of the (first) weight
  unsigned weightCount = 1;        ///< experts of a bank
  int64_t rows = 0, columns = 0;   ///< of one weight
  FormatId stored = FormatId::F32; ///< format in the checkpoint

  mlir::Value weight(unsigned i = 0) const { return op->getOperand(firstWeight + i); }
  /// The rows that are multiplied; null for the embedding.
  mlir::Value input() const;
  uint64_t elements() const { return uint64_t(rows) * columns * weightCount; }
  /// Part of a layer and meant to be quantized (routers are not).
  bool isLayer() const;
};

/// All sites in program order.
std::vector<Site> collectSites(mlir::ModuleOp module);

/// The name under which the input of each of `sites` is observed: that of the first that reads the
/// value; empty where there is none (the embedding).
std::vector<std::string> inputNames(llvm::ArrayRef<Site> sites);

/// Which sites `--sites` names.
struct SiteScope {
  bool layers = true, head = false, embedding = false;
  bool contains(const Site &site) const;
};

/// Parses "layers", "layers+lm_head+embedding", ...
llvm::Expected<SiteScope> parseScope(llvm::StringRef text);

/// The weight op under a weight operand: through a dequantize, if there is one.
qp::WeightOp weightUnder(mlir::Value operand);

/// The weight under `operand` after one more transform ("|transpose", ...), in f32: blocks of the
/// checkpoint do not survive arithmetic.
mlir::Value transformedWeight(mlir::Value operand, const std::string &transform);
/// The same for all weights of `site`.
void transformWeights(const Site &site, const std::string &transform);
/// The same for the weight of `linear` and for its bias, if there is one: `transform` is of rows.
void transformRows(qp::LinearOp linear, const std::string &transform);

/// Names under which statistics keep what enters the cache: "layers.3.attn.k_cache" and
/// "layers.3.attn.v_cache", [kv_heads * head_dim] columns each.
std::string keyCacheName(qp::AttentionOp op);
std::string valueCacheName(qp::AttentionOp op);

/// Attribute that carries the treatment's canonical text.
inline constexpr llvm::StringLiteral treatmentAttr = "qp.treatment";

} // namespace qplan

#endif // QPLAN_PASSES_SITES_H
