//===- Evaluator.h - one run of a function of qp ops ------------*- C++ -*-===//
//
// Private to ir/eval. Eval.cpp holds the walk, weights and rounding to formats;
// EvalOps.cpp the formula of each op.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_EVAL_EVALUATOR_H
#define QPLAN_IR_EVAL_EVALUATOR_H

#include "ir/Failure.h"
#include "ir/QpDialect.h"
#include "ir/codecs/Codec.h"
#include "ir/eval/Eval.h"
#include "ir/weights/WeightRounding.h"

#include <llvm/ADT/DenseMap.h>
#include <mlir/Dialect/Func/IR/FuncOps.h>

namespace qplan {

/// The rows of a batch: those of one sequence follow one another.
struct EvalBatch {
  std::vector<int32_t> ids;
  std::vector<int64_t> position; ///< of each row, within its sequence
  int64_t rows() const { return int64_t(ids.size()); }
};

class Evaluator {
public:
  using Rows = EvalRows;
  Evaluator(WeightStore &weights, const EvalOptions &options, EvalBatch batch)
      : weights(weights), options(options), batch(std::move(batch)) {}
  /// The operand of the function's return.
  llvm::Expected<Rows> run(mlir::func::FuncOp function);

private:
  // The formula of each op; EvalOps.cpp. Each defines the results of the op.
  llvm::Error eval(qp::WeightOp op);
  llvm::Error eval(qp::QuantizeOp op);
  llvm::Error eval(qp::DequantizeOp op);
  llvm::Error eval(qp::OutliersOp op);
  llvm::Error eval(qp::ObserveOp op);
  llvm::Error eval(qp::EmbeddingOp op);
  llvm::Error eval(qp::PositionEmbeddingOp op);
  llvm::Error eval(qp::RmsNormOp op);
  llvm::Error eval(qp::LayerNormOp op);
  llvm::Error eval(qp::LinearOp op);
  llvm::Error eval(qp::FusedLinearOp op);
  llvm::Error eval(qp::RopeOp op);
  llvm::Error eval(qp::AttentionOp op);
  llvm::Error eval(qp::AddOp op);
  llvm::Error eval(qp::PointwiseOp op);
  llvm::Error eval(qp::GatedOp op);
  llvm::Error eval(qp::ScaleOp op);
  llvm::Error eval(qp::SoftcapOp op);
  llvm::Error eval(qp::ScaleColumnsOp op);
  llvm::Error eval(qp::RotateOp op);
  llvm::Error eval(qp::SelectRowsOp op);
  llvm::Error eval(qp::RouteOp op);
  llvm::Error eval(qp::ExpertLinearOp op);
  llvm::Error eval(qp::CombineOp op);

  llvm::Error dispatch(mlir::Operation *op);
  /// Drops operands of `op` that no later op reads.
  void release(mlir::Operation *op);

  const Rows &in(mlir::Value value) const { return *values.find(value)->second; }
  /// Defines `value`, rounded to its format when its type is packed.
  llvm::Error define(mlir::Operation *op, mlir::Value value, Rows rows);
  /// Defines `value` as what `source` is.
  llvm::Error alias(mlir::Value value, mlir::Value source) {
    auto rows = values.find(source)->second; // a copy: inserting moves the entries
    values[value] = std::move(rows);
    return llvm::Error::success();
  }
  /// What remains of `rows` after storing them in `format`: encoded and decoded by its codec.
  /// A per-tensor format takes `scale`, or of a weight the scale that its values ask for.
  llvm::Expected<Rows> rounded(mlir::Operation *op, const Rows &rows, FormatId format,
                               const WeightRounding &rounding, std::optional<double> scale,
                               bool isWeight);
  /// What the cache of `op` returns for the keys or values `x`.
  llvm::Expected<Rows> cached(qp::AttentionOp op, const Rows &x, FormatId format,
                              std::optional<llvm::ArrayRef<double>> scales);

  WeightStore &weights;
  const EvalOptions &options;
  EvalBatch batch;
  /// A packed value is held as the f32 values that its bytes decode to.
  llvm::DenseMap<mlir::Value, std::shared_ptr<const Rows>> values;
};

/// An error at the location of `op`.
template <typename... Args>
llvm::Error evalError(mlir::Operation *op, fmt::format_string<Args...> format, Args &&...args) {
  std::string place;
  llvm::raw_string_ostream(place) << op->getLoc();
  return inputError("{}: `{}` {}", place, op->getName().getStringRef().str(),
                    fmt::format(format, std::forward<Args>(args)...));
}

} // namespace qplan

#endif // QPLAN_IR_EVAL_EVALUATOR_H
