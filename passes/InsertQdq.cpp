//===- InsertQdq.cpp - insert what treatments mean ------------------------===//
//
// Writes the QDQ form. Static activation scales are those of a checkpoint that has
// them for the format; else they come from the statistics: the largest magnitude
// that entered the site during calibration.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/models/StoredInput.h"
#include "passes/PassInputs.h"
#include "passes/InputFold.h"
#include "passes/moments/MomentMethod.h"

#include <mlir/IR/Builders.h>

using namespace mlir;

namespace qplan {
#define GEN_PASS_DEF_INSERTQDQ
#include "passes/Passes.h.inc"
} // namespace qplan

using namespace qplan;

namespace {

struct InsertQdqPass : qplan::impl::InsertQdqBase<InsertQdqPass> {
  using InsertQdqBase::InsertQdqBase;

  PassInputs inputs;
  OpenedInputs opened;
  /// Inputs quantized so far, by value, format and static scale.
  llvm::DenseMap<std::pair<Value, Attribute>, Value> quantized;
  /// Weights quantized so far, by weight op and treatment: tied tensors once.
  llvm::DenseMap<std::pair<Value, Attribute>, Value> stored;

  void runOnOperation() override {
    quantized.clear();
    stored.clear();
    llvm::Error error = openStatistics(statisticsFile, inputs, opened);
    if (!error)
      error = openWeights(checkpointPath, blobFolder, inputs, opened);
    if (error) {
      getOperation().emitError() << llvm::toString(std::move(error));
      return signalPassFailure();
    }
    for (const Site &site : collectSites(getOperation())) {
      auto text = site.op->getAttrOfType<StringAttr>(treatmentAttr);
      if (!text)
        continue;
      auto treatment = parseTreatment(text.getValue());
      llvm::Error error = treatment ? apply(site, *treatment) : treatment.takeError();
      if (error) {
        site.op->emitError() << llvm::toString(std::move(error));
        return signalPassFailure();
      }
    }
  }

  llvm::Error apply(const Site &site, const Treatment &treatment) {
    const MomentMethod *method = momentMethod(treatment.method);
    if (method && method->rounds(treatment) &&
        qp::formatNameOf(weightUnder(site.weight()).getType()) != formatName(treatment.weight))
      return usageError("site {}: its weights are not rounded by {} yet; start from the stage "
                        "`round` of `qplan compile --dump-ir`",
                        site.name, methodName(treatment.method).str());
    for (unsigned i = 0; i < site.weightCount; ++i)
      treatWeight(site, i, treatment);
    if (!treatment.activation || !site.input())
      return llvm::Error::success();
    return treatInput(site, treatment);
  }

  void treatWeight(const Site &site, unsigned i, const Treatment &treatment) {
    Value operand = site.weight(i);
    qp::WeightOp weight = weightUnder(operand);
    llvm::StringRef wanted = formatName(treatment.weight);
    if (qp::formatNameOf(weight.getType()) == wanted)
      return;
    // Rounding from the stored blocks' values: the dequantize op is the source.
    StringAttr method =
        treatment.method == Method::Mse ? StringAttr::get(&getContext(), "mse") : StringAttr();
    auto key = std::pair<Value, Attribute>(
        weight, StringAttr::get(&getContext(), wanted + (method ? "@mse" : "")));
    Value &done = stored[key];
    if (!done) {
      OpBuilder builder(&getContext());
      builder.setInsertionPointAfterValue(operand);
      auto shape = qp::shapeOf(operand.getType());
      auto packed = qp::PackedType::get(&getContext(), shape, wanted);
      Value q = qp::QuantizeOp::create(builder, weight.getLoc(), packed, operand, method,
                                       FloatAttr());
      done = qp::DequantizeOp::create(builder, weight.getLoc(),
                                      RankedTensorType::get(shape, builder.getF32Type()), q);
      ++weights;
    }
    // A tied tensor's first use may come later in the function than this one.
    if (auto *op = done.getDefiningOp(); site.op->isBeforeInBlock(op)) {
      op->getOperand(0).getDefiningOp()->moveBefore(site.op);
      op->moveBefore(site.op);
    }
    site.op->setOperand(site.firstWeight + i, done);
  }

  llvm::Error treatInput(const Site &site, const Treatment &treatment) {
    OpBuilder builder(site.op);
    const FormatInfo &info = formatInfo(*treatment.activation);
    FloatAttr scale;
    if (info.isPerTensor()) {
      auto value = staticScale(site, info);
      if (!value)
        return value.takeError();
      scale = builder.getF64FloatAttr(*value);
    }
    Value input = site.input();
    Attribute tag = builder.getArrayAttr(
        {builder.getStringAttr(info.name), scale ? Attribute(scale) : builder.getUnitAttr()});
    Value &done = quantized[{input, tag}];
    if (!done) {
      auto type = cast<RankedTensorType>(input.getType());
      auto packed = qp::PackedType::get(&getContext(), type.getShape(), info.name);
      Value q = qp::QuantizeOp::create(builder, input.getLoc(), packed, input, StringAttr(), scale);
      done = qp::DequantizeOp::create(builder, input.getLoc(), type, q);
      ++activations;
    }
    site.op->setOperand(0, done);
    return llvm::Error::success();
  }

  llvm::Expected<double> staticScale(const Site &site, const FormatInfo &info) {
    auto format = site.op->getAttrOfType<StringAttr>(storedInputAttr);
    auto scale = site.op->getAttrOfType<FloatAttr>(storedScaleAttr);
    // A division changes the input that the scale was made for.
    if (format && scale && format.getValue() == info.name && !site.op->hasAttr(factorsAttr))
      return scale.getValueAsDouble();
    if (!inputs.statistics)
      return usageError("site {}: {} needs the range of its input; give a calibration text "
                        "(--calib) or statistics (--statistics)",
                        site.name, info.name);
    auto found = inputs.statistics->sites.find(site.name);
    if (found == inputs.statistics->sites.end())
      return inputError("site {}: the statistics do not hold it; make them again", site.name);
    std::vector<float> ranges = found->second.absMax;
    if (auto error = divideByFactors(site, ranges))
      return std::move(error);
    float largest = 0;
    for (float value : ranges)
      largest = std::max(largest, value);
    return largest > 0 ? double(largest) / scaleDivisor(info.id) : 1.0;
  }

  /// The statistics are those of the input before its division.
  llvm::Error divideByFactors(const Site &site, std::vector<float> &ranges) {
    auto name = site.op->getAttrOfType<StringAttr>(factorsAttr);
    if (!name)
      return llvm::Error::success();
    if (!inputs.weights)
      return usageError("site {}: its input was divided by the factors of blob {}; give the "
                        "checkpoint and the folder of blobs",
                        site.name, name.getValue().str());
    auto factors = inputs.weights->blobs().floats(name.getValue());
    if (!factors)
      return factors.takeError();
    if (factors->size() != ranges.size())
      return inputError("site {}: the statistics are of {} columns, its factors of {}", site.name,
                        ranges.size(), factors->size());
    for (size_t j = 0; j < ranges.size(); ++j)
      ranges[j] /= (*factors)[j];
    return llvm::Error::success();
  }
};

} // namespace

std::unique_ptr<Pass> qplan::createInsertQdq(const PassInputs &inputs) {
  auto pass = std::make_unique<InsertQdqPass>();
  pass->inputs = inputs;
  return pass;
}
