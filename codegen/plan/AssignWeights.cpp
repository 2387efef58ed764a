//===- AssignWeights.cpp - places of weights in weights.bin ---------------===//
//
// Weights lie in the order of first use, so that a forward pass reads the file
// from front to back, which is what the kernel's read-ahead expects.
//
//===----------------------------------------------------------------------===//
#include "codegen/plan/Passes.h"
#include <llvm/ADT/DenseMap.h>
#include <llvm/Support/MathExtras.h>
#include <tuple>

namespace qplan::plan {
#define GEN_PASS_DEF_PLANASSIGNWEIGHTS
#include "codegen/plan/Passes.h.inc"

using namespace mlir;

namespace {

/// The file starts with a header of this many bytes; also the alignment.
constexpr int64_t line = 64;

struct AssignWeights : impl::PlanAssignWeightsBase<AssignWeights> {
  void runOnOperation() override {
    SymbolTable table(getOperation());
    for (WeightOp weight : getOperation().getWeights())
      weight.removeOffsetAttr();
    end = line;
    owners.clear();
    for (LaunchOp launch : getOperation().getLaunches())
      for (auto symbol : launch.getWeights().getAsRange<FlatSymbolRefAttr>())
        if (failed(place(table.lookup<WeightOp>(symbol.getAttr()))))
          return signalPassFailure();
    for (WeightOp weight : llvm::make_early_inc_range(getOperation().getWeights()))
      if (!weight.getOffset())
        weight.erase();
    getOperation().setWeightBytes(end);
  }

private:
  /// Source, format, packing and details decide the bytes.
  using Content = std::tuple<Attribute, Attribute, Attribute, Attribute>;
  llvm::DenseMap<Content, WeightOp> owners;
  int64_t end = line;

  LogicalResult place(WeightOp weight) {
    if (weight.getOffset())
      return success();
    Content content{weight.getSourceAttr(), weight.getFormatAttr(), weight.getPackingAttr(),
                    weight.getDetailsAttr()};
    auto [owner, isNew] = owners.try_emplace(content, weight);
    if (!isNew) {
      if (owner->second.getBytes() != weight.getBytes())
        return weight.emitOpError()
               << "has " << weight.getBytes() << " bytes, but @" << owner->second.getSymName()
               << " with the same source, format and packing has " << owner->second.getBytes();
      weight.setOffset(owner->second.getOffset());
      ++shared;
      return success();
    }
    weight.setOffset(end);
    int64_t bytes = weight.getBytes();
    if (llvm::AddOverflow(end, bytes, end) || llvm::AddOverflow(end, (line - end % line) % line, end))
      return weight.emitOpError() << "ends beyond the largest file (2^63 bytes)";
    return success();
  }
};

} // namespace
} // namespace qplan::plan
