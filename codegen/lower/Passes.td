//===- Passes.td - from the qp dialect to the plan dialect -----*- tablegen -*-===//

#ifndef QPLAN_CODEGEN_LOWER_PASSES_TD
#define QPLAN_CODEGEN_LOWER_PASSES_TD

include "mlir/Pass/PassBase.td"

def LowerToPlan : Pass<"qp-to-plan", "::mlir::ModuleOp"> {
  let summary = "Choose kernels, packings and buffers";
  let description = [{
    Turns the function into a `plan.program`: one launch for each op (two for
    attention: storing keys and values, then attending), one buffer for each value
    that is not computed in place, one `plan.weight` for each stored matrix. Works
    on the fused form and, in f32, on the QDQ form itself.

    Guarantees: all kernels exist in Kernels.inc; buffers and weights have sizes and
    no places yet.
  }];
  let dependentDialects = ["::qplan::plan::PlanDialect"];
  let options = [
    Option<"maxTokens", "max-tokens", "int64_t", "512", "Most rows of one forward pass">,
    Option<"pageTokens", "page-tokens", "int64_t", "64", "Positions of one KV page">];
}

#endif // QPLAN_CODEGEN_LOWER_PASSES_TD
