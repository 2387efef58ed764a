//===- PlanOps.td - the plan dialect --------------------------*- tablegen -*-===//
//
// The last stage before machine code: one program as a straight line of kernel
// launches over buffers of one arena and weights of one file. Nothing here says
// what a value means; that was settled in the `qp` dialect. The kernels, the
// number of buffers and weights each takes and the names of its parameters are
// those of runtime/kernels/Kernels.inc, and the verifier holds launches to it.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_PLAN_PLANOPS_TD
#define QPLAN_CODEGEN_PLAN_PLANOPS_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/RegionKindInterface.td"

def Plan_Dialect : Dialect {
  let name = "plan";
  let cppNamespace = "::qplan::plan";
  let summary = "Kernel launches over planned memory";
  let description = [{
    A `plan.program` is what a device executes for one forward pass: weights
    (`plan.weight`, bytes of weights.bin), buffers (`plan.buffer`, bytes of the
    arena) and launches (`plan.launch`) in the order in which they run.

    Memory is affine in the number of tokens of a pass: a buffer takes
    `fixed + tokens * per_token` bytes and, once `plan-assign-memory` has run,
    lies at `offset_fixed + tokens * offset_per_token`.
  }];
}

class Plan_Op<string mnemonic, list<Trait> traits = []> : Op<Plan_Dialect, mnemonic, traits>;

def Plan_ProgramOp : Plan_Op<"program",
    [Symbol, SymbolTable, NoTerminator, SingleBlock, IsolatedFromAbove]> {
  let summary = "One model: weights, buffers and the launches of a forward pass";
  let description = [{
    The symbol is the prefix of the emitted functions (`NAME_query`), so it must
    be a C identifier.

    - [program-c1] the name is a C identifier;
    - [program-c2] sizes are not negative; `vocabulary`, `hidden`, `max_context`,
      `max_tokens` and `kv_page_tokens` are positive;
    - [program-c3] the body holds `plan.weight`, `plan.buffer`, `plan.launch` only.

    Example:

    ```mlir
    plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
        max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64,
        kv_format = "f32"} {
      plan.weight @w0 {source = "norm.weight", format = "f32", packing = "vector_f32",
          rows = 1 : i64, cols = 64 : i64, bytes = 256 : i64}
      plan.buffer @b0 {per_token = 256 : i64}
      plan.launch "rms_norm" (@b0, @b0) weights(@w0)
          params {K = 64 : i64, eps = 1.0e-5 : f64} reads [0] writes [1]
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name,
    I64Attr:$vocabulary, I64Attr:$hidden, I64Attr:$max_context, I64Attr:$max_tokens,
    I64Attr:$kv_page_tokens, I64Attr:$kv_page_bytes, StrAttr:$kv_format,
    OptionalAttr<I64Attr>:$arena_fixed, OptionalAttr<I64Attr>:$arena_per_token,
    OptionalAttr<I64Attr>:$weight_bytes, DefaultValuedAttr<I64Attr, "0">:$statistics_bytes);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name attr-dict-with-keyword $body";
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    /// The launches in the order in which they run.
    auto getLaunches() { return getBody().front().getOps<LaunchOp>(); }
    auto getWeights() { return getBody().front().getOps<WeightOp>(); }
    auto getBuffers() { return getBody().front().getOps<BufferOp>(); }
    /// Where ops of the body are inserted (bodies have no terminator).
    ::mlir::Block &getBlock() { return getBody().front(); }
  }];
  let skipDefaultBuilders = 1;
  let builders = [OpBuilder<(ins "::llvm::StringRef":$name,
      "::llvm::ArrayRef<::mlir::NamedAttribute>":$attributes)>];
}

def Plan_WeightOp : Plan_Op<"weight", [Symbol, HasParent<"ProgramOp">]> {
  let summary = "Bytes of weights.bin that launches read";
  let description = [{
    `source` is a weight reference in the text form of the weight store
    (`tensor|transform|...`), `format` what the numbers mean, `packing` how their
    bytes lie; together they decide the bytes, so two weights that agree in the
    three share one place. `sites` are the sites stored here, for reports. The
    location names the tensor in the checkpoint.

    - [weight-c1] `rows` and `cols` are positive, `bytes` is a positive multiple of 4;
    - [weight-c2] `offset`, once assigned, is a multiple of 64 and at least 64.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$source, StrAttr:$format,
    StrAttr:$packing, I64Attr:$rows, I64Attr:$cols, I64Attr:$bytes,
    OptionalAttr<I64Attr>:$offset, OptionalAttr<StrArrayAttr>:$sites,
    OptionalAttr<DictionaryAttr>:$details);
  let assemblyFormat = "$sym_name attr-dict";
  let hasVerifier = 1;
}

def Plan_BufferOp : Plan_Op<"buffer", [Symbol, HasParent<"ProgramOp">]> {
  let summary = "Bytes of the arena";
  let description = [{
    Takes `fixed + tokens * per_token` bytes.

    - [buffer-c1] `per_token` and `fixed` are multiples of 64 from 0 to 2^40, not both 0;
    - [buffer-c2] `offset_per_token` and `offset_fixed`, once assigned, are multiples
      of 64 from 0 to 2^40, and are present together.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name,
    DefaultValuedAttr<I64Attr, "0">:$per_token, DefaultValuedAttr<I64Attr, "0">:$fixed,
    OptionalAttr<I64Attr>:$offset_per_token, OptionalAttr<I64Attr>:$offset_fixed);
  let assemblyFormat = "$sym_name attr-dict";
  let hasVerifier = 1;
}

def Plan_LaunchOp : Plan_Op<"launch", [HasParent<"ProgramOp">,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Runs one kernel";
  let description = [{
    `reads` and `writes` are indices into the buffers and say what must be alive:
    a buffer in both is updated in place. Every buffer is in at least one list.
    Parameters that are floats in the kernel (Kernels.inc) are f64, others i64.

    - [launch-c1] the kernel is one of Kernels.inc;
    - [launch-c2] the numbers of buffers and weights are the kernel's; trailing
      operands that a flag in `params` switches off (`hasResidual`, `hasBias`,
      `hasBeta`, `hasSmooth`, `kvFixed` = 0; `toLogits` = 1) may be left out and are null;
    - [launch-c3] `params` has exactly the kernel's parameters, each i64 or f64;
    - [launch-c4] `reads` and `writes` cover all buffers and hold valid indices;
    - [launch-c5] the symbols are buffers and weights of the same program.
  }];
  let arguments = (ins StrAttr:$kernel, TypedArrayAttrBase<FlatSymbolRefAttr, "buffers">:$buffers,
    TypedArrayAttrBase<FlatSymbolRefAttr, "weights">:$weights, DictionaryAttr:$params,
    DenseI64ArrayAttr:$reads, DenseI64ArrayAttr:$writes, OptionalAttr<StrArrayAttr>:$sites);
  let assemblyFormat = [{
    $kernel custom<Symbols>($buffers) `weights` custom<Symbols>($weights) `params` $params
    `reads` $reads `writes` $writes attr-dict
  }];
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "::llvm::StringRef":$kernel,
      "::llvm::ArrayRef<::llvm::StringRef>":$buffers, "::llvm::ArrayRef<::llvm::StringRef>":$weights,
      "::mlir::DictionaryAttr":$params, "::llvm::ArrayRef<int64_t>":$reads,
      "::llvm::ArrayRef<int64_t>":$writes, CArg<"::mlir::ArrayAttr", "{}">:$sites)>];
}

#endif // QPLAN_CODEGEN_PLAN_PLANOPS_TD
