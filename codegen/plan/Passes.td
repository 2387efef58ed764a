//===- Passes.td - passes over the plan dialect ---------------*- tablegen -*-===//
//
// What happens between the making of a plan.program and its translation to LLVM
// IR: memory and weights get their places, then launches become calls.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_PLAN_PASSES_TD
#define QPLAN_CODEGEN_PLAN_PASSES_TD

include "mlir/Pass/PassBase.td"

def PlanAssignMemory : Pass<"plan-assign-memory", "ProgramOp"> {
  let summary = "Give every buffer its place in the arena";
  let description = [{
    Buffers that are never alive at the same launch share memory. A buffer is
    alive from the first launch that names it to the last. The bytes per token
    are packed first (largest buffer first, lowest place that is free), so that
    place = `offset_fixed + tokens * offset_per_token` holds for any number of
    tokens: the fixed-size buffers lie first in the arena, the per-token ones
    behind them, and those with both parts at the end without sharing.

    Assumes: launches in execution order. Guarantees: `offset_per_token`,
    `offset_fixed` on all buffers that are used, `arena_fixed` and
    `arena_per_token` on the program; buffers that no launch names are erased. A
    buffer that is read before any launch wrote it is an error.

    ```mlir
    // Before: @a is dead when @c is first written.
    plan.buffer @a {per_token = 64 : i64}
    plan.buffer @b {per_token = 64 : i64}
    plan.buffer @c {per_token = 64 : i64}
    // After: @c lies where @a was.
    plan.buffer @a {offset_fixed = 0 : i64, offset_per_token = 0 : i64, per_token = 64 : i64}
    plan.buffer @b {offset_fixed = 0 : i64, offset_per_token = 64 : i64, per_token = 64 : i64}
    plan.buffer @c {offset_fixed = 0 : i64, offset_per_token = 0 : i64, per_token = 64 : i64}
    ```
  }];
  let statistics = [
    Statistic<"bytesPerToken", "bytes-per-token", "Bytes per token of all buffers together">,
    Statistic<"packedPerToken", "packed-per-token", "Bytes per token of the arena">];
}

def PlanAssignWeights : Pass<"plan-assign-weights", "ProgramOp"> {
  let summary = "Give every weight its place in weights.bin";
  let description = [{
    Weights lie in the order in which launches first read them, so that a
    forward pass reads the file from front to back. The first lies at byte 64
    (the file starts with a header line), all at multiples of 64. Weights with
    the same source, format and packing share one place.

    Assumes: `bytes` on all weights. Guarantees: `offset` on every weight that a
    launch reads and `weight_bytes` (a multiple of 64) on the program; weights
    that no launch reads are erased.
  }];
  let statistics = [Statistic<"shared", "shared", "Weights that share the bytes of another">];
}

def PlanToLLVM : Pass<"plan-to-llvm", "::mlir::ModuleOp"> {
  let summary = "Turn programs into functions of the LLVM dialect";
  let description = [{
    Every distinct combination of kernel and parameters becomes one function
    that calls `qk_KERNEL` with a constant parameter array; every launch becomes
    a constant descriptor (places of weights and buffers) and one call in
    `NAME_forward`. Thirty equal layers share their functions. `NAME_query`
    returns the constant `qplan_model_v1`; it alone is visible outside. With
    `launches` there is also `NAME_launches(env, args, first, end)`, which runs the
    launches [first, end) alone, without checks: calibration enters a program where
    it likes.

    Assumes: places are assigned. Guarantees: the module holds the LLVM dialect
    only; the kernels themselves are declarations for the linker of bitcode.
  }];
  let options = [
    Option<"target", "target", "std::string", "\"\"", "Target name stored in the model">,
    Option<"features", "features", "std::string", "\"\"", "CPU features stored in the model">,
    Option<"producer", "producer", "std::string", "\"qplan 0.1.0\"", "Producer stored in the model">,
    Option<"launchRange", "launches", "bool", "false", "Emit NAME_launches">];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
  let statistics = [
    Statistic<"launches", "launches", "Launches of all programs">,
    Statistic<"functions", "functions", "Functions that they share">];
}

#endif // QPLAN_CODEGEN_PLAN_PASSES_TD
