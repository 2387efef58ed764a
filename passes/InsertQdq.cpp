//===- InsertQdq.cpp - insert what treatments mean ------------------------===//
//
// Writes the QDQ form. Static activation scales are those of a checkpoint that has
// them for the format; else they come from the statistics: the largest magnitude
// that entered the site, or the cache, during calibration.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "ir/codecs/Codec.h"
#include "ir/models/StoredInput.h"
#include "ir/packings/KvPages.h"
#include "passes/PassInputs.h"
#include "ir/weights/WeightRounding.h"
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
    bool noted = false;
    WalkResult walked = getOperation().walk([&](qp::AttentionOp op) {
      auto error = fixScales(op, noted);
      if (!error)
        return WalkResult::advance();
      op.emitError() << llvm::toString(std::move(error));
      return WalkResult::interrupt();
    });
    if (walked.wasInterrupted())
      signalPassFailure();
  }

  /// Gives a cache its fixed scales, where its format has any. `noted`: whether the user
  /// knows that they are 1.
  llvm::Error fixScales(qp::AttentionOp op, bool &noted) {
    FormatId format = llvm::cantFail(parseFormat(op.getKvFormat()));
    KvScales fixed = kvScalesOf(format);
    if (fixed == KvScales::None || op.getKeyScales())
      return llvm::Error::success();
    if (!inputs.statistics) {
      if (fixed == KvScales::Head)
        return usageError("--kv-cache {}: scales of heads come from calibration; give --calib TEXT, "
                          "or --statistics with a file that exists, or take fp8",
                          formatName(format).str());
      if (!std::exchange(noted, true))
        getOperation().emitRemark()
            << "--kv-cache " << formatName(format)
            << " is not calibrated: keys and values are stored at scale 1; --calib TEXT fits it";
      return llvm::Error::success();
    }
    auto keys = cacheScales(keyCacheName(op), format, op.getKvHeads());
    if (!keys)
      return keys.takeError();
    auto values = cacheScales(valueCacheName(op), format, op.getKvHeads());
    if (!values)
      return values.takeError();
    op.setKeyScales(*keys);
    op.setValueScales(*values);
    ++caches;
    return llvm::Error::success();
  }

  /// One scale, or one for each of `heads`, from the ranges observed as `name`.
  llvm::Expected<std::vector<double>> cacheScales(const std::string &name, FormatId format,
                                                  int64_t heads) {
    auto found = inputs.statistics->sites.find(name);
    if (found == inputs.statistics->sites.end())
      return inputError("{}: the statistics do not hold it; make them again", name);
    llvm::ArrayRef<float> absMax = found->second.absMax;
    if (int64_t(absMax.size()) % heads != 0)
      return inputError("{}: the statistics have {} columns, expected a multiple of {} heads; make "
                        "them again",
                        name, absMax.size(), heads);
    size_t parts = kvScalesOf(format) == KvScales::Head ? size_t(heads) : 1;
    size_t columns = absMax.size() / parts;
    std::vector<double> scales;
    for (size_t i = 0; i < parts; ++i) {
      llvm::ArrayRef<float> part = absMax.slice(i * columns, columns);
      float largest = *std::max_element(part.begin(), part.end());
      scales.push_back(largest > 0 ? largest / scaleDivisor(format) : 1.0);
    }
    return scales;
  }

  llvm::Error apply(const Site &site, const Treatment &treatment) {
    bool stored =
        qp::formatNameOf(weightUnder(site.weight()).getType()) == formatName(treatment.weight);
    if (const MomentMethod *method = momentMethod(treatment);
        method && !stored && (method->rounds(treatment) || !site.op->hasAttr(methodDoneAttr)))
      return usageError("site {}: its weights are not rounded by {} yet; start from the stage "
                        "`round` of `qplan compile --dump-ir`",
                        site.name, methodName(treatment.method).str());
    auto rounding = roundingText(site, treatment);
    if (!rounding)
      return rounding.takeError();
    for (unsigned i = 0; i < site.weightCount; ++i)
      treatWeight(site, i, treatment, *rounding);
    if (!treatment.activation || !site.input())
      return llvm::Error::success();
    return treatInput(site, treatment);
  }

  /// The method of the quantize ops of a site's weights; empty: max.
  llvm::Expected<std::string> roundingText(const Site &site, const Treatment &treatment) {
    if (treatment.method == Method::Mse)
      return "mse";
    if (treatment.method != Method::Imatrix || treatment.weight == site.stored)
      return "";
    if (!inputs.statistics || !inputs.weights)
      return usageError("site {}: imatrix needs the mean squares of its input; give a calibration "
                        "text (--calib) or statistics (--statistics)",
                        site.name);
    auto found = inputs.statistics->neededInputOf(site.name);
    if (!found)
      return found.takeError();
    const std::vector<float> &squares = found->meanSquare;
    auto blob = inputs.weights->blobs().putFloats({int64_t(squares.size())}, squares);
    if (!blob)
      return blob.takeError();
    return imatrixMethod(*blob);
  }

  void treatWeight(const Site &site, unsigned i, const Treatment &treatment,
                   const std::string &rounding) {
    Value operand = site.weight(i);
    qp::WeightOp weight = weightUnder(operand);
    llvm::StringRef wanted = formatName(treatment.weight);
    if (qp::formatNameOf(weight.getType()) == wanted)
      return;
    // Rounding from the stored blocks' values: the dequantize op is the source.
    StringAttr method =
        rounding.empty() ? StringAttr() : StringAttr::get(&getContext(), rounding);
    auto key = std::pair<Value, Attribute>(
        weight, StringAttr::get(&getContext(), wanted + "@" + rounding));
    Value &done = stored[key];
    if (!done) {
      OpBuilder builder(&getContext());
      builder.setInsertionPointAfterValue(operand);
      auto shape = qp::shapeOf(operand.getType());
      auto packed = qp::PackedType::get(&getContext(), shape, wanted);
      Value q = qp::QuantizeOp::create(builder, weight.getLoc(), packed, operand, method,
                                       FloatAttr(), FloatAttr());
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
    FloatAttr threshold;
    if (treatment.method == Method::LlmInt8)
      threshold = builder.getF64FloatAttr(treatment.parameter("threshold"));
    Value input = site.input();
    auto orNone = [&](FloatAttr value) { return value ? Attribute(value) : builder.getUnitAttr(); };
    Attribute tag = builder.getArrayAttr(
        {builder.getStringAttr(info.name), orNone(scale), orNone(threshold)});
    Value &done = quantized[{input, tag}];
    if (!done) {
      auto type = cast<RankedTensorType>(input.getType());
      auto packed = qp::PackedType::get(&getContext(), type.getShape(), info.name);
      Value q = qp::QuantizeOp::create(builder, input.getLoc(), packed, input, StringAttr(), scale,
                                       threshold);
      done = qp::DequantizeOp::create(builder, input.getLoc(), type, q);
      if (threshold) {
        Value rest = qp::OutliersOp::create(builder, input.getLoc(), input, threshold);
        done = qp::AddOp::create(builder, input.getLoc(), type, done, rest,
                                 builder.getF64FloatAttr(1.0));
      }
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
    if (auto range = site.op->getAttrOfType<FloatAttr>(rangeAttr))
      return range.getValueAsDouble() / scaleDivisor(info.id);
    if (!inputs.statistics)
      return usageError("site {}: {} needs the range of its input; give a calibration text "
                        "(--calib) or statistics (--statistics)",
                        site.name, info.name);
    auto found = inputs.statistics->neededInputOf(site.name);
    if (!found)
      return found.takeError();
    std::vector<float> ranges = found->absMax;
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
