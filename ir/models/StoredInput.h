//===- StoredInput.h - activations that a checkpoint decided ----*- C++ -*-===//
//
// A quantized checkpoint may say to which format the input of a linear is rounded,
// and with which static scale. The importer leaves it on the linear as attributes;
// a site that keeps its stored weights keeps it.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_MODELS_STOREDINPUT_H
#define QPLAN_IR_MODELS_STOREDINPUT_H

#include <llvm/ADT/StringRef.h>

namespace qplan {

/// On a linear: the name of the format of its input, a string.
inline constexpr llvm::StringLiteral storedInputAttr = "qp.input_format";
/// Beside it where the format has one scale for the tensor: that scale, f64.
inline constexpr llvm::StringLiteral storedScaleAttr = "qp.input_scale";

} // namespace qplan
#endif // QPLAN_IR_MODELS_STOREDINPUT_H
