//===- Eval.h - the meaning of the qp dialect as running code ---*- C++ -*-===//
//
// Interprets @forward of a module op by op, in the imported, the QDQ and the fused
// form: the reference that importers, passes and kernels are compared with. It is
// written to be read; it is exact where that matters, and slow.
//
// Sums and functions are computed in f64. Each result of an op is rounded to f32
// once, because that is how the dialect stores it; keys and values are rounded to
// the op's kv_format as well.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_EVAL_EVAL_H
#define QPLAN_IR_EVAL_EVAL_H

#include "ir/weights/WeightStore.h"

#include <functional>
#include <mlir/IR/BuiltinOps.h>
#include <vector>

namespace qplan {

/// A matrix, row-major; a vector is one row.
struct EvalRows {
  int64_t rows = 0, columns = 0;
  std::vector<float> values;    ///< [rows, columns]; empty for i32 values
  std::vector<int32_t> indices; ///< [rows, columns] of an i32 value

  EvalRows() = default;
  /// Zeros.
  EvalRows(int64_t rows, int64_t columns)
      : rows(rows), columns(columns), values(size_t(rows * columns)) {}
  const float *row(int64_t r) const { return values.data() + r * columns; }
  float *row(int64_t r) { return values.data() + r * columns; }
};

struct EvalOptions {
  /// Called for each qp.observe with its site and the rows that enter it.
  std::function<void(llvm::StringRef site, const EvalRows &rows)> observe;
};

/// Runs @forward on whole sequences of token ids, each at the positions 0 .. n - 1, and
/// returns the logits of every row: [all tokens, vocabulary], sequence after sequence.
/// Weights are read through `weights` as they are needed and dropped after their last use.
///
/// Errors: a module without @forward, an op that has no meaning here (with its
/// location), operands that do not fit, an id outside the embedding, a weight that the
/// checkpoint lacks or holds in another shape.
llvm::Expected<EvalRows> evaluate(mlir::ModuleOp module, WeightStore &weights,
                                  llvm::ArrayRef<std::vector<int32_t>> sequences,
                                  const EvalOptions &options = {});

} // namespace qplan

#endif // QPLAN_IR_EVAL_EVAL_H
