//===- PlanLowering.h - a function of qp ops becomes a plan ------*- C++ -*-===//
//
// Where each value of the graph lives, and which launches compute it. Values that
// an attention or a gated product reads together share one buffer as column
// ranges, because their kernels expect that; rotations and head norms work in
// place; quantized rows are made once for each granularity that readers need.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_LOWER_PLANLOWERING_H
#define QPLAN_CODEGEN_LOWER_PLANLOWERING_H

#include "codegen/lower/PlanWriter.h"
#include "ir/QpDialect.h"

#include <llvm/ADT/DenseMap.h>
#include <mlir/Dialect/Func/IR/FuncOps.h>
#include <optional>

namespace qplan {

struct PlanSizes {
  int64_t maxTokens, pageTokens;
};

/// f32 rows: columns [column, column + width) of a buffer `stride` columns wide.
struct Place {
  std::string buffer;
  int64_t column = 0, stride = 0;
  int64_t rows = 0;    ///< kernel parameter `rows`: 0 tokens, 1 logit rows, n slots
  bool logits = false; ///< the caller's logits instead of a buffer
};

/// int8 rows: codes, scales and sums.
struct PackedPlace {
  std::string codes, scales, sums;
  int64_t columns = 0, group = 0, sumGroup = 0, roundMode = 0, rows = 0;
};

/// How the kernels quantize rows of `columns` to an activation format, as Kernels.inc says it:
/// columns of a scale, roundMode of integers, and the element and type of scales of fake_quant.
struct RowRounding {
  int64_t group = 0, mode = 0, element = 0, scale = 0;
};
RowRounding rowRoundingOf(FormatId format, int64_t columns);

class PlanLowering {
public:
  PlanLowering(mlir::ModuleOp module, mlir::func::FuncOp function, PlanSizes sizes);
  /// Emits diagnostics at the op at fault.
  mlir::LogicalResult run();

private:
  // Values.
  void shareBuffers();
  void shareColumns(llvm::ArrayRef<mlir::Value> roots);
  /// The linear whose result `value` is, through ops that work in place; null if none.
  mlir::Value rootOf(mlir::Value value);
  Place placeFor(mlir::Value value, int64_t rows);
  Place newPlace(int64_t width, int64_t rows);
  Place placeOf(mlir::Value value) { return places.lookup(value); }
  /// Whole-width rows, as kernels without a column parameter need them.
  mlir::FailureOr<Place> wholeRows(mlir::Value value);
  PackedPlace packedBuffers(mlir::Type packed, int64_t sumGroup, int64_t rows);
  /// The mask of the columns in which rows of `value` reach `threshold`: f32 [width].
  mlir::FailureOr<std::string> outlierMask(mlir::Value value, double threshold);
  /// The quantized rows of `value` with sums over `sumGroup` columns.
  mlir::FailureOr<PackedPlace> packedRows(mlir::Value value, int64_t weightGroup);

  // Weights.
  mlir::FailureOr<MatrixSpec> specOf(llvm::ArrayRef<mlir::Value> weights, int64_t experts);
  mlir::FailureOr<std::string> vectorOf(llvm::ArrayRef<mlir::Value> values);

  // Ops.
  mlir::LogicalResult lower(mlir::Operation *op);
  mlir::LogicalResult lowerEmbedding(qp::EmbeddingOp op);
  mlir::LogicalResult lowerPositions(qp::PositionEmbeddingOp op);
  mlir::LogicalResult lowerNorm(qp::RmsNormOp op);
  mlir::LogicalResult lowerNorm(qp::LayerNormOp op);
  mlir::LogicalResult lowerLinear(qp::LinearOp op);
  mlir::LogicalResult lowerLinear(qp::FusedLinearOp op);
  mlir::LogicalResult lowerExperts(qp::ExpertLinearOp op);
  struct LinearParts {
    mlir::Operation *op;
    mlir::Value input;
    llvm::SmallVector<mlir::Value> weights, biases, outputs;
    mlir::Value residual, outliers;
    llvm::SmallVector<std::string> sites;
    double scale;
  };
  mlir::LogicalResult launchLinear(const LinearParts &parts);
  bool isLogits(mlir::Value value);
  mlir::LogicalResult lowerRope(qp::RopeOp op);
  mlir::LogicalResult lowerAttention(qp::AttentionOp op);
  mlir::LogicalResult lowerAdd(qp::AddOp op);
  mlir::LogicalResult lowerGated(qp::GatedOp op);
  mlir::LogicalResult lowerUnary(mlir::Operation *op, int64_t kind, double value);
  mlir::LogicalResult lowerScaleColumns(qp::ScaleColumnsOp op);
  mlir::LogicalResult lowerRotate(qp::RotateOp op);
  mlir::LogicalResult lowerSelect(qp::SelectRowsOp op);
  mlir::LogicalResult lowerRoute(qp::RouteOp op);
  mlir::LogicalResult lowerCombine(qp::CombineOp op);
  mlir::LogicalResult lowerFakeQuant(qp::DequantizeOp op);
  mlir::LogicalResult lowerOutliers(qp::OutliersOp op);
  mlir::LogicalResult splitOutliers(mlir::Value input, double threshold, int64_t kind,
                                    mlir::Value result);
  mlir::LogicalResult addOutliers(const LinearParts &parts, const StoredMatrix &matrix, Place out);
  mlir::LogicalResult lowerObserve(qp::ObserveOp op);

  llvm::SmallVector<Param> matrixParams(const StoredMatrix &matrix);
  static bool diesAt(mlir::Value value, mlir::Operation *op);

  mlir::ModuleOp module;
  mlir::func::FuncOp function;
  PlanSizes sizes;
  mlir::DictionaryAttr model;
  std::optional<PlanWriter> writer;

  llvm::DenseMap<mlir::Value, Place> places;
  /// Buffer and column that a linear's result must have, and the buffer's width.
  struct Shared {
    unsigned set;
    int64_t column, stride;
  };
  llvm::DenseMap<mlir::Value, Shared> shared;
  llvm::DenseMap<unsigned, std::string> sharedBuffers;
  unsigned sharedSets = 0;
  llvm::DenseMap<std::pair<mlir::Value, int64_t>, PackedPlace> packed;
  llvm::DenseMap<mlir::Attribute, std::string> ropeTables;
  llvm::DenseMap<std::pair<mlir::Value, mlir::Attribute>, std::string> outlierMasks;
  struct Routing {
    std::string offsets, list;
    int64_t experts, slots;
  };
  llvm::DenseMap<mlir::Value, Routing> routings;
  int64_t statisticsBytes = 0;
  llvm::SmallVector<mlir::Attribute> observers;
};

} // namespace qplan

#endif // QPLAN_CODEGEN_LOWER_PLANLOWERING_H
