//===- LowerOps.cpp - launches for each op --------------------------------===//
//
// The parameters of each kernel are described in runtime/kernels/Kernels.inc.
//
//===----------------------------------------------------------------------===//

#include "codegen/lower/PlanLowering.h"

#include "ir/packings/KvPages.h"

#include <fmt/format.h>
#include <llvm/Support/MathExtras.h>

using namespace mlir;
using namespace qplan;

LogicalResult PlanLowering::lowerEmbedding(qp::EmbeddingOp op) {
  auto spec = specOf({op.getTable()}, 1);
  if (failed(spec))
    return failure();
  spec->sites = {"embedding"};
  spec->siteRows = {spec->rows};
  StoredMatrix table = writer->matrix(*spec, op.getTable().getLoc());
  Place out = placeFor(op.getResult(), 0);
  SmallVector<Param> params = matrixParams(table);
  params.push_back(writer->real("multiplier", op.getMultiplier().convertToDouble()));
  writer->launch("embed", {out.buffer}, {table.symbol}, params, {}, {0}, op.getLoc());
  places[op.getResult()] = out;
  return success();
}

LogicalResult PlanLowering::lowerPositions(qp::PositionEmbeddingOp op) {
  auto in = wholeRows(op.getInput());
  auto spec = specOf({op.getTable()}, 1);
  if (failed(in) || failed(spec))
    return failure();
  if (!diesAt(op.getInput(), op))
    return op.emitOpError("works in place, but its input is read again later");
  std::string table =
      writer->vector(spec->source, spec->columns, op.getTable().getLoc(), spec->rows);
  writer->launch("add_positions", {in->buffer}, {table},
                 {writer->whole("K", spec->columns), writer->whole("offset", op.getOffset())}, {0},
                 {0}, op.getLoc());
  places[op.getResult()] = *in;
  return success();
}

LogicalResult PlanLowering::lowerNorm(qp::RmsNormOp op) {
  auto gamma = vectorOf({op.getGamma()});
  if (failed(gamma))
    return failure();
  Place in = placeOf(op.getInput());
  int64_t width = qp::widthOf(op.getInput().getType()), groups = op.getGroups();
  Param eps = writer->real("eps", op.getEpsilon().convertToDouble());
  Param offset = writer->real("weightOffset", op.getGammaOffset().convertToDouble());
  if (isa<qp::PackedType>(op.getResult().getType())) {
    if (failed(wholeRows(op.getInput())))
      return failure();
    auto user = cast<qp::FusedLinearOp>(*op->user_begin());
    FormatId weights =
        llvm::cantFail(parseFormat(qp::formatNameOf(user.getWeights()[0].getType())));
    int64_t group = formatInfo(weights).groupColumns;
    PackedPlace out = packedBuffers(op.getResult().getType(), group ? group : width, in.rows);
    writer->launch("rms_norm_q8", {in.buffer, out.codes, out.scales, out.sums}, {*gamma},
                   {writer->whole("K", width), eps, offset, writer->whole("actGroup", out.group),
                    writer->whole("sumGroup", out.sumGroup),
                    writer->whole("roundMode", out.roundMode), writer->whole("rows", in.rows)},
                   {0}, {1, 2, 3}, op.getLoc());
    packed[{op.getResult(), 0}] = out;
    return success();
  }
  bool perGroup = groups > 1 && qp::widthOf(op.getGamma().getType()) == width;
  // Rows that share a buffer are normed in place; so are rows nobody needs again.
  bool inPlace = in.stride != width || groups > 1;
  if (inPlace && !diesAt(op.getInput(), op))
    return op.emitOpError("works in place, but its input is read again later");
  Place out = inPlace ? in : placeFor(op.getResult(), in.rows);
  writer->launch("rms_norm", {in.buffer, out.buffer}, {*gamma},
                 {writer->whole("K", width / groups), writer->whole("groups", groups),
                  writer->whole("ld", in.stride), writer->whole("column", in.column), eps, offset,
                  writer->whole("perGroup", perGroup), writer->whole("rows", in.rows)},
                 {0}, {1}, op.getLoc());
  places[op.getResult()] = out;
  return success();
}

LogicalResult PlanLowering::lowerNorm(qp::LayerNormOp op) {
  auto in = wholeRows(op.getInput());
  auto gamma = vectorOf({op.getGamma()});
  FailureOr<std::string> beta = gamma;
  if (op.getBeta())
    beta = vectorOf({op.getBeta()});
  if (failed(in) || failed(gamma) || failed(beta))
    return failure();
  Place out = placeFor(op.getResult(), in->rows);
  writer->launch("layer_norm", {in->buffer, out.buffer}, {*gamma, *beta},
                 {writer->whole("K", in->stride),
                  writer->real("eps", op.getEpsilon().convertToDouble()),
                  writer->whole("hasBeta", bool(op.getBeta())),
                  writer->real("weightOffset", op.getGammaOffset().convertToDouble()),
                  writer->whole("rows", in->rows)},
                 {0}, {1}, op.getLoc());
  places[op.getResult()] = out;
  return success();
}

//===----------------------------------------------------------------------===//
// Linears
//===----------------------------------------------------------------------===//

LogicalResult PlanLowering::lowerLinear(qp::LinearOp op) {
  LinearParts parts{op,      op.getInput(), {op.getWeight()},     {}, {op.getResult()},
                    Value(), Value(),       {op.getSite().str()}, 1.0};
  if (op.getBias())
    parts.biases.push_back(op.getBias());
  return launchLinear(parts);
}

LogicalResult PlanLowering::lowerLinear(qp::FusedLinearOp op) {
  LinearParts parts{op,
                    op.getInput(),
                    llvm::to_vector(op.getWeights()),
                    llvm::to_vector(op.getBiases()),
                    SmallVector<Value>(op.getOutputs()),
                    op.getResidual(),
                    op.getOutliers(),
                    {},
                    op.getScale().convertToDouble()};
  for (Attribute site : op.getSites())
    parts.sites.push_back(cast<StringAttr>(site).getValue().str());
  // One launch when the results are neighbours in one buffer, else one each.
  bool neighbours = true;
  int64_t next = -1;
  for (Value output : parts.outputs) {
    auto it = shared.find(output);
    bool fits = it != shared.end() && it->second.set == shared.lookup(parts.outputs[0]).set &&
                (next < 0 || it->second.column == next);
    neighbours &= parts.outputs.size() == 1 || fits;
    next = it == shared.end() ? -2 : it->second.column + qp::widthOf(output.getType());
  }
  if (neighbours)
    return launchLinear(parts);
  for (size_t i = 0; i < parts.outputs.size(); ++i) {
    LinearParts one{op,
                    parts.input,
                    {parts.weights[i]},
                    {},
                    {parts.outputs[i]},
                    parts.residual,
                    parts.outliers,
                    {parts.sites[i]},
                    parts.scale};
    if (!parts.biases.empty())
      one.biases.push_back(parts.biases[i]);
    if (failed(launchLinear(one)))
      return failure();
  }
  return success();
}

bool PlanLowering::isLogits(Value value) {
  // Through ops that may work in place on the caller's memory, to the return.
  while (value.hasOneUse()) {
    Operation *user = *value.user_begin();
    if (isa<func::ReturnOp>(user))
      return true;
    if (!isa<qp::ScaleOp, qp::SoftcapOp>(user))
      return false;
    value = user->getResult(0);
  }
  return false;
}

LogicalResult PlanLowering::launchLinear(const LinearParts &parts) {
  auto spec = specOf(parts.weights, 1);
  if (failed(spec))
    return failure();
  for (auto [site, weight] : llvm::zip(parts.sites, parts.weights)) {
    spec->sites.push_back(site);
    spec->siteRows.push_back(qp::shapeOf(weight.getType())[0]);
  }
  Location loc = parts.op->getLoc();
  StoredMatrix matrix = writer->matrix(*spec, loc);
  bool packedInput = isa<qp::PackedType>(parts.input.getType());
  PackedPlace codes;
  Place in;
  if (packedInput) {
    auto found = packedRows(parts.input, matrix.group);
    if (failed(found))
      return failure();
    codes = *found;
  } else {
    in = placeOf(parts.input);
    if (in.column != 0)
      return parts.op->emitOpError("reads rows that do not start at the first column");
  }
  int64_t rows = packedInput ? codes.rows : in.rows;

  Place out;
  bool residual = bool(parts.residual);
  bool logits = rows == 1 && isLogits(parts.outputs[0]);
  Place other;
  if (residual) {
    auto place = wholeRows(parts.residual);
    if (failed(place))
      return failure();
    other = *place;
  }
  if (logits)
    out = {packedInput ? codes.scales : in.buffer, 0, matrix.rows, rows, true};
  else if (residual && diesAt(parts.residual, parts.op))
    out = other;
  else
    out = placeFor(parts.outputs[0], rows);

  std::string bias;
  if (!parts.biases.empty()) {
    auto vector = vectorOf(parts.biases);
    if (failed(vector))
      return failure();
    bias = *vector;
  }
  SmallVector<Param> params = matrixParams(matrix);
  llvm::append_values(params, writer->whole("ldo", out.stride),
                      writer->whole("outColumn", out.column),
                      writer->whole("hasBias", !bias.empty()),
                      writer->whole("hasResidual", residual), writer->real("alpha", parts.scale),
                      writer->whole("rows", rows), writer->whole("toLogits", logits));
  std::string residualBuffer = residual ? other.buffer : out.buffer;
  SmallVector<std::string> weights = {matrix.symbol, bias.empty() ? matrix.symbol : bias};
  SmallVector<Attribute> sites;
  for (const std::string &site : parts.sites)
    sites.push_back(writer->ops().getStringAttr(site));
  ArrayAttr siteAttr = writer->ops().getArrayAttr(sites);
  // Without a residual its operand is ignored; the caller's logits are no buffer, so the
  // operand in their place is only read.
  SmallVector<int64_t> reads, writes;
  auto note = [&](int64_t outIndex) {
    reads = llvm::to_vector(llvm::seq<int64_t>(0, outIndex));
    if (logits)
      llvm::append_values(reads, outIndex, outIndex + 1);
    else if (residual)
      reads.push_back(outIndex + 1), writes.push_back(outIndex);
    else
      llvm::append_values(writes, outIndex, outIndex + 1);
  };
  if (packedInput) {
    llvm::append_values(params, writer->whole("actGroup", codes.group),
                        writer->whole("sumGroup", codes.sumGroup));
    note(3);
    writer->launch("linear_q8", {codes.codes, codes.scales, codes.sums, out.buffer, residualBuffer},
                   weights, params, reads, writes, loc, siteAttr);
  } else {
    params.push_back(writer->whole("ldi", in.stride));
    note(1);
    writer->launch("linear_f32", {in.buffer, out.buffer, residualBuffer}, weights, params, reads,
                   writes, loc, siteAttr);
  }
  if (parts.outliers && failed(addOutliers(parts, matrix, out)))
    return failure();
  int64_t column = out.column;
  for (Value output : parts.outputs) {
    Place place = out;
    place.column = column;
    places[output] = place;
    column += qp::widthOf(output.getType());
  }
  return success();
}

/// Adds the product of the outlier columns to what the linear wrote to `out`.
LogicalResult PlanLowering::addOutliers(const LinearParts &parts, const StoredMatrix &matrix,
                                        Place out) {
  auto outliers = parts.outliers.getDefiningOp<qp::OutliersOp>();
  if (!outliers)
    return parts.op->emitOpError("takes outliers from qp.outliers alone");
  auto mask = outlierMask(outliers.getInput(), outliers.getThreshold().convertToDouble());
  if (failed(mask))
    return failure();
  Place in = placeOf(outliers.getInput());
  SmallVector<Param> params = matrixParams(matrix);
  llvm::append_values(params, writer->whole("ldi", in.stride), writer->whole("ldo", out.stride),
                      writer->whole("outColumn", out.column), writer->real("alpha", parts.scale),
                      writer->whole("rows", in.rows), writer->whole("toLogits", out.logits));
  SmallVector<int64_t> reads = {0, 1, 2}, writes;
  if (!out.logits)
    writes.push_back(2);
  writer->launch("linear_outliers", {in.buffer, *mask, out.buffer}, {matrix.symbol}, params, reads,
                 writes, parts.op->getLoc());
  return success();
}

LogicalResult PlanLowering::lowerOutliers(qp::OutliersOp op) {
  // Fused linears read the columns themselves.
  if (llvm::all_of(op->getUsers(), llvm::IsaPred<qp::FusedLinearOp>))
    return success();
  return splitOutliers(op.getInput(), op.getThreshold().convertToDouble(), 1, op.getResult());
}

/// The part of `input` that qp.outliers (kind 1) or a rounding with threshold (kind 0) gives.
LogicalResult PlanLowering::splitOutliers(Value input, double threshold, int64_t kind,
                                          Value result) {
  auto in = wholeRows(input);
  auto mask = outlierMask(input, threshold);
  if (failed(in) || failed(mask))
    return failure();
  Place out = placeFor(result, in->rows);
  writer->launch("split_outliers", {in->buffer, *mask, out.buffer}, {},
                 {writer->whole("K", in->stride), writer->whole("kind", kind),
                  writer->real("threshold", threshold), writer->whole("rows", in->rows)},
                 {0, 1}, {2}, result.getLoc());
  places[result] = out;
  return success();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

LogicalResult PlanLowering::lowerRope(qp::RopeOp op) {
  int64_t half = int64_t(op.getInverseFrequency().size());
  Attribute key =
      ArrayAttr::get(op.getContext(), {op.getInverseFrequencyAttr(), op.getAttentionFactorAttr()});
  std::string &table = ropeTables[key];
  if (table.empty()) {
    table = writer->buffer(2 * half * 4);
    writer->launch("rope_table", {table}, {writer->constant(op.getInverseFrequency(), op.getLoc())},
                   {writer->whole("half", half),
                    writer->real("scale", op.getAttentionFactor().convertToDouble())},
                   {}, {0}, op.getLoc());
  }
  if (!diesAt(op.getInput(), op))
    return op.emitOpError("works in place, but its input is read again later");
  Place place = placeOf(op.getInput());
  writer->launch("rope", {place.buffer, table}, {},
                 {writer->whole("heads", op.getHeads()), writer->whole("headDim", op.getHeadDim()),
                  writer->whole("rotary", 2 * half), writer->whole("column", place.column),
                  writer->whole("ld", place.stride),
                  writer->whole("style", int64_t(op.getStyle()))},
                 {0, 1}, {0}, op.getLoc());
  places[op.getResult()] = place;
  return success();
}

LogicalResult PlanLowering::lowerAttention(qp::AttentionOp op) {
  Place q = placeOf(op.getQuery()), k = placeOf(op.getKey()), v = placeOf(op.getValue());
  if (k.buffer != v.buffer)
    return op.emitOpError("needs key and value in one buffer");
  FormatId format = llvm::cantFail(parseFormat(op.getKvFormat()));
  KvLayout layout = llvm::cantFail(kvLayoutFor(format, op.getHeadDim()));
  SmallVector<std::string> scales;
  if (layout.fixed != KvScales::None) {
    SmallVector<double> values;
    for (auto given : {op.getKeyScales(), op.getValueScales()})
      for (int64_t h = 0; h < int64_t(op.getKvHeads()); ++h)
        values.push_back(!given ? 1.0 : given->size() == 1 ? given->front() : (*given)[h]);
    scales.push_back(writer->constant(values, op.getLoc()));
  }
  auto layers = model.getAs<IntegerAttr>("layers").getInt();
  SmallVector<Param> cache = {writer->whole("kvHeads", op.getKvHeads()),
                              writer->whole("headDim", op.getHeadDim()),
                              writer->whole("layer", op.getLayer()),
                              writer->whole("layers", layers),
                              writer->whole("kvElement", layout.element),
                              writer->whole("kvGroup", layout.group),
                              writer->whole("kvScale", int64_t(layout.scale)),
                              writer->whole("kvZero", layout.zero),
                              writer->whole("kvFixed", !scales.empty()),
                              writer->whole("pageTokens", sizes.pageTokens)};
  SmallVector<Param> store = cache;
  llvm::append_values(store, writer->whole("column", k.column), writer->whole("vColumn", v.column),
                      writer->whole("ld", k.stride));
  writer->launch("kv_store", {k.buffer}, scales, store, {0}, {}, op.getLoc());
  Place out = placeFor(op.getResult(), 0);
  SmallVector<Param> attend = cache;
  llvm::append_values(attend, writer->whole("column", q.column), writer->whole("ld", q.stride),
                      writer->whole("heads", op.getHeads()),
                      writer->real("scale", op.getScale().convertToDouble()),
                      writer->whole("window", op.getWindow()),
                      writer->real("softcap", op.getSoftcap().convertToDouble()));
  // Stretches long enough to be worth an item, and few enough that their states are small.
  constexpr int64_t shortestStretch = 128, mostStretches = 32, splitRows = 8;
  int64_t context = model.getAs<IntegerAttr>("context").getInt();
  int64_t stretch = std::max<int64_t>(shortestStretch,
                                      llvm::alignTo(llvm::divideCeil(context, mostStretches), 64));
  int64_t splits = llvm::divideCeil(context, stretch);
  int64_t stateBytes = (llvm::alignTo(op.getHeadDim(), 16) + 16) * 4;
  llvm::append_values(attend, writer->whole("splitKeys", stretch), writer->whole("splits", splits),
                      writer->whole("splitRows", splitRows));
  std::string states = writer->buffer(0, splitRows * int64_t(op.getHeads()) * splits * stateBytes);
  writer->launch("attention", {q.buffer, out.buffer, states}, scales, attend, {0}, {1, 2},
                 op.getLoc());
  writer->launch("attention_merge", {states, out.buffer}, {}, attend, {0, 1}, {0, 1}, op.getLoc());
  places[op.getResult()] = out;
  return success();
}

//===----------------------------------------------------------------------===//
// Element by element
//===----------------------------------------------------------------------===//

LogicalResult PlanLowering::lowerAdd(qp::AddOp op) {
  auto lhs = wholeRows(op.getLhs()), rhs = wholeRows(op.getRhs());
  if (failed(lhs) || failed(rhs))
    return failure();
  Place out = diesAt(op.getLhs(), op) ? *lhs : placeFor(op.getResult(), lhs->rows);
  writer->launch("binary", {lhs->buffer, rhs->buffer, out.buffer}, {},
                 {writer->whole("K", lhs->stride), writer->whole("kind", 0),
                  writer->real("scale", op.getScale().convertToDouble()),
                  writer->whole("rows", lhs->rows)},
                 {0, 1}, {2}, op.getLoc());
  places[op.getResult()] = out;
  return success();
}

LogicalResult PlanLowering::lowerGated(qp::GatedOp op) {
  Place gate = placeOf(op.getGate()), up = placeOf(op.getUp());
  int64_t width = qp::widthOf(op.getGate().getType());
  if (gate.buffer != up.buffer || gate.column != 0 || up.column != width)
    return op.emitOpError("needs gate and up as the two halves of one buffer");
  Param size = writer->whole("I", width);
  Param function = writer->whole("activation", int64_t(op.getFunction()));
  if (isa<qp::PackedType>(op.getResult().getType())) {
    auto user = cast<qp::FusedLinearOp>(*op->user_begin());
    FormatId weights =
        llvm::cantFail(parseFormat(qp::formatNameOf(user.getWeights()[0].getType())));
    int64_t group = formatInfo(weights).groupColumns;
    PackedPlace out = packedBuffers(op.getResult().getType(), group ? group : width, gate.rows);
    writer->launch("glu_q8", {gate.buffer, out.codes, out.scales, out.sums}, {},
                   {size, function, writer->whole("actGroup", out.group),
                    writer->whole("sumGroup", out.sumGroup),
                    writer->whole("roundMode", out.roundMode), writer->whole("rows", gate.rows)},
                   {0}, {1, 2, 3}, op.getLoc());
    packed[{op.getResult(), 0}] = out;
    return success();
  }
  Place out = placeFor(op.getResult(), gate.rows);
  writer->launch("glu", {gate.buffer, out.buffer}, {},
                 {size, function, writer->whole("rows", gate.rows)}, {0}, {1}, op.getLoc());
  places[op.getResult()] = out;
  return success();
}

LogicalResult PlanLowering::lowerUnary(Operation *op, int64_t kind, double value) {
  Value input = op->getOperand(0), result = op->getResult(0);
  Place in = placeOf(input);
  if (!in.logits && failed(wholeRows(input)))
    return failure();
  Place out = in.logits || diesAt(input, op) ? in : placeFor(result, in.rows);
  writer->launch("unary", {in.buffer, out.buffer}, {},
                 {writer->whole("K", qp::widthOf(input.getType())), writer->whole("kind", kind),
                  writer->real("value", value), writer->whole("rows", in.rows),
                  writer->whole("toLogits", in.logits)},
                 in.logits ? ArrayRef<int64_t>({0, 1}) : ArrayRef<int64_t>({0}),
                 in.logits ? ArrayRef<int64_t>() : ArrayRef<int64_t>({1}), op->getLoc());
  places[result] = out;
  return success();
}

LogicalResult PlanLowering::lowerScaleColumns(qp::ScaleColumnsOp op) {
  auto in = wholeRows(op.getInput());
  auto factors = vectorOf({op.getFactors()});
  if (failed(in) || failed(factors))
    return failure();
  Place out = diesAt(op.getInput(), op) ? *in : placeFor(op.getResult(), in->rows);
  writer->launch("scale_columns", {in->buffer, out.buffer}, {*factors},
                 {writer->whole("K", in->stride), writer->whole("rows", in->rows)}, {0}, {1},
                 op.getLoc());
  places[op.getResult()] = out;
  return success();
}

LogicalResult PlanLowering::lowerRotate(qp::RotateOp op) {
  auto in = wholeRows(op.getInput());
  if (failed(in))
    return failure();
  Place out = diesAt(op.getInput(), op) ? *in : placeFor(op.getResult(), in->rows);
  writer->launch("rotate", {in->buffer, out.buffer}, {},
                 {writer->whole("K", in->stride), writer->whole("block", int64_t(op.getBlock())),
                  writer->whole("rows", in->rows)},
                 {0}, {1}, op.getLoc());
  places[op.getResult()] = out;
  return success();
}

LogicalResult PlanLowering::lowerSelect(qp::SelectRowsOp op) {
  auto in = wholeRows(op.getInput());
  if (failed(in))
    return failure();
  Place out = placeFor(op.getResult(), 1);
  writer->launch("select_rows", {in->buffer, out.buffer}, {}, {writer->whole("K", in->stride)}, {0},
                 {1}, op.getLoc());
  places[op.getResult()] = out;
  return success();
}

LogicalResult PlanLowering::lowerFakeQuant(qp::DequantizeOp op) {
  auto quantize = op.getInput().getDefiningOp<qp::QuantizeOp>();
  // A weight is read by what uses it; only rows are rounded at run time.
  if (!quantize || !places.contains(quantize.getInput()))
    return success();
  if (quantize.getThreshold())
    return splitOutliers(quantize.getInput(), quantize.getThreshold()->convertToDouble(), 0,
                         op.getResult());
  auto in = wholeRows(quantize.getInput());
  if (failed(in))
    return failure();
  FormatId format = llvm::cantFail(parseFormat(quantize.getType().getFormat()));
  RowRounding rounding = rowRoundingOf(format, in->stride);
  double scale = quantize.getScale() ? quantize.getScale()->convertToDouble() : 0.0;
  Place out = placeFor(op.getResult(), in->rows);
  writer->launch("fake_quant", {in->buffer, out.buffer}, {},
                 {writer->whole("K", in->stride), writer->whole("element", rounding.element),
                  writer->whole("actGroup", rounding.group), writer->whole("scale", rounding.scale),
                  writer->whole("roundMode", rounding.mode), writer->real("staticScale", scale),
                  writer->whole("rows", in->rows)},
                 {0}, {1}, op.getLoc());
  places[op.getResult()] = out;
  return success();
}

LogicalResult PlanLowering::lowerObserve(qp::ObserveOp op) {
  Place in = placeOf(op.getInput());
  int64_t columns = qp::widthOf(op.getInput().getType());
  // f32 absmax, f64 sums of |x| and x^2, or the lower triangle of f64 sums of x x^T, and then an
  // i64 count; or the density and counts of bins, or a count and rows: see `observe` in
  // Kernels.inc.
  bool gram = op.getGram(), histogram = op.getHistogram();
  int64_t kind = op.getKeepRows() ? 3 : histogram ? 2 : gram;
  int64_t bytes =
      gram ? columns * (columns + 1) / 2 * 8 + 8 : (columns * 4 + 7) / 8 * 8 + columns * 16 + 8;
  if (histogram)
    bytes = 8 + 2048 * 8;
  if (op.getKeepRows())
    bytes = 64 + int64_t(writer->program().getMaxTokens()) * columns * 4;
  OpBuilder &ops = writer->ops();
  NamedAttrList entry;
  entry.set("site", op.getSiteAttr());
  entry.set("offset", ops.getI64IntegerAttr(statisticsBytes));
  entry.set("columns", ops.getI64IntegerAttr(columns));
  if (gram)
    entry.set("gram", ops.getUnitAttr());
  observers.push_back(entry.getDictionary(ops.getContext()));
  writer->launch("observe", {in.buffer}, {},
                 {writer->whole("K", columns), writer->whole("ld", in.stride),
                  writer->whole("column", in.column), writer->whole("offset", statisticsBytes),
                  writer->whole("kind", kind), writer->whole("rows", in.rows)},
                 {0}, {}, op.getLoc());
  statisticsBytes += (bytes + 63) / 64 * 64;
  return success();
}
