//===- QpOps.cpp - verifiers of the qp dialect ----------------------------===//
//
// Each check carries the label of its constraint in QpOps.td.
//
//===----------------------------------------------------------------------===//

#include "ir/Formats.h"
#include "ir/QpDialect.h"
#include "ir/Rotation.h"
#include "ir/packings/KvPages.h"

#include <cmath>
#include <llvm/ADT/DenseSet.h>
#include <mlir/IR/Builders.h>

using namespace mlir;
using namespace qplan::qp;

#define GET_OP_CLASSES
#include "ir/QpOps.cpp.inc"

namespace {

/// A diagnostic of the form "rule: expected X, found Y".
LogicalResult mismatch(Operation *op, StringRef rule, int64_t expected, int64_t found) {
  return op->emitOpError() << rule << ": expected " << expected << ", found " << found;
}

LogicalResult verifyMatrix(Operation *op, Type weight, int64_t inputs, int64_t outputs) {
  ArrayRef<int64_t> shape = shapeOf(weight);
  if (shape.size() != 2)
    return op->emitOpError() << "weight must be a matrix [outputs, inputs], found " << weight;
  if (shape[1] != inputs) // [linear-c1]
    return mismatch(op, "columns of the weight must be the width of the input", inputs, shape[1]);
  if (shape[0] != outputs)
    return mismatch(op, "rows of the weight must be the width of the result", outputs, shape[0]);
  return success();
}

/// [attention-c4] `fixed`: whether the format takes scales from outside.
LogicalResult verifyKvScales(AttentionOp op, ArrayRef<double> scales, bool fixed) {
  if (!fixed)
    return op.emitOpError() << "takes no scales: " << op.getKvFormat()
                            << " finds its own when it stores";
  if (scales.size() != 1 && scales.size() != op.getKvHeads())
    return op.emitOpError() << "needs one scale, or one for each of the " << op.getKvHeads()
                            << " heads, found " << scales.size();
  for (double scale : scales)
    if (!(float(scale) > 0) || !std::isfinite(float(scale)))
      return op.emitOpError() << "scales must be positive numbers of f32, found " << scale;
  return success();
}

} // namespace

LogicalResult QuantizeOp::verify() {
  if (shapeOf(getInput().getType()) != shapeOf(getResult().getType())) // [quantize-c1]
    return emitOpError() << "operand and result must have the same shape, found "
                         << getInput().getType() << " and " << getResult().getType();
  auto id = qplan::parseFormat(getResult().getType().getFormat()); // [quantize-c2]
  if (!id)
    return emitOpError() << llvm::toString(id.takeError());
  if (auto bytes = qplan::rowBytes(*id, widthOf(getResult().getType())); !bytes)
    return emitOpError() << llvm::toString(bytes.takeError());
  if (getThreshold() && (*id != qplan::FormatId::Int8Token ||
                         !(getThreshold()->convertToDouble() > 0))) // [quantize-c3]
    return emitOpError() << "a threshold must be above 0 and needs rows in int8_token, found "
                         << getThreshold()->convertToDouble() << " and "
                         << getResult().getType().getFormat();
  return success();
}

LogicalResult DequantizeOp::verify() {
  if (shapeOf(getInput().getType()) != shapeOf(getResult().getType())) // [dequantize-c1]
    return emitOpError() << "operand and result must have the same shape, found "
                         << getInput().getType() << " and " << getResult().getType();
  return success();
}

LogicalResult RmsNormOp::verify() {
  int64_t width = widthOf(getInput().getType()), groups = getGroups();
  if (groups < 1 || width % groups != 0)
    return emitOpError() << "groups must divide the width of the input, found " << groups << " and "
                         << width;
  int64_t gamma = widthOf(getGamma().getType());
  if (gamma != width && gamma != width / groups) // [rms_norm-c1]
    return mismatch(*this, "gamma must have one entry for each column of a segment", width / groups,
                    gamma);
  return success();
}

LogicalResult RotateOp::verify() {
  const int64_t block = getBlock();
  if (!qplan::isRotationBlock(block) || widthOf(getInput().getType()) % block != 0)
    return emitOpError("[rotate-c1] block of ") << block << " is no power of two that divides "
                                                << widthOf(getInput().getType()) << " columns";
  return success();
}

LogicalResult LinearOp::verify() {
  int64_t outputs = widthOf(getResult().getType());
  if (failed(verifyMatrix(*this, getWeight().getType(), widthOf(getInput().getType()), outputs)))
    return failure();
  if (getBias() && widthOf(getBias().getType()) != outputs) // [linear-c2]
    return mismatch(*this, "bias must have one entry for each output", outputs,
                    widthOf(getBias().getType()));
  return success();
}

LogicalResult FusedLinearOp::verify() {
  size_t count = getWeights().size();
  if (getOutputs().size() != count || getSites().size() != count ||
      (!getBiases().empty() && getBiases().size() != count)) // [fused_linear-c1]
    return emitOpError() << "needs as many results, sites and biases (or none) as weights ("
                         << count << "), found " << getOutputs().size() << ", " << getSites().size()
                         << " and " << getBiases().size();
  if (getResidual() && count != 1) // [fused_linear-c2]
    return emitOpError() << "a residual needs exactly one weight, found " << count;
  if (getOutliers() &&
      (!isa<PackedType>(getInput().getType()) ||
       widthOf(getOutliers().getType()) != widthOf(getInput().getType()))) // [fused_linear-c3]
    return emitOpError() << "outliers come with a packed input of the same width, found "
                         << getInput().getType() << " and " << getOutliers().getType();
  int64_t inputs = widthOf(getInput().getType());
  for (auto [weight, output] : llvm::zip(getWeights(), getOutputs()))
    if (failed(verifyMatrix(*this, weight.getType(), inputs, widthOf(output.getType()))))
      return failure();
  for (auto [bias, output] : llvm::zip(getBiases(), getOutputs()))
    if (widthOf(bias.getType()) != widthOf(output.getType()))
      return mismatch(*this, "bias must have one entry for each output", widthOf(output.getType()),
                      widthOf(bias.getType()));
  return success();
}

LogicalResult RopeOp::verify() {
  if (widthOf(getInput().getType()) != int64_t(getHeads() * getHeadDim()))
    return mismatch(*this, "width must be heads * head_dim", getHeads() * getHeadDim(),
                    widthOf(getInput().getType()));
  if (getInverseFrequency().size() * 2 > getHeadDim())
    return mismatch(*this, "at most head_dim / 2 inverse frequencies", getHeadDim() / 2,
                    getInverseFrequency().size());
  return success();
}

LogicalResult AttentionOp::verify() {
  int64_t heads = getHeads(), kvHeads = getKvHeads(), dim = getHeadDim();
  if (kvHeads < 1 || heads % kvHeads != 0) // [attention-c2]
    return emitOpError() << "heads must be a multiple of kv_heads, found " << heads << " and "
                         << kvHeads;
  if (widthOf(getQuery().getType()) != heads * dim) // [attention-c1]
    return mismatch(*this, "width of the query must be heads * head_dim", heads * dim,
                    widthOf(getQuery().getType()));
  for (Value value : {getKey(), getValue()})
    if (widthOf(value.getType()) != kvHeads * dim)
      return mismatch(*this, "width of key and value must be kv_heads * head_dim", kvHeads * dim,
                      widthOf(value.getType()));
  if (widthOf(getResult().getType()) != heads * dim)
    return mismatch(*this, "width of the result must be heads * head_dim", heads * dim,
                    widthOf(getResult().getType()));
  auto format = qplan::parseFormat(getKvFormat()); // [attention-c3]
  if (!format)
    return emitOpError() << llvm::toString(format.takeError());
  auto layout = qplan::kvLayoutFor(*format, dim);
  if (!layout)
    return emitOpError() << llvm::toString(layout.takeError());
  for (auto scales : {getKeyScales(), getValueScales()}) // [attention-c4]
    if (scales && failed(verifyKvScales(*this, *scales, layout->fixed != qplan::KvScales::None)))
      return failure();
  return success();
}

ExpertLinearOp ExpertLinearOp::before() {
  return getOnto() ? getOnto().getDefiningOp<ExpertLinearOp>() : ExpertLinearOp();
}

ExpertLinearOp ExpertLinearOp::next() {
  for (Operation *user : getResult().getUsers())
    if (auto op = dyn_cast<ExpertLinearOp>(user); op && op.getOnto() == getResult())
      return op;
  return {};
}

/// [expert_linear-c4] Looked at once, at the end, so that long chains take no longer than their
/// length. A chain that comes back to itself has an expert twice.
static LogicalResult verifyChain(ExpertLinearOp end) {
  llvm::SmallDenseSet<int64_t, 16> seen;
  int64_t largest = 0;
  for (ExpertLinearOp op = end; op; op = op.before())
    for (size_t i = 0; i < op.getExperts().size(); ++i) {
      const int64_t number = op.numberOf(i);
      if (number < 0)
        return end.emitOpError() << "numbers of experts are 0 or more, found " << number;
      if (!seen.insert(number).second)
        return end.emitOpError() << "its chain has expert " << number << " twice";
      largest = std::max(largest, number);
    }
  auto route = end.getRoutes().getDefiningOp<RouteOp>();
  const int64_t count = route ? widthOf(route.getLogits().getType()) : largest + 1;
  if (largest + 1 != count || int64_t(seen.size()) != count)
    return end.emitOpError() << "its chain must have every expert: expected 0 to " << count - 1
                             << ", found " << seen.size() << " up to " << largest;
  return success();
}

LogicalResult ExpertLinearOp::verify() {
  const size_t count = getExperts().size();
  if (count == 0)
    return emitOpError() << "needs at least one expert";
  for (Value expert : getExperts()) // [expert_linear-c1]
    if (failed(verifyMatrix(*this, expert.getType(), widthOf(getInput().getType()),
                            widthOf(getResult().getType()))))
      return failure();
  if (getSites().size() != 1 && getSites().size() != count) // [expert_linear-c2]
    return emitOpError() << "needs one site, or one for each of the " << count << " weights, found "
                         << getSites().size();
  if (getNumbers() && getNumbers()->size() != count)
    return mismatch(*this, "as many numbers as weights", count, getNumbers()->size());
  if (getOnto()) { // [expert_linear-c3]
    ExpertLinearOp other = before();
    if (!other || other.getRoutes() != getRoutes() || other.getType() != getType() ||
        other.getPerSlot() != getPerSlot())
      return emitOpError() << "goes on from an expert_linear with the same routes, slots and type";
  }
  return next() ? success() : verifyChain(*this);
}
