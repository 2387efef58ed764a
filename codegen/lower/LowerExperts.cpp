//===- LowerExperts.cpp - launches of mixtures of experts -----------------===//
//
// Routing makes lists of slots by expert; products of experts fill a buffer with one row a
// slot. Experts that are stored differently are launches of their own: a chain, whose
// launches fill the buffer that is wanted at its end.
//
//===----------------------------------------------------------------------===//

#include "codegen/lower/PlanLowering.h"

using namespace mlir;
using namespace qplan;

/// The last op of the chain that `op` is in.
static qp::ExpertLinearOp endOf(qp::ExpertLinearOp op) {
  while (qp::ExpertLinearOp next = op.next())
    op = next;
  return op;
}

LogicalResult PlanLowering::lowerExperts(qp::ExpertLinearOp op) {
  Routing route = routings.lookup(op.getRoutes());
  SmallVector<Value> experts = llvm::to_vector(op.getExperts());
  auto spec = specOf(experts, int64_t(experts.size()));
  if (failed(spec))
    return failure();
  const bool single = op.getSites().size() == experts.size();
  for (Attribute site : op.getSites()) {
    spec->sites.push_back(cast<StringAttr>(site).getValue().str());
    spec->siteRows.push_back(single ? spec->rows : spec->rows * int64_t(experts.size()));
  }
  StoredMatrix matrix = writer->matrix(*spec, op.getLoc());
  const bool goesOn = bool(op.getOnto());
  if (goesOn && !diesAt(op.getOnto(), op))
    return op.emitOpError("works in place, but its input is read again later");
  Place out = goesOn ? placeOf(op.getOnto()) : placeFor(endOf(op).getResult(), route.slots);
  SmallVector<Param> params = matrixParams(matrix);
  llvm::append_values(params, writer->whole("ldo", out.stride),
                      writer->whole("outColumn", out.column), writer->whole("hasBias", 0),
                      writer->whole("experts", int64_t(experts.size())),
                      writer->whole("topk", route.slots),
                      writer->whole("slotInput", op.getPerSlot()),
                      writer->whole("hasNumbers", bool(op.getNumbers())));
  std::string noBias = matrix.symbol, numbers = matrix.symbol;
  if (op.getNumbers())
    numbers = writer->constant(SmallVector<double>(op.getNumbers()->begin(), op.getNumbers()->end()), op.getLoc());
  SmallVector<std::string> weights = {matrix.symbol, noBias, numbers};
  // What other experts left there is read behind this launch.
  auto readsOf = [&](ArrayRef<int64_t> inputs, int64_t outIndex) {
    SmallVector<int64_t> reads(inputs);
    if (goesOn)
      reads.push_back(outIndex);
    return reads;
  };
  if (isa<qp::PackedType>(op.getInput().getType())) {
    auto codes = packedRows(op.getInput(), matrix.group);
    if (failed(codes))
      return failure();
    llvm::append_values(params, writer->whole("actGroup", codes->group),
                        writer->whole("sumGroup", codes->sumGroup));
    writer->launch("linear_q8_experts",
                   {codes->codes, codes->scales, codes->sums, out.buffer, route.offsets, route.list},
                   weights, params, readsOf({0, 1, 2, 4, 5}, 3), {3}, op.getLoc(), op.getSites());
  } else {
    Place in = placeOf(op.getInput());
    params.push_back(writer->whole("ldi", in.stride));
    writer->launch("linear_f32_experts", {in.buffer, out.buffer, route.offsets, route.list},
                   weights, params, readsOf({0, 2, 3}, 1), {1}, op.getLoc(), op.getSites());
  }
  places[op.getResult()] = out;
  return success();
}

LogicalResult PlanLowering::lowerRoute(qp::RouteOp op) {
  auto logits = wholeRows(op.getLogits());
  if (failed(logits))
    return failure();
  int64_t experts = logits->stride, slots = op.getTopK();
  Place weights = newPlace(slots, 0);
  Routing route{writer->buffer(0, (experts + 1) * 4), writer->buffer(slots * 4), experts, slots};
  writer->launch("moe_route", {logits->buffer, weights.buffer, route.offsets, route.list}, {},
                 {writer->whole("experts", experts), writer->whole("topk", slots),
                  writer->whole("mode", int64_t(op.getMode()))},
                 {0}, {1, 2, 3}, op.getLoc());
  places[op.getWeights()] = weights;
  routings[op.getRoutes()] = route;
  return success();
}

LogicalResult PlanLowering::lowerCombine(qp::CombineOp op) {
  auto in = wholeRows(op.getInput());
  if (failed(in))
    return failure();
  Place weights = placeOf(op.getWeights());
  Place out = placeFor(op.getResult(), 0);
  writer->launch("moe_combine", {in->buffer, weights.buffer, out.buffer, out.buffer}, {},
                 {writer->whole("K", in->stride), writer->whole("topk", weights.stride),
                  writer->whole("hasResidual", 0)},
                 {0, 1}, {2, 3}, op.getLoc());
  places[op.getResult()] = out;
  return success();
}
