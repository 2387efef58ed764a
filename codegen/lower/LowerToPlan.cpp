//===- LowerToPlan.cpp - choose kernels, packings and buffers -------------===//
//
// One walk over the function. PlanWriter makes buffers,
// weights and launches; PlanLowering decides which, op by op.
//
//===----------------------------------------------------------------------===//

#include "codegen/lower/Passes.h"
#include "codegen/lower/PlanLowering.h"

#include <mlir/Dialect/Func/IR/FuncOps.h>

using namespace mlir;

namespace qplan {
#define GEN_PASS_DEF_LOWERTOPLAN
#include "codegen/lower/Passes.h.inc"
} // namespace qplan

using namespace qplan;

namespace {

struct LowerToPlanPass : qplan::impl::LowerToPlanBase<LowerToPlanPass> {
  using LowerToPlanBase::LowerToPlanBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto functions = llvm::to_vector(module.getOps<func::FuncOp>());
    for (func::FuncOp function : functions) {
      if (!llvm::hasSingleElement(function.getBody())) {
        function.emitError("qp-to-plan needs a function of one block");
        return signalPassFailure();
      }
      PlanSizes sizes{maxTokens, pageTokens};
      if (failed(PlanLowering(module, function, sizes).run()))
        return signalPassFailure();
      function.erase();
    }
  }
};

} // namespace
