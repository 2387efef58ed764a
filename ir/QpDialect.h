//===- QpDialect.h - the qp dialect ------------------------------*- C++ -*-===//
//
// Types, attributes and operations of models before code generation. QpOps.td is
// the reference; ir/eval states the meaning of each op as running code.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_QPDIALECT_H
#define QPLAN_IR_QPDIALECT_H

#include <mlir/Bytecode/BytecodeOpInterface.h>
#include <mlir/IR/BuiltinAttributes.h>
#include <mlir/IR/BuiltinTypes.h>
#include <mlir/IR/Dialect.h>
#include <mlir/IR/OpDefinition.h>
#include <mlir/IR/OpImplementation.h>
#include <mlir/Interfaces/InferTypeOpInterface.h>
#include <mlir/Interfaces/SideEffectInterfaces.h>

#include "ir/QpDialect.h.inc"
#include "ir/QpEnums.h.inc"
#define GET_TYPEDEF_CLASSES
#include "ir/QpTypes.h.inc"
#define GET_ATTRDEF_CLASSES
#include "ir/QpAttrs.h.inc"
#define GET_OP_CLASSES
#include "ir/QpOps.h.inc"

namespace qplan::qp {

/// Shape of a tensor or packed value; mlir::ShapedType::kDynamic for tokens.
llvm::ArrayRef<int64_t> shapeOf(mlir::Type type);

/// Columns of a row-wise value (the last dimension).
int64_t widthOf(mlir::Type type);

/// Name of the format in which values of this type are stored: that of a packed
/// type, or the element type's ("f32", "f16", "bf16").
std::string formatNameOf(mlir::Type type);

/// The type tensor<?xWIDTHxf32>.
mlir::RankedTensorType rowsType(mlir::MLIRContext *context, int64_t width);

} // namespace qplan::qp

#endif // QPLAN_IR_QPDIALECT_H
