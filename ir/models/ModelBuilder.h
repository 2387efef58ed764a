//===- ModelBuilder.h - from a checkpoint to a qp graph ----------*- C++ -*-===//
//
// The vocabulary in which an architecture's file describes its graph: named
// weights with checks, linears with their sites, norms, rotations. Hides the two
// spellings of tensor names (Hugging Face, GGUF) and of configurations.
//
// The first problem is remembered and reported at the end; until then operations
// go on with values of the right type, so that architecture files need no checks.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_MODELS_MODELBUILDER_H
#define QPLAN_IR_MODELS_MODELBUILDER_H

#include "ir/QpDialect.h"
#include "ir/import/Checkpoint.h"
#include "ir/models/Config.h"

#include <mlir/IR/Builders.h>
#include <mlir/IR/BuiltinOps.h>
#include <mlir/IR/OwningOpRef.h>

#include <functional>

namespace qplan {

struct Architecture;

struct ImportOptions {
  int64_t context = 0;      ///< positions of the cache; 0: the model's, at most 4096
  std::string kvFormat = "f32"; ///< format of cached keys and values
  std::string name = "model";   ///< symbol prefix
  bool singleExperts = false;   ///< every expert of a mixture is a site, not every bank
  /// Told what does not stop the import, one sentence each; may be empty.
  std::function<void(llvm::StringRef)> note = {};
};

class ModelBuilder {
public:
  ModelBuilder(mlir::MLIRContext &context, const Checkpoint &checkpoint,
               const Architecture &architecture, Config config, const ImportOptions &options);

  Config config;
  const ImportOptions &options;

  /// True for names of the checkpoint that exist, in Hugging Face's spelling.
  bool has(llvm::StringRef name) const;
  bool fromGguf() const { return checkpoint.gguf() != nullptr; }
  const Checkpoint &source() const { return checkpoint; }

  /// `transforms` in the text form of WeightRef ("|transpose|slice_rows(0,64)");
  /// `shape` is what must result.
  mlir::Value weight(llvm::StringRef name, llvm::ArrayRef<int64_t> shape,
                     llvm::StringRef transforms = "");
  /// A matrix [outputs, inputs] as operand of a linear: blocks are dequantized.
  mlir::Value matrix(llvm::StringRef name, int64_t outputs, int64_t inputs,
                     llvm::StringRef transforms = "");

  /// x * transpose(NAME.weight) + NAME.bias if the checkpoint has that bias; x is multiplied
  /// by the factors that a quantized checkpoint has for it.
  mlir::Value linear(mlir::Value x, llvm::StringRef name, llvm::StringRef site, int64_t outputs);
  /// A linear whose weight and bias take the transforms given.
  mlir::Value linear(mlir::Value x, mlir::Value weight, mlir::Value bias, llvm::StringRef site);
  /// Leaves on `linear` what the checkpoint says of the input of the weight `name`; of several
  /// weights with static scales the largest (StoredInput.h).
  void keepInput(mlir::Operation *linear, llvm::StringRef name);
  /// The scales that the checkpoint has for a cache of `rows`, keys or values of `heads` heads, in the
  /// format chosen; null: none, or the format finds its own.
  mlir::DenseF64ArrayAttr storedCacheScales(mlir::Value rows, int64_t heads, bool isKey);
  mlir::Value rmsNorm(mlir::Value x, llvm::StringRef name, double epsilon, double gammaOffset = 0,
                      int64_t groups = 1, bool perHead = false);
  mlir::Value layerNorm(mlir::Value x, llvm::StringRef name, double epsilon);
  mlir::Value rope(mlir::Value x, int64_t heads, int64_t headDim, const Rope &rope,
                   qp::RopeStyle style = qp::RopeStyle::Half);
  struct AttentionShape {
    int64_t layer, heads, kvHeads, headDim;
    double scale;
    int64_t window = 0;
    double softcap = 0;
  };
  mlir::Value attention(mlir::Value q, mlir::Value k, mlir::Value v, const AttentionShape &shape);
  mlir::Value add(mlir::Value lhs, mlir::Value rhs, double scale = 1.0);
  mlir::Value gated(qp::Activation function, mlir::Value gate, mlir::Value up);
  mlir::Value pointwise(qp::Activation function, mlir::Value x);

  /// The token embedding; remembers the vocabulary and the width of the model.
  mlir::Value embed(llvm::StringRef name, int64_t vocabulary, int64_t hidden,
                    double multiplier = 1.0);
  /// Rows wanted, final norm done by the caller before; lm_head (or the tied
  /// embedding), logits * scale, capped; ends the function.
  void finish(mlir::Value x, llvm::StringRef head, llvm::StringRef tiedTo, double scale = 1.0,
              double softcap = 0.0);
  mlir::Value selectRows(mlir::Value x);

  /// Activation by the name that config.json uses ("silu", "gelu_new", ...).
  qp::Activation activation(llvm::StringRef key, llvm::StringRef fallback = "silu");

  mlir::OpBuilder &ops() { return builder; }
  mlir::Location at(llvm::StringRef name) const;
  mlir::Value ids() const { return tokenIds; }

  /// What the module says of the model: set by the architecture's build function.
  void setShape(int64_t layers, int64_t maxPositions);

  /// The finished module, or the first problem.
  llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> take();

private:
  /// Name in the checkpoint and the transforms that undo its converter.
  std::string locate(llvm::StringRef name) const;
  const TensorInfo *findTensor(llvm::StringRef name) const;
  /// Whether the stored rows are those of `reference` (a tensor and its transforms). Error
  /// unless that has the shape `shape`.
  llvm::Expected<bool> checkShape(const TensorInfo &tensor, llvm::StringRef reference,
                                  llvm::ArrayRef<int64_t> shape) const;
  /// Names tensors that the graph does not read: a sign of a configuration that is not theirs.
  void noteUnused();
  /// x times the factors of the weight `name`, if the checkpoint has any.
  mlir::Value withFactors(mlir::Value x, llvm::StringRef name);
  mlir::Type typeOf(const TensorInfo &tensor, llvm::ArrayRef<int64_t> shape) const;

  const Checkpoint &checkpoint;
  const Architecture &architecture;
  mlir::OpBuilder builder;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::Value tokenIds;
  /// Products that withFactors made, by input: linears over one input have equal factors.
  struct Product {
    const TensorInfo *factors;
    mlir::Value value;
  };
  llvm::DenseMap<mlir::Value, llvm::SmallVector<Product, 1>> products;
  int64_t vocabulary = 0, hidden = 0, layers = 0, maxPositions = 0;
};

/// The configuration of a checkpoint in Hugging Face's spelling.
llvm::Expected<Config> readConfig(const Checkpoint &checkpoint);

} // namespace qplan

#endif // QPLAN_IR_MODELS_MODELBUILDER_H
