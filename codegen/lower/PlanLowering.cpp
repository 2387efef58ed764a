//===- PlanLowering.cpp - values, weights and the walk --------------------===//

#include "codegen/lower/PlanLowering.h"

#include "ir/packings/KvPages.h"
#include "ir/packings/Panel16.h"

#include <fmt/format.h>
#include <llvm/ADT/TypeSwitch.h>

using namespace mlir;
using namespace qplan;

PlanLowering::PlanLowering(ModuleOp module, func::FuncOp function, PlanSizes sizes)
    : module(module), function(function), sizes(sizes),
      model(module->getAttrOfType<DictionaryAttr>("qp.model")) {}

LogicalResult PlanLowering::run() {
  if (!model)
    return module.emitError("qp-to-plan needs the module attribute `qp.model` that import writes");
  for (StringRef key : {"vocabulary", "hidden", "context", "layers"})
    if (!model.getAs<IntegerAttr>(key))
      return module.emitError() << "the module attribute `qp.model` lacks the number `" << key
                                << "`";
  for (StringRef key : {"name", "kv_format"})
    if (!model.getAs<StringAttr>(key))
      return module.emitError() << "the module attribute `qp.model` lacks the text `" << key << "`";
  auto number = [&](StringRef key) { return model.getAs<IntegerAttr>(key).getInt(); };
  StringRef kvFormat = model.getAs<StringAttr>("kv_format").getValue();
  if (auto kv = parseFormat(kvFormat); !kv)
    return module.emitError() << llvm::toString(kv.takeError());
  uint64_t kvBytes = 0; // of keys and values of all layers, for one position
  function.walk([&](qp::AttentionOp op) {
    auto format = llvm::cantFail(parseFormat(op.getKvFormat()));
    kvBytes += llvm::cantFail(kvTokenBytes(format, op.getHeadDim(), op.getKvHeads()));
  });
  OpBuilder builder(module.getContext());
  auto attr = [&](StringRef name, int64_t value) {
    return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
  };
  int64_t context = number("context");
  SmallVector<NamedAttribute> attributes = {
      attr("vocabulary", number("vocabulary")),
      attr("hidden", number("hidden")),
      attr("max_context", context),
      attr("max_tokens", std::min(sizes.maxTokens, context)),
      attr("kv_page_tokens", sizes.pageTokens),
      attr("kv_page_bytes", std::max<int64_t>(64, sizes.pageTokens * kvBytes)),
      builder.getNamedAttr("kv_format", builder.getStringAttr(kvFormat)),
  };
  writer.emplace(module, model.getAs<StringAttr>("name").getValue(), attributes);
  shareBuffers();
  for (Operation &op : function.getBody().front())
    if (failed(lower(&op)))
      return failure();
  writer->program().setStatisticsBytes(statisticsBytes);
  if (!observers.empty())
    writer->program()->setAttr("observers", builder.getArrayAttr(observers));
  return success();
}

LogicalResult PlanLowering::lower(Operation *op) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<qp::EmbeddingOp>([&](auto o) { return lowerEmbedding(o); })
      .Case<qp::PositionEmbeddingOp>([&](auto o) { return lowerPositions(o); })
      .Case<qp::RmsNormOp, qp::LayerNormOp>([&](auto o) { return lowerNorm(o); })
      .Case<qp::LinearOp, qp::FusedLinearOp>([&](auto o) { return lowerLinear(o); })
      .Case<qp::ExpertLinearOp>([&](auto o) { return lowerExperts(o); })
      .Case<qp::RopeOp>([&](auto o) { return lowerRope(o); })
      .Case<qp::AttentionOp>([&](auto o) { return lowerAttention(o); })
      .Case<qp::AddOp>([&](auto o) { return lowerAdd(o); })
      .Case<qp::GatedOp>([&](auto o) { return lowerGated(o); })
      .Case<qp::PointwiseOp>([&](auto o) { return lowerUnary(o, int64_t(o.getFunction()), 0.0); })
      .Case<qp::SoftcapOp>([&](auto o) { return lowerUnary(o, 4, o.getCap().convertToDouble()); })
      .Case<qp::ScaleOp>([&](auto o) { return lowerUnary(o, 5, o.getValue().convertToDouble()); })
      .Case<qp::ScaleColumnsOp>([&](auto o) { return lowerScaleColumns(o); })
      .Case<qp::RotateOp>([&](auto o) { return lowerRotate(o); })
      .Case<qp::SelectRowsOp>([&](auto o) { return lowerSelect(o); })
      .Case<qp::RouteOp>([&](auto o) { return lowerRoute(o); })
      .Case<qp::CombineOp>([&](auto o) { return lowerCombine(o); })
      .Case<qp::OutliersOp>([&](auto o) { return lowerOutliers(o); })
      .Case<qp::ObserveOp>([&](auto o) { return lowerObserve(o); })
      .Case<qp::DequantizeOp>([&](auto o) { return lowerFakeQuant(o); })
      // Weights and quantized values are made where they are read.
      .Case<qp::WeightOp, qp::QuantizeOp, func::ReturnOp>([](auto) { return success(); })
      .Default([](Operation *o) { return o->emitOpError("has no lowering to a plan"); });
}

//===----------------------------------------------------------------------===//
// Where values live
//===----------------------------------------------------------------------===//

Value PlanLowering::rootOf(Value value) {
  // Observers read where a value lies, wherever that is.
  auto isReadOnce = [](Value v) {
    return llvm::count_if(v.getUsers(),
                          [](Operation *user) { return !isa<qp::ObserveOp>(user); }) == 1;
  };
  while (isReadOnce(value)) {
    Operation *op = value.getDefiningOp();
    if (isa_and_nonnull<qp::RopeOp, qp::RmsNormOp>(op) && !isa<qp::PackedType>(value.getType()))
      value = op->getOperand(0);
    else
      return isa_and_nonnull<qp::LinearOp, qp::FusedLinearOp, qp::ExpertLinearOp>(op) ? value
                                                                                      : Value();
  }
  return Value();
}

void PlanLowering::shareColumns(ArrayRef<Value> roots) {
  int64_t stride = 0;
  for (Value root : roots) {
    if (!root || shared.contains(root))
      return;
    stride += qp::widthOf(root.getType());
  }
  int64_t column = 0;
  for (Value root : roots) {
    shared[root] = {sharedSets, column, stride};
    column += qp::widthOf(root.getType());
  }
  ++sharedSets;
}

void PlanLowering::shareBuffers() {
  function.walk([&](Operation *op) {
    if (auto attention = dyn_cast<qp::AttentionOp>(op)) {
      SmallVector<Value> roots = {rootOf(attention.getQuery()), rootOf(attention.getKey()),
                                  rootOf(attention.getValue())};
      // In the order in which linears write them, so that one that was stacked
      // writes neighbouring columns.
      if (llvm::all_of(roots, [](Value root) { return bool(root); }))
        llvm::stable_sort(roots, [](Value a, Value b) {
          Operation *x = a.getDefiningOp(), *y = b.getDefiningOp();
          if (x != y)
            return x->isBeforeInBlock(y);
          return cast<OpResult>(a).getResultNumber() < cast<OpResult>(b).getResultNumber();
        });
      shareColumns(roots);
    } else if (auto gated = dyn_cast<qp::GatedOp>(op)) {
      shareColumns({rootOf(gated.getGate()), rootOf(gated.getUp())});
    }
  });
}

Place PlanLowering::newPlace(int64_t width, int64_t rows) {
  int64_t slots = std::max<int64_t>(rows, 1);
  return {writer->buffer(width * 4 * slots), 0, width, rows, false};
}

Place PlanLowering::placeFor(Value value, int64_t rows) {
  auto it = shared.find(value);
  if (it == shared.end())
    return newPlace(qp::widthOf(value.getType()), rows);
  std::string &buffer = sharedBuffers[it->second.set];
  if (buffer.empty())
    buffer = newPlace(it->second.stride, rows).buffer;
  return {buffer, it->second.column, it->second.stride, rows, false};
}

FailureOr<Place> PlanLowering::wholeRows(Value value) {
  Place place = placeOf(value);
  if (place.column != 0 || place.stride != qp::widthOf(value.getType()))
    return emitError(value.getLoc())
           << "a value that shares a buffer is read by an op that needs whole rows";
  return place;
}

bool PlanLowering::diesAt(Value value, Operation *op) {
  return llvm::all_of(value.getUsers(), [&](Operation *user) {
    // A linear reads outliers where their input lies.
    if (auto outliers = dyn_cast<qp::OutliersOp>(user); outliers && user != op)
      return user->isBeforeInBlock(op) && diesAt(outliers.getResult(), op);
    return user == op || user->isBeforeInBlock(op);
  });
}

RowRounding qplan::rowRoundingOf(FormatId format, int64_t columns) {
  const FormatInfo &info = formatInfo(format);
  RowRounding rounding;
  rounding.group = info.groupColumns ? info.groupColumns : columns;
  if (!info.isInteger()) {
    rounding.element = int64_t(packedElementOf(format));
    rounding.scale = int64_t(info.scale);
    return rounding;
  }
  rounding.element = int64_t(PackedElement::U8);
  if (format == FormatId::Int8B32)
    rounding.mode = 1;
  else if (format == FormatId::Int8B256)
    rounding.mode = 2;
  else if (info.scale == ScaleType::E8M0)
    rounding.mode = 3;
  return rounding;
}

PackedPlace PlanLowering::packedBuffers(Type type, int64_t sumGroup, int64_t rows) {
  FormatId format = llvm::cantFail(parseFormat(qp::formatNameOf(type)));
  PackedPlace place;
  place.columns = qp::widthOf(type);
  RowRounding rounding = rowRoundingOf(format, place.columns);
  place.group = rounding.group;
  place.sumGroup = std::min(place.group, sumGroup);
  place.roundMode = rounding.mode;
  place.rows = rows;
  int64_t slots = std::max<int64_t>(rows, 1);
  auto groups = [&](int64_t size) { return (place.columns + size - 1) / size; };
  place.codes = writer->buffer((place.columns + 63) / 64 * 64 * slots);
  place.scales = writer->buffer(groups(place.group) * 4 * slots);
  place.sums = writer->buffer(groups(place.sumGroup) * 4 * slots);
  return place;
}

FailureOr<PackedPlace> PlanLowering::packedRows(Value value, int64_t weightGroup) {
  auto quantize = value.getDefiningOp<qp::QuantizeOp>();
  // A norm or gated product that was lowered to codes directly.
  auto made = packed.find({value, 0});
  if (!quantize && made == packed.end())
    return emitError(value.getLoc()) << "the packed rows were not lowered before their reader";
  if (!quantize)
    return made->second;
  FormatId format = llvm::cantFail(parseFormat(qp::formatNameOf(value.getType())));
  int64_t columns = qp::widthOf(value.getType());
  int64_t sumGroup = std::min(rowRoundingOf(format, columns).group, weightGroup);
  auto it = packed.find({value, sumGroup});
  if (it != packed.end())
    return it->second;
  Place input = placeOf(quantize.getInput());
  if (input.column != 0)
    return emitError(value.getLoc()) << "rows to quantize must start at the first column";
  PackedPlace place = packedBuffers(value.getType(), sumGroup, input.rows);
  if (quantize.getThreshold()) {
    double threshold = quantize.getThreshold()->convertToDouble();
    auto mask = outlierMask(quantize.getInput(), threshold);
    if (failed(mask))
      return failure();
    writer->launch("quantize_outliers",
                   {input.buffer, *mask, place.codes, place.scales, place.sums}, {},
                   {writer->whole("K", columns), writer->whole("ld", input.stride),
                    writer->whole("sumGroup", place.sumGroup), writer->real("threshold", threshold),
                    writer->whole("rows", place.rows)},
                   {0, 1}, {2, 3, 4}, value.getLoc());
    packed[{value, sumGroup}] = place;
    return place;
  }
  writer->launch("quantize_q8", {input.buffer, place.codes, place.scales, place.sums},
                 {writer->constant({1.0}, value.getLoc())},
                 {writer->whole("K", columns), writer->whole("ld", input.stride),
                  writer->whole("actGroup", place.group), writer->whole("sumGroup", place.sumGroup),
                  writer->whole("roundMode", place.roundMode), writer->whole("hasSmooth", 0),
                  writer->whole("rows", place.rows),
                  writer->real("staticScale",
                               quantize.getScale() ? quantize.getScale()->convertToDouble() : 0.0)},
                 {0}, {1, 2, 3}, value.getLoc());
  packed[{value, sumGroup}] = place;
  return place;
}

FailureOr<std::string> PlanLowering::outlierMask(Value value, double threshold) {
  Place in = placeOf(value);
  if (in.column != 0)
    return emitError(value.getLoc()) << "rows with outliers must start at the first column";
  std::string &mask = outlierMasks[{value, writer->ops().getF64FloatAttr(threshold)}];
  if (!mask.empty())
    return mask;
  int64_t columns = qp::widthOf(value.getType());
  mask = writer->buffer(0, columns * 4);
  writer->launch("outlier_mask", {in.buffer, mask}, {},
                 {writer->whole("K", columns), writer->whole("ld", in.stride),
                  writer->real("threshold", threshold), writer->whole("rows", in.rows)},
                 {0}, {1}, value.getLoc());
  return mask;
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

FailureOr<MatrixSpec> PlanLowering::specOf(ArrayRef<Value> weights, int64_t experts) {
  MatrixSpec spec;
  spec.experts = experts;
  std::string joined;
  for (auto [i, value] : llvm::enumerate(weights)) {
    Value stored = value;
    std::string method, emulate, format;
    if (auto dequantize = stored.getDefiningOp<qp::DequantizeOp>()) {
      // The QDQ form in f32: values rounded to a format, kept as f32.
      stored = dequantize.getInput();
      format = "f32";
      if (stored.getDefiningOp<qp::QuantizeOp>())
        emulate = qp::formatNameOf(stored.getType());
    } else {
      format = qp::formatNameOf(stored.getType());
    }
    while (auto quantize = stored.getDefiningOp<qp::QuantizeOp>()) {
      method = quantize.getMethod().value_or("").str();
      stored = quantize.getInput();
      if (auto dequantize = stored.getDefiningOp<qp::DequantizeOp>())
        stored = dequantize.getInput();
    }
    auto weight = stored.getDefiningOp<qp::WeightOp>();
    if (!weight)
      return emitError(value.getLoc()) << "the weight operand is not made from qp.weight";
    auto shape = qp::shapeOf(value.getType());
    if (i == 0) {
      spec.format = llvm::cantFail(parseFormat(format));
      spec.method = method;
      spec.emulate = emulate;
      spec.columns = shape.back();
    }
    spec.rows += shape.size() > 1 ? shape[0] : 1;
    joined += (i ? ";" : "") + weight.getSource().str();
  }
  if (experts > 1)
    spec.rows /= experts;
  spec.source = weights.size() == 1 ? joined : "concat_rows(" + joined + ")";
  return spec;
}

FailureOr<std::string> PlanLowering::vectorOf(ArrayRef<Value> values) {
  std::string joined;
  int64_t columns = 0;
  for (auto [i, value] : llvm::enumerate(values)) {
    Value stored = value;
    if (auto dequantize = stored.getDefiningOp<qp::DequantizeOp>())
      stored = dequantize.getInput();
    auto weight = stored.getDefiningOp<qp::WeightOp>();
    if (!weight)
      return emitError(value.getLoc()) << "the vector operand is not a qp.weight";
    joined += (i ? ";" : "") + weight.getSource().str();
    columns += qp::widthOf(value.getType());
  }
  std::string source = values.size() == 1 ? joined : "concat_rows(" + joined + ")";
  return writer->vector(source, columns, values[0].getLoc());
}

SmallVector<Param> PlanLowering::matrixParams(const StoredMatrix &matrix) {
  return {writer->whole("N", matrix.rows),          writer->whole("K", matrix.columns),
          writer->whole("element", matrix.element), writer->whole("group", matrix.group),
          writer->whole("scale", matrix.scale),     writer->whole("hasMin", matrix.hasMin),
          writer->whole("offset", matrix.offset)};
}
