//===- QpDialect.td - the qp dialect: models before code generation -------===//

#ifndef QPLAN_IR_QPDIALECT
#define QPLAN_IR_QPDIALECT

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"

def Qp_Dialect : Dialect {
  let name = "qp";
  let cppNamespace = "::qplan::qp";
  let summary = "Language models, their weights by name, and what is quantized";
  let description = [{
    A module holds one function `@forward`: token ids of a ragged batch in, logits
    out. A value `tensor<?xKxf32>` has one row for each token of the batch; which
    sequence and position a row belongs to is known to the caller and to the ops
    that need it (`qp.rope`, `qp.attention`), not to the types.

    Weights are names, never bytes: `qp.weight` refers to a tensor of the
    checkpoint and to the transforms that apply to it. Quantized values have the
    opaque type `!qp.packed<shape, format>`; only ops of this dialect take it, and
    `qp.dequantize` is the way back to a tensor. The form in which each quantized
    value is followed by `qp.dequantize` (the QDQ form) is the meaning of a plan.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

class Qp_Type<string name, string mnemonicText> : TypeDef<Qp_Dialect, name> {
  let mnemonic = mnemonicText;
}

def Qp_PackedType : Qp_Type<"Packed", "packed"> {
  let summary = "values stored in a quantization format";
  let description = [{
    `!qp.packed<576x1536, int4_g64>`: a matrix of 576 rows and 1536 columns whose
    stored numbers mean what the format says (see Formats.md). `?` is the number
    of tokens. Blocks never cross rows. A leading third dimension is experts.
  }];
  let parameters = (ins ArrayRefParameter<"int64_t">:$shape, StringRefParameter<"format name">:$format);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

#endif // QPLAN_IR_QPDIALECT
