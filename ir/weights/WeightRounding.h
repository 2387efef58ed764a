//===- WeightRounding.h - how a weight's scales are chosen ------*- C++ -*-===//
//
// The text of qp.quantize's `method`, which plans repeat for their weights:
//
//   max              from the largest magnitude
//   mse              least squared error
//   imatrix(BLOB)    least squared error, each column's weighted by the blob
//
// One reading of it serves the evaluator and the packer.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_WEIGHTS_WEIGHTROUNDING_H
#define QPLAN_IR_WEIGHTS_WEIGHTROUNDING_H

#include "ir/codecs/Codec.h"
#include "ir/weights/BlobStore.h"

namespace qplan {

/// A rule with what it weighs errors by.
struct WeightRounding {
  ScaleRule rule = ScaleRule::Max;
  std::vector<float> importance; ///< [columns] >= 0; empty: all 1

  /// `options` with this rule. Borrows the importance.
  EncodeOptions applied(EncodeOptions options) const {
    options.rule = rule;
    options.importance = importance.empty() ? nullptr : importance.data();
    return options;
  }
};

/// The text of method imatrix with the importance in `blob`.
std::string imatrixMethod(llvm::StringRef blob);

/// Parses a method (empty: max) of a weight of `columns` columns. Errors (input): another
/// text, a blob that is missing, is of another length or holds anything but finite numbers >= 0.
llvm::Expected<WeightRounding> parseRounding(llvm::StringRef method, int64_t columns,
                                             BlobStore &blobs);

} // namespace qplan

#endif // QPLAN_IR_WEIGHTS_WEIGHTROUNDING_H
