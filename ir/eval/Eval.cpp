//===- Eval.cpp - the walk over a function of qp ops ----------------------===//
//
// Values by name of the op that makes them, weights through the store, and the
// rounding that a packed type stands for. The formulas are in EvalOps.cpp.
//
//===----------------------------------------------------------------------===//

#include "ir/eval/Eval.h"

#include "ir/eval/Evaluator.h"

#include <llvm/ADT/TypeSwitch.h>

using namespace mlir;
using namespace qplan;

llvm::Expected<EvalRows> qplan::evaluate(ModuleOp module, WeightStore &weights,
                                         llvm::ArrayRef<std::vector<int32_t>> sequences,
                                         const EvalOptions &options) {
  auto function = module.lookupSymbol<func::FuncOp>("forward");
  if (!function || function.isExternal() || function.getNumArguments() != 1 ||
      !llvm::hasSingleElement(function.getBody()))
    return inputError("the module has no function @forward with a body of one block and one "
                      "argument, the token ids");
  EvalBatch batch;
  for (const std::vector<int32_t> &sequence : sequences) {
    for (size_t i = 0; i < sequence.size(); ++i) {
      batch.ids.push_back(sequence[i]);
      batch.position.push_back(int64_t(i));
    }
  }
  return Evaluator(weights, options, std::move(batch)).run(function);
}

llvm::Expected<EvalRows> Evaluator::run(func::FuncOp function) {
  auto ids = std::make_shared<Rows>();
  ids->rows = batch.rows();
  ids->columns = 1;
  ids->indices = batch.ids;
  values[function.getArgument(0)] = ids;
  for (Operation &op : function.getBody().front()) {
    if (auto end = dyn_cast<func::ReturnOp>(op)) {
      if (end.getNumOperands() != 1)
        return evalError(end, "must return the logits alone, found {} values",
                         end.getNumOperands());
      return in(end.getOperand(0));
    }
    if (auto error = dispatch(&op))
      return std::move(error);
    release(&op);
  }
  return evalError(function, "does not return");
}

llvm::Error Evaluator::dispatch(Operation *op) {
  return llvm::TypeSwitch<Operation *, llvm::Error>(op)
      .Case<qp::WeightOp, qp::QuantizeOp, qp::DequantizeOp, qp::OutliersOp, qp::ObserveOp,
            qp::EmbeddingOp, qp::PositionEmbeddingOp, qp::RmsNormOp, qp::LayerNormOp, qp::LinearOp,
            qp::FusedLinearOp, qp::RopeOp, qp::AttentionOp, qp::AddOp, qp::PointwiseOp, qp::GatedOp,
            qp::ScaleOp, qp::SoftcapOp, qp::ScaleColumnsOp, qp::RotateOp, qp::SelectRowsOp,
            qp::RouteOp, qp::ExpertLinearOp, qp::CombineOp>([&](auto o) { return eval(o); })
      .Default([](Operation *o) { return evalError(o, "has no meaning in the qp dialect"); });
}

void Evaluator::release(Operation *op) {
  for (Value operand : op->getOperands())
    if (llvm::all_of(operand.getUsers(),
                     [&](Operation *user) { return user == op || user->isBeforeInBlock(op); }))
      values.erase(operand);
}

llvm::Error Evaluator::define(Operation *op, Value value, Rows rows) {
  if (rows.columns != qp::widthOf(value.getType()))
    return evalError(op, "gives {} columns, its type says {}", rows.columns,
                     qp::widthOf(value.getType()));
  if (auto packed = dyn_cast<qp::PackedType>(value.getType())) {
    FormatId format = llvm::cantFail(parseFormat(packed.getFormat()));
    auto stored = rounded(op, rows, format, WeightRounding(), std::nullopt, /*isWeight=*/false);
    if (!stored)
      return stored.takeError();
    rows = std::move(*stored);
  }
  values[value] = std::make_shared<const Rows>(std::move(rows));
  return llvm::Error::success();
}

llvm::Expected<EvalRows> Evaluator::rounded(Operation *op, const Rows &rows, FormatId format,
                                            const WeightRounding &rounding,
                                            std::optional<double> scale, bool isWeight) {
  const FormatInfo &info = formatInfo(format);
  EncodeOptions encoding = rounding.applied({});
  std::string subject;
  llvm::raw_string_ostream(subject) << op->getLoc();
  encoding.subject = subject;
  std::vector<float> side;
  if (scale) {
    side = {float(*scale)};
  } else if (info.side != SideData::None && isWeight) {
    SideObserver observer(format, rows.rows, rows.columns, rounding.importance);
    for (int64_t r = 0; r < rows.rows; ++r)
      if (auto error = observer.observe(r, rows.row(r), fmt::format("{}, row {}", subject, r)))
        return std::move(error);
    side = observer.values();
  } else if (info.side != SideData::None) {
    return evalError(op, "needs the attribute `scale`: rows in {} share one, fixed by calibration",
                     info.name);
  }

  const Codec &codec = codecFor(format);
  if (auto error = codec.checkColumns(rows.columns))
    return std::move(error);
  Rows result(rows.rows, rows.columns);
  std::vector<uint8_t> bytes(codec.bytesPerRow(rows.columns));
  for (int64_t r = 0; r < rows.rows; ++r) {
    encoding.row = r;
    encoding.tensor = {side, r};
    if (auto error = codec.encodeRow(rows.row(r), rows.columns, encoding, bytes.data()))
      return std::move(error);
    codec.decodeRow(bytes.data(), rows.columns, result.row(r), encoding.tensor);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Weights and quantized values
//===----------------------------------------------------------------------===//

llvm::Error Evaluator::eval(qp::WeightOp op) {
  auto view = weights.open(op.getSource());
  if (!view)
    return view.takeError();
  if (view->shape() != qp::shapeOf(op.getType()))
    return evalError(op, "{}: the checkpoint's tensor gives [{}], the type says [{}]", view->text(),
                     fmt::join(view->shape(), ", "), fmt::join(qp::shapeOf(op.getType()), ", "));
  Rows rows(view->rows(), view->columns());
  if (auto error = view->readRows(0, rows.rows, rows.values.data()))
    return error;
  // Blocks of the checkpoint are decoded here, not rounded again.
  values[op.getResult()] = std::make_shared<const Rows>(std::move(rows));
  return llvm::Error::success();
}

/// Columns in which some row has a magnitude of at least `threshold`; none where that is 0.
static std::vector<bool> outlierColumns(const EvalRows &rows, float threshold) {
  std::vector<bool> outliers(size_t(rows.columns), false);
  for (size_t i = 0; i < rows.values.size(); ++i)
    if (threshold > 0 && std::abs(rows.values[i]) >= threshold)
      outliers[i % outliers.size()] = true;
  return outliers;
}

llvm::Error Evaluator::eval(qp::QuantizeOp op) {
  int64_t columns = qp::widthOf(op.getInput().getType());
  auto rounding = parseRounding(op.getMethod().value_or("max"), columns, weights.blobs());
  if (!rounding)
    return evalError(op, "{}", llvm::toString(rounding.takeError()));
  std::optional<double> scale;
  if (op.getScale())
    scale = op.getScale()->convertToDouble();
  FormatId format = llvm::cantFail(parseFormat(op.getType().getFormat()));
  bool isWeight = !ShapedType::isDynamic(qp::shapeOf(op.getType())[0]);
  Rows rows = in(op.getInput());
  float threshold = op.getThreshold() ? float(op.getThreshold()->convertToDouble()) : 0;
  std::vector<bool> outliers = outlierColumns(rows, threshold);
  for (float &value : rows.values)
    if (threshold > 0 && std::abs(value) >= threshold)
      value = 0; // no part of its row's scale
  auto stored = rounded(op, rows, format, *rounding, scale, isWeight);
  if (!stored)
    return stored.takeError();
  for (size_t i = 0; i < stored->values.size(); ++i)
    if (outliers[i % outliers.size()])
      stored->values[i] = 0;
  values[op.getResult()] = std::make_shared<const Rows>(std::move(*stored));
  return llvm::Error::success();
}

llvm::Error Evaluator::eval(qp::OutliersOp op) {
  Rows rows = in(op.getInput());
  std::vector<bool> outliers = outlierColumns(rows, float(op.getThreshold().convertToDouble()));
  for (size_t i = 0; i < rows.values.size(); ++i)
    if (!outliers[i % outliers.size()])
      rows.values[i] = 0;
  return define(op, op.getResult(), std::move(rows));
}

llvm::Error Evaluator::eval(qp::DequantizeOp op) { return alias(op.getResult(), op.getInput()); }

llvm::Error Evaluator::eval(qp::ObserveOp op) {
  if (options.observe)
    options.observe(op.getSite(), in(op.getInput()));
  return llvm::Error::success();
}
