//===- QpDialect.cpp - types and registration of the qp dialect -----------===//

#include "ir/QpDialect.h"

#include "ir/Formats.h"

#include <llvm/ADT/TypeSwitch.h>
#include <mlir/IR/Builders.h>
#include <mlir/IR/DialectImplementation.h>

using namespace mlir;
using namespace qplan::qp;

#include "ir/QpDialect.cpp.inc"
#include "ir/QpEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "ir/QpAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "ir/QpTypes.cpp.inc"

void QpDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "ir/QpTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "ir/QpAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ir/QpOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// PackedType: <576x1536, int4_g64>, a dimension list and a format name
//===----------------------------------------------------------------------===//

Type PackedType::parse(AsmParser &parser) {
  SmallVector<int64_t> shape;
  if (parser.parseLess() ||
      parser.parseDimensionList(shape, /*allowDynamic=*/true, /*withTrailingX=*/false) ||
      parser.parseComma())
    return {};
  SMLoc location = parser.getCurrentLocation();
  std::string format;
  if (parser.parseKeywordOrString(&format) || parser.parseGreater())
    return {};
  return getChecked([&] { return parser.emitError(location); }, parser.getContext(), shape, format);
}

void PackedType::print(AsmPrinter &printer) const {
  printer << "<";
  printer.printDimensionList(getShape());
  printer << ", " << getFormat() << ">";
}

LogicalResult PackedType::verify(llvm::function_ref<InFlightDiagnostic()> emitError,
                                 ArrayRef<int64_t> shape, StringRef format) {
  if (shape.empty() || shape.size() > 3)
    return emitError() << "a packed value has 1 to 3 dimensions, found " << shape.size();
  for (int64_t extent : shape.drop_front())
    if (ShapedType::isDynamic(extent) || extent <= 0)
      return emitError() << "only the first dimension of a packed value may be dynamic, and none may be empty";
  auto id = qplan::parseFormat(format);
  if (!id)
    return emitError() << llvm::toString(id.takeError());
  return success();
}

//===----------------------------------------------------------------------===//
// Helpers
//===----------------------------------------------------------------------===//

ArrayRef<int64_t> qplan::qp::shapeOf(Type type) {
  if (auto packed = dyn_cast<PackedType>(type))
    return packed.getShape();
  return cast<RankedTensorType>(type).getShape();
}

int64_t qplan::qp::widthOf(Type type) { return shapeOf(type).back(); }

std::string qplan::qp::formatNameOf(Type type) {
  if (auto packed = dyn_cast<PackedType>(type))
    return packed.getFormat().str();
  Type element = cast<RankedTensorType>(type).getElementType();
  if (element.isF16())
    return "f16";
  return element.isBF16() ? "bf16" : "f32";
}

RankedTensorType qplan::qp::rowsType(MLIRContext *context, int64_t width) {
  return RankedTensorType::get({ShapedType::kDynamic, width}, Float32Type::get(context));
}
