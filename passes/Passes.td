//===- Passes.td - passes over the qp dialect ------------------*- tablegen -*-===//
//
// One def a pass; the file of the same name holds it, tests/passes the test.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_PASSES_TD
#define QPLAN_PASSES_PASSES_TD

include "mlir/Pass/PassBase.td"

def InsertObservers : Pass<"qp-insert-observers", "::mlir::ModuleOp"> {
  let summary = "Watch the rows that enter each site";
  let description = [{
    Runs before calibration. Puts one `qp.observe` before every linear whose site
    is in scope; linears that share an input share the observer of the first. Keys and
    values are watched where they enter the cache (`layers.0.attn.k_cache`).

    Guarantees: numbers are not changed.
  }];
  let dependentDialects = ["::qplan::qp::QpDialect"];
  let statistics = [Statistic<"observers", "observers", "Observers inserted">];
}

def TapLayers : Pass<"qp-tap-layers", "::mlir::ModuleOp"> {
  let summary = "Keep the rows that leave each layer";
  let description = [{
    Puts a `qp.observe` with `keep_rows`, named `layers.N`, on the residual stream
    behind each layer: between the layer's last site and the first of the next, at the first
    place across which a single value of rows is alive. A layer without such a place
    gets none. Two forms of a model with the same taps can be compared layer by layer.

    Guarantees: numbers are not changed.
  }];
  let dependentDialects = ["::qplan::qp::QpDialect"];
  let statistics = [Statistic<"taps", "taps", "Taps inserted">];
}

def Rotate : Pass<"qp-rotate", "::mlir::ModuleOp"> {
  let summary = "Spread outliers over many columns: Hadamard rotations";
  let description = [{
    Rotations (QuaRot, Ashkboos et al., arXiv:2404.00456) change the basis of values, so that no
    column is much larger than others. Blocks of columns are multiplied by a Hadamard matrix
    (`qp.rotate`), which is its own inverse; readers multiply the columns of their weights by it.

    * `residual`: the residual stream. Linears that write to it get rotated rows, those that
      read it rotated columns. The gamma of an RMS norm between them goes into the columns.
      What else enters or leaves the stream (the embedding, the last norm, norms behind
      sublayers, mixtures of experts) gets a `qp.rotate`: embedding and lm_head stay as
      they are, and tied. Blocks of at most 256 columns, since rows are rotated when weights are read.
    * `values`: the value heads: rows of the value projection, columns of the output projection.
    * `down`: what enters the last linear of an MLP, by a `qp.rotate`; its columns.

    A block is the largest power of two that divides the columns.

    Assumes: an imported module, whose layers are stored in f32, f16 or bf16.
    Guarantees: the function computed in exact arithmetic is unchanged.
  }];
  let dependentDialects = ["::qplan::qp::QpDialect"];
  let options = [
    Option<"what", "what", "std::string", "\"all\"", "residual, values, down, joined with +; or all">,
    Option<"checkpointPath", "checkpoint", "std::string", "\"\"", "Checkpoint that gammas are read from, where the driver opened none">,
    Option<"blobFolder", "blobs", "std::string", "\"\"", "Folder for the gammas (memory, if empty)">];
  let statistics = [Statistic<"rotated", "rotated", "Weights that were rotated">,
                    Statistic<"explicitOps", "explicit", "Rotations that are an op">];
}

def AssignTreatments : Pass<"qp-assign-treatments", "::mlir::ModuleOp"> {
  let summary = "Give every site its treatment";
  let description = [{
    Sets the attribute `qp.treatment` on the op of each site, from a recipe or from
    one treatment for all sites in scope. f32, f16 and bf16 apply to all tensors.
    Sites out of scope keep the format in which the checkpoint stores them, with
    the activation format that goes with it.

    Guarantees: every site op has a treatment that its shape can take, or the pass
    fails naming the site.
  }];
  let options = [
    Option<"quant", "quant", "std::string", "\"\"", "Treatment of all sites in scope">,
    Option<"recipe", "recipe", "std::string", "\"\"", "File of site-glob = treatment lines">,
    Option<"sites", "sites", "std::string", "\"layers\"", "Scope: layers[+lm_head][+embedding]">,
    Option<"fallback", "fallback", "std::string", "\"\"", "Treatment of sites that cannot take theirs">,
    Option<"untie", "untie", "bool", "false", "Store a tied tensor once for each of its treatments">];
  let statistics = [Statistic<"treated", "treated", "Sites that were given a treatment">];
}

def FoldSmoothQuant : Pass<"qp-fold-smooth-quant", "::mlir::ModuleOp"> {
  let summary = "Move activation outliers into the weights";
  let description = [{
    For sites with method smoothquant (arXiv:2211.10438): with the largest input
    magnitude a[j] and weight magnitude w[j] of each column,

        s[j] = a[j]^alpha / w[j]^(1 - alpha)   clamped to [1e-4, 1e4], 1 for dead columns

    inputs are divided and weight columns multiplied by s. Linears that share an
    input share s (w is the largest over them). The division goes into the
    producer's weights where that is exact: the gamma of a norm, the rows of the
    up projection, the rows of the value projection (one factor for query heads
    that share a value head); elsewhere a `qp.scale_columns` op appears.

    Assumes: treatments assigned; statistics of every smoothed site.
    Guarantees: the function computed in exact arithmetic is unchanged.
  }];
  let dependentDialects = ["::qplan::qp::QpDialect"];
  let options = [
    Option<"statisticsFile", "statistics", "std::string", "\"\"", "Statistics file, where the driver gives none">,
    Option<"checkpointPath", "checkpoint", "std::string", "\"\"", "Checkpoint that weights are read from, where the driver opened none">,
    Option<"blobFolder", "blobs", "std::string", "\"\"", "Folder for the factors (memory, if empty)">];
  let statistics = [Statistic<"folded", "folded", "Smoothings folded into a producer">,
                    Statistic<"explicitOps", "explicit", "Smoothings left as an op">];
}

def InsertQdq : Pass<"qp-insert-qdq", "::mlir::ModuleOp"> {
  let summary = "Insert the quantize and dequantize ops that treatments mean";
  let description = [{
    The weight of a site becomes dequantize(quantize(w)), its input
    dequantize(quantize(x)) when the treatment quantizes activations. A weight that
    the checkpoint stores in the wanted format already is left as it is. Inputs
    quantized alike for several sites are quantized once. An attention op whose
    cache needs fixed scales gets them from the statistics: largest magnitude that
    entered it (of a head, where the format has a scale for each) over the format's
    largest number. Without statistics per-tensor scales stay 1.0.

    Guarantees: the module is in QDQ form, which is the meaning of the plan.
  }];
  let dependentDialects = ["::qplan::qp::QpDialect"];
  let options = [
    Option<"statisticsFile", "statistics", "std::string", "\"\"", "Statistics file, where the driver gives none">,
    Option<"checkpointPath", "checkpoint", "std::string", "\"\"", "Checkpoint that was smoothed, where the driver opened none">,
    Option<"blobFolder", "blobs", "std::string", "\"\"", "Folder of the factors">];
  let statistics = [Statistic<"weights", "weights", "Weights quantized">,
                    Statistic<"activations", "activations", "Activations quantized">,
                    Statistic<"caches", "caches", "Caches that were given scales">];
}

def Fuse : Pass<"qp-fuse", "::mlir::ModuleOp"> {
  let summary = "From the QDQ form to ops on packed values";
  let description = [{
    Linears take packed weights (and packed inputs, where kernels multiply in
    integers) directly; linears over one input with one format become a
    `qp.fused_linear` whose sites are row ranges; a residual sum goes into the
    linear before it; experts of a chain whose weights and inputs are treated alike
    become one `qp.expert_linear`; a norm or gated product whose only use is to be
    quantized gives packed values itself.

    Guarantees: emitted code rounds where the QDQ form rounds; only the order of
    sums in f32 differs.
  }];
  let dependentDialects = ["::qplan::qp::QpDialect"];
  let statistics = [Statistic<"linears", "linears", "Linears that became part of a fused one">,
                    Statistic<"experts", "experts", "Experts that became part of another's op">];
}

#endif // QPLAN_PASSES_PASSES_TD
