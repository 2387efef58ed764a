//===- InputFold.h - divide an input, multiply its readers -------*- C++ -*-===//
//
// Decides where the division of an input by a vector of factors goes. It costs
// nothing where it is exact in the producer's weights: the gamma of a norm, the rows
// of the up projection, the rows of the value projection (one factor for query heads
// that share a value head). Elsewhere a `qp.scale_columns` op appears. Only names of
// weights change: factors are blobs that transforms refer to.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_INPUTFOLD_H
#define QPLAN_PASSES_INPUTFOLD_H

#include "ir/weights/BlobStore.h"
#include "passes/Sites.h"

namespace qplan {

/// Attribute of a site's op: the blob of the factors that its input was divided by.
inline constexpr llvm::StringLiteral factorsAttr = "qp.input_factors";

/// Attribute of a site's op: its method over second moments has run.
inline constexpr llvm::StringLiteral methodDoneAttr = "qp.method_done";

/// Attribute of a site's op: the range of its static activation scale (f64), where it is not the
/// largest magnitude of the statistics.
inline constexpr llvm::StringLiteral rangeAttr = "qp.input_range";

/// The sites that read one value and are scaled together.
class InputFold {
public:
  /// All `sites` (not empty) read the input of the first. With `free` the division goes only where
  /// factors need not be equal: legalize() leaves them.
  explicit InputFold(std::vector<Site> sites, bool free = false);

  /// Whether the division goes into the producer.
  bool folds() const { return place != Place::Op; }

  /// Makes factors [columns] equal where the producer takes one for several columns: the
  /// largest.
  void legalize(std::vector<float> &factors) const;

  /// Multiplies columns of weights by `factors`, which are legal and positive, and divides
  /// the input. Other linears that read the input in plain floats are multiplied too, so that
  /// the producer can be divided. Errors: those of `blobs`.
  llvm::Error apply(llvm::ArrayRef<float> factors, BlobStore &blobs);

private:
  enum class Place { Op, RmsNorm, LayerNorm, Up, Value };

  bool takesFactors(mlir::Value input, bool free);
  llvm::Error divideProducer(llvm::ArrayRef<float> inverse, BlobStore &blobs);
  llvm::Error divideNorm(llvm::ArrayRef<float> inverse, BlobStore &blobs);
  void insertOp(llvm::StringRef blob);

  std::vector<Site> sites;
  std::vector<mlir::OpOperand *> others; ///< weights of plain linears that read the input too
  Place place = Place::Op;
};

} // namespace qplan

#endif // QPLAN_PASSES_INPUTFOLD_H
