//===- QpOps.td - operations of the qp dialect ----------------------------===//
//
// Constraint labels such as [linear-c1] are repeated in QpOps.cpp (verifiers)
// and in tests/ir/invalid.mlir.
//
//===----------------------------------------------------------------------===//

#ifndef QPLAN_IR_QPOPS
#define QPLAN_IR_QPOPS

include "ir/QpDialect.td"
include "mlir/IR/EnumAttr.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

//===----------------------------------------------------------------------===//
// Enumerations
//===----------------------------------------------------------------------===//

def Qp_Activation : I32EnumAttr<"Activation", "pointwise function",
    [I32EnumAttrCase<"Silu", 0, "silu">, I32EnumAttrCase<"GeluTanh", 1, "gelu_tanh">,
     I32EnumAttrCase<"GeluErf", 2, "gelu_erf">, I32EnumAttrCase<"Relu", 3, "relu">]> {
  let cppNamespace = "::qplan::qp";
  let genSpecializedAttr = 0;
}
def Qp_ActivationAttr : EnumAttr<Qp_Dialect, Qp_Activation, "activation">;

def Qp_RopeStyle : I32EnumAttr<"RopeStyle", "which columns a rotation pairs",
    [I32EnumAttrCase<"Half", 0, "half">, I32EnumAttrCase<"Adjacent", 1, "adjacent">]> {
  let cppNamespace = "::qplan::qp";
  let genSpecializedAttr = 0;
}
def Qp_RopeStyleAttr : EnumAttr<Qp_Dialect, Qp_RopeStyle, "rope_style">;

def Qp_RouterMode : I32EnumAttr<"RouterMode", "how router weights are normalised",
    [I32EnumAttrCase<"SoftmaxOfChosen", 0, "softmax_of_chosen">,
     I32EnumAttrCase<"SoftmaxOfAll", 1, "softmax_of_all">,
     I32EnumAttrCase<"SoftmaxOfAllRenormalized", 2, "softmax_of_all_renormalized">]> {
  let cppNamespace = "::qplan::qp";
  let genSpecializedAttr = 0;
}
def Qp_RouterModeAttr : EnumAttr<Qp_Dialect, Qp_RouterMode, "router_mode">;

def Qp_Rows : AnyTypeOf<[F32Tensor]>;
def Qp_RowsOrPacked : AnyTypeOf<[F32Tensor, Qp_PackedType]>;
def Qp_Weight : AnyTypeOf<[TensorOf<[F32, F16, BF16]>, Qp_PackedType]>;

class Qp_Op<string mnemonic, list<Trait> traits = []> : Op<Qp_Dialect, mnemonic, traits>;

//===----------------------------------------------------------------------===//
// Weights and quantized values
//===----------------------------------------------------------------------===//

def Qp_WeightOp : Qp_Op<"weight", [Pure]> {
  let summary = "a tensor of the checkpoint, by name, with the transforms that apply to it";
  let description = [{
    `source` is the tensor's name in the checkpoint, followed by transforms that
    are applied from left to right while the plan is written
    (`name|transpose|slice_rows(0,64)`; ir/weights/WeightStore.h lists them). The
    result has the storage type of the checkpoint: f32, f16, bf16, or a packed
    type when the checkpoint holds it in blocks.

    ```mlir
    %w = qp.weight "model.layers.0.mlp.down_proj.weight" : tensor<576x1536xbf16>
    ```
  }];
  let arguments = (ins StrAttr:$source);
  let results = (outs Qp_Weight:$result);
  let assemblyFormat = "$source attr-dict `:` type($result)";
}

def Qp_QuantizeOp : Qp_Op<"quantize", [Pure]> {
  let summary = "round to the numbers that a format can store";
  let description = [{
    The result's type names the format; codecs/ state the rounding exactly. For a
    weight, `method` says how scales are chosen (ir/weights/WeightRounding.h: `max`,
    `mse`, `imatrix(BLOB)`). For activations the scale is taken from each row or block when it arrives (dynamic), or is
    `scale` when that is given (static). With `threshold`, columns in which a row of
    the pass has a magnitude of at least that are given to `qp.outliers`: they are 0
    here, and the scale of a row comes from its values below the threshold.

    [quantize-c1] operand and result have the same shape.
    [quantize-c2] the format exists and its blocks divide the columns.
    [quantize-c3] a threshold is above 0 and goes with int8_token.
  }];
  let arguments = (ins Qp_Weight:$input, OptionalAttr<StrAttr>:$method, OptionalAttr<F64Attr>:$scale,
                       OptionalAttr<F64Attr>:$threshold);
  let results = (outs Qp_PackedType:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Qp_DequantizeOp : Qp_Op<"dequantize", [Pure]> {
  let summary = "the f32 values that stored numbers stand for";
  let description = [{
    Exact in f32 up to one rounding of scale * code (+ minimum).

    [dequantize-c1] operand and result have the same shape.
  }];
  let arguments = (ins Qp_PackedType:$input);
  let results = (outs F32Tensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Qp_OutliersOp : Qp_Op<"outliers", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "the columns in which a row of the pass reaches the threshold; 0 elsewhere";
  let description = [{
    The part of LLM.int8() that stays in floating point (Dettmers et al.,
    arXiv:2208.07339, as bitsandbytes runs it): a column belongs here when any row that
    is computed together with this one has a magnitude of at least `threshold` in it.
    `qp.quantize` with the same threshold gives the rest; the sum of both is the input
    of the linear.
  }];
  let arguments = (ins F32Tensor:$input, F64Attr:$threshold);
  let results = (outs F32Tensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

def Qp_ObserveOp : Qp_Op<"observe"> {
  let summary = "accumulate statistics of the rows that enter a site";
  let description = [{
    Per column: largest magnitude, mean magnitude, mean square. Inserted by
    `qp-insert-observers` for calibration, never present in a shipped plan. With
    `gram`, instead, the sum of x x^T over the rows x, in f64 (f32 over the rows of
    a pass): what GPTQ and AWQ need. With `histogram`, how often magnitudes fall into
    2048 equal parts of a range that is chosen before the plan runs. With `keep_rows`,
    the rows of the last pass themselves.
  }];
  let arguments = (ins F32Tensor:$input, StrAttr:$site, UnitAttr:$gram, UnitAttr:$histogram,
                       UnitAttr:$keep_rows);
  let assemblyFormat = "$input `,` $site attr-dict `:` type($input)";
}

//===----------------------------------------------------------------------===//
// Model ops
//===----------------------------------------------------------------------===//

def Qp_EmbeddingOp : Qp_Op<"embedding", [Pure]> {
  let summary = "rows of a table, chosen by token id, times `multiplier`";
  let arguments = (ins TensorOf<[I32]>:$ids, Qp_Weight:$table, DefaultValuedAttr<F64Attr, "1.0">:$multiplier);
  let results = (outs F32Tensor:$result);
  let assemblyFormat = "$ids `,` $table attr-dict `:` type($ids) `,` type($table) `->` type($result)";
}

def Qp_PositionEmbeddingOp : Qp_Op<"position_embedding", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "input + table[position + offset]";
  let arguments = (ins F32Tensor:$input, Qp_Weight:$table, DefaultValuedAttr<I64Attr, "0">:$offset);
  let results = (outs F32Tensor:$result);
  let assemblyFormat = "$input `,` $table attr-dict `:` type($input) `,` type($table)";
}

def Qp_RmsNormOp : Qp_Op<"rms_norm", [Pure]> {
  let summary = "x * rsqrt(mean(x^2) + epsilon) * (gamma + gamma_offset)";
  let description = [{
    The mean is over a whole row, or over each of `groups` equal segments of it
    (per-head norms). `gamma` has one entry for each column of a segment, or for
    each column of the row. A packed result is quantized as `qp.quantize` would.

    [rms_norm-c1] gamma's size is the row's width, or the width divided by groups.
  }];
  let arguments = (ins F32Tensor:$input, Qp_Weight:$gamma, F64Attr:$epsilon,
                       DefaultValuedAttr<I64Attr, "1">:$groups, DefaultValuedAttr<F64Attr, "0.0">:$gamma_offset);
  let results = (outs Qp_RowsOrPacked:$result);
  let assemblyFormat = "$input `,` $gamma attr-dict `:` type($input) `,` type($gamma) `->` type($result)";
  let hasVerifier = 1;
}

def Qp_LayerNormOp : Qp_Op<"layer_norm", [Pure]> {
  let summary = "(x - mean) * rsqrt(variance + epsilon) * (gamma + gamma_offset) + beta";
  let arguments = (ins F32Tensor:$input, Qp_Weight:$gamma, Optional<Qp_Weight>:$beta, F64Attr:$epsilon,
                       DefaultValuedAttr<F64Attr, "0.0">:$gamma_offset);
  let results = (outs Qp_RowsOrPacked:$result);
  let assemblyFormat = [{
    $input `,` $gamma (`,` $beta^)? attr-dict `:` type($input) `,` type($gamma) (`,` type($beta)^)? `->` type($result)
  }];
}

def Qp_LinearOp : Qp_Op<"linear", [Pure]> {
  let summary = "input * transpose(weight) + bias, accumulated in f32";
  let description = [{
    `site` is the stable name of this place in recipes, statistics and reports.

    [linear-c1] weight is [outputs, inputs]; inputs is the width of the input.
    [linear-c2] bias, if any, has one entry for each output.

    ```mlir
    %y = qp.linear %x, %w {site = "layers.0.mlp.down"} : tensor<?x1536xf32>, tensor<576x1536xbf16> -> tensor<?x576xf32>
    ```
  }];
  let arguments = (ins Qp_RowsOrPacked:$input, Qp_Weight:$weight, Optional<Qp_Weight>:$bias, StrAttr:$site);
  let results = (outs F32Tensor:$result);
  let assemblyFormat = [{
    $input `,` $weight (`,` $bias^)? attr-dict `:` type($input) `,` type($weight) (`,` type($bias)^)? `->` type($result)
  }];
  let hasVerifier = 1;
}

def Qp_FusedLinearOp : Qp_Op<"fused_linear", [Pure, AttrSizedOperandSegments]> {
  let summary = "several linears over one input, as row ranges of one stacked weight";
  let description = [{
    Result i is `residual + scale * ((input + outliers) * transpose(weight_i) +
    bias_i)`. Every weight has the same format; row range i of the stacked matrix
    belongs to `sites[i]`. A packed input is multiplied in integers, `outliers` (made
    by `qp.outliers`) in f32. Made by `qp-fuse`.

    [fused_linear-c1] as many results and sites as weights; biases none or as many.
    [fused_linear-c2] a residual needs exactly one weight.
    [fused_linear-c3] outliers come with a packed input of the same width.
  }];
  let arguments = (ins Qp_RowsOrPacked:$input, Variadic<Qp_Weight>:$weights, Variadic<Qp_Weight>:$biases,
                       Optional<F32Tensor>:$residual, Optional<F32Tensor>:$outliers, StrArrayAttr:$sites, DefaultValuedAttr<F64Attr, "1.0">:$scale);
  let results = (outs Variadic<F32Tensor>:$outputs);
  let assemblyFormat = [{
    $input `,` `[` $weights `]` (`bias` `[` $biases^ `]`)? (`residual` $residual^)? (`outliers` $outliers^)? $sites attr-dict `:`
    type($input) `,` `[` type($weights) `]` (`bias` `[` type($biases)^ `]`)? (`residual` type($residual)^)? (`outliers` type($outliers)^)? `->` type($outputs)
  }];
  let hasVerifier = 1;
}

def Qp_RopeOp : Qp_Op<"rope", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "rotate pairs of columns of each head by position * inverse_frequency";
  let description = [{
    Each of `heads` heads has `head_dim` columns; the first
    2 * size(inverse_frequency) of them are rotated. `half` pairs column i with
    i + size, `adjacent` pairs 2i with 2i + 1. cos and sin are multiplied by
    `attention_factor` (YaRN).
  }];
  let arguments = (ins F32Tensor:$input, I64Attr:$heads, I64Attr:$head_dim, Qp_RopeStyleAttr:$style,
                       DenseF64ArrayAttr:$inverse_frequency, DefaultValuedAttr<F64Attr, "1.0">:$attention_factor);
  let results = (outs F32Tensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Qp_AttentionOp : Qp_Op<"attention", [AllTypesMatch<["key", "value"]>]> {
  let summary = "causal attention over the keys and values cached so far and these";
  let description = [{
    Stores key and value rows in the cache of `layer` in `kv_format` (rounding to
    it), then attends: scores are `scale` * q . k, capped by
    softcap * tanh(s / softcap) when softcap > 0; query i sees keys
    max(0, i - window + 1) .. i (window 0: all). Query head h reads key head
    h / (heads / kv_heads).

    A vector (one head of one row of key or value) is a row of `kv_format`, encoded
    by its codec with rule Max when it is stored. Formats whose scales are fixed
    before a model runs take them from `key_scales` and `value_scales`, one for all
    heads or one for each; 1.0 where they are absent.

    [attention-c1] widths are heads * head_dim and kv_heads * head_dim.
    [attention-c2] heads is a multiple of kv_heads.
    [attention-c3] kv_format is a format of caches, and its blocks divide head_dim.
    [attention-c4] scales are given for formats with fixed scales alone: one, or
    kv_heads, each of them a positive f32 number.
  }];
  let arguments = (ins F32Tensor:$query, F32Tensor:$key, F32Tensor:$value, I64Attr:$layer, I64Attr:$heads,
                       I64Attr:$kv_heads, I64Attr:$head_dim, F64Attr:$scale, DefaultValuedAttr<I64Attr, "0">:$window,
                       DefaultValuedAttr<F64Attr, "0.0">:$softcap, DefaultValuedAttr<StrAttr, "\"f32\"">:$kv_format,
                       OptionalAttr<DenseF64ArrayAttr>:$key_scales, OptionalAttr<DenseF64ArrayAttr>:$value_scales);
  let results = (outs F32Tensor:$result);
  let assemblyFormat = "$query `,` $key `,` $value attr-dict `:` type($query) `,` type($key) `->` type($result)";
  let hasVerifier = 1;
}

class Qp_Rowwise<string mnemonic> : Qp_Op<mnemonic, [Pure, SameOperandsAndResultType]> {
  let results = (outs F32Tensor:$result);
}

def Qp_AddOp : Qp_Rowwise<"add"> {
  let summary = "lhs + scale * rhs";
  let arguments = (ins F32Tensor:$lhs, F32Tensor:$rhs, DefaultValuedAttr<F64Attr, "1.0">:$scale);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($result)";
}

def Qp_PointwiseOp : Qp_Rowwise<"pointwise"> {
  let summary = "silu, gelu or relu of each element";
  let arguments = (ins F32Tensor:$input, Qp_ActivationAttr:$function);
  let assemblyFormat = "`` $function $input attr-dict `:` type($result)";
}

def Qp_GatedOp : Qp_Op<"gated", [Pure, AllTypesMatch<["gate", "up"]>]> {
  let summary = "function(gate) * up";
  let arguments = (ins F32Tensor:$gate, F32Tensor:$up, Qp_ActivationAttr:$function);
  let results = (outs Qp_RowsOrPacked:$result);
  let assemblyFormat = "`` $function $gate `,` $up attr-dict `:` type($gate) `->` type($result)";
}

def Qp_ScaleOp : Qp_Rowwise<"scale"> {
  let summary = "value * input";
  let arguments = (ins F32Tensor:$input, F64Attr:$value);
  let assemblyFormat = "$input attr-dict `:` type($result)";
}

def Qp_SoftcapOp : Qp_Rowwise<"softcap"> {
  let summary = "cap * tanh(input / cap)";
  let arguments = (ins F32Tensor:$input, F64Attr:$cap);
  let assemblyFormat = "$input attr-dict `:` type($result)";
}

def Qp_ScaleColumnsOp : Qp_Op<"scale_columns", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "input[:, j] * factors[j]: a smoothing that no norm could take";
  let arguments = (ins F32Tensor:$input, Qp_Weight:$factors);
  let results = (outs F32Tensor:$result);
  let assemblyFormat = "$input `,` $factors attr-dict `:` type($input) `,` type($factors)";
}

def Qp_RotateOp : Qp_Op<"rotate", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "each `block` columns times the Hadamard matrix of that size, over its root";
  let description = [{
    The matrix is Sylvester's: element (i, j) is 1 where i & j has an even number of ones,
    else -1. It is symmetric, so a second rotation undoes the first. Spreads what single
    columns hold over `block` of them, and keeps the length of a row. Made by `qp-rotate`.

    [rotate-c1] block is a power of two, at least 2, that divides the columns.
  }];
  let arguments = (ins F32Tensor:$input, I64Attr:$block);
  let results = (outs F32Tensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Qp_SelectRowsOp : Qp_Op<"select_rows", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "the rows whose logits the caller wants";
  let arguments = (ins F32Tensor:$input);
  let results = (outs F32Tensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

//===----------------------------------------------------------------------===//
// Mixtures of experts
//===----------------------------------------------------------------------===//

def Qp_RouteOp : Qp_Op<"route", [Pure]> {
  let summary = "the `top_k` experts of each row and their weights";
  let description = [{
    Ties go to the lower expert. `weights` is [rows, top_k]; `routes` tells which
    expert each (row, slot) goes to.
  }];
  let arguments = (ins F32Tensor:$logits, I64Attr:$top_k, Qp_RouterModeAttr:$mode);
  let results = (outs F32Tensor:$weights, TensorOf<[I32]>:$routes);
  let assemblyFormat = "`` $mode $logits attr-dict `:` type($logits) `->` type($weights) `,` type($routes)";
}

def Qp_ExpertLinearOp : Qp_Op<"expert_linear", [Pure, AttrSizedOperandSegments]> {
  let summary = "a linear whose weight is that of the expert each slot goes to";
  let description = [{
    `input` has one row a token ([rows, inputs]) or one a slot ([rows * top_k,
    inputs], when `per_slot`); the result has one row a slot. `sites` is the name of
    the bank, or one name for each weight.

    Experts whose treatments differ are ops of their own: weight i is that of expert
    `numbers[i]` (i without `numbers`), and rows of slots that go to others are those of
    `onto`. Such ops are a chain, which fills one buffer; `qp-fuse` makes one op of those
    that are treated alike.

    [expert_linear-c1] weights are one [outputs, inputs] matrix an expert.
    [expert_linear-c2] one site, or one for each weight; numbers none or as many.
    [expert_linear-c3] `onto` is the result of an expert_linear with the same routes, of
    the same type, and both are `per_slot` or neither.
    [expert_linear-c4] no expert is twice in a chain, and at its end all have been: as many
    as the router has logits.

    ```mlir
    %0 = qp.expert_linear %x, %routes, [%a] ["layers.0.mlp.experts.0.up"] {numbers = array<i64: 0>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] -> tensor<?x8xf32>
    %y = qp.expert_linear %x, %routes, [%b] onto %0 ["layers.0.mlp.experts.1.up"] {numbers = array<i64: 1>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] onto tensor<?x8xf32> -> tensor<?x8xf32>
    ```
  }];
  let arguments = (ins Qp_RowsOrPacked:$input, TensorOf<[I32]>:$routes, Variadic<Qp_Weight>:$experts,
                       Optional<F32Tensor>:$onto, StrArrayAttr:$sites, OptionalAttr<DenseI64ArrayAttr>:$numbers,
                       UnitAttr:$per_slot);
  let results = (outs F32Tensor:$result);
  let assemblyFormat = [{
    $input `,` $routes `,` `[` $experts `]` (`onto` $onto^)? $sites attr-dict `:` type($input) `,` type($routes) `,` `[` type($experts) `]` (`onto` type($onto)^)? `->` type($result)
  }];
  let extraClassDeclaration = [{
    /// The expert that weight `i` belongs to.
    int64_t numberOf(size_t i) { return getNumbers() ? (*getNumbers())[i] : int64_t(i); }
    /// The op whose rows this one keeps for slots of other experts; null at the beginning of a chain.
    ExpertLinearOp before();
    /// The op that goes on from this one; null at the end of a chain.
    ExpertLinearOp next();
  }];
  let hasVerifier = 1;
}

def Qp_CombineOp : Qp_Op<"combine", [Pure]> {
  let summary = "sum over slots of weights[row, slot] * input[row * top_k + slot]";
  let arguments = (ins F32Tensor:$input, F32Tensor:$weights);
  let results = (outs F32Tensor:$result);
  let assemblyFormat = "$input `,` $weights attr-dict `:` type($input) `,` type($weights) `->` type($result)";
}

#endif // QPLAN_IR_QPOPS
