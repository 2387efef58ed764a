//===- PlanOps.cpp - the plan dialect -------------------------------------===//
//
// Verification of plan programs: everything that a text file could get wrong and
// that later stages rely on. Labels in brackets are those of PlanOps.td.
//
//===----------------------------------------------------------------------===//
#include "codegen/plan/PlanOps.h"
#include "codegen/plan/KernelTable.h"
#include <llvm/ADT/SmallBitVector.h>
#include <llvm/ADT/StringExtras.h>

using namespace mlir;

/// `(@a, @b)`: a list of symbols in parentheses.
static ParseResult parseSymbols(OpAsmParser &parser, ArrayAttr &symbols) {
  SmallVector<Attribute> list;
  auto parseOne = [&]() -> ParseResult {
    StringAttr name;
    if (parser.parseSymbolName(name))
      return failure();
    list.push_back(FlatSymbolRefAttr::get(name));
    return success();
  };
  if (parser.parseCommaSeparatedList(OpAsmParser::Delimiter::Paren, parseOne))
    return failure();
  symbols = ArrayAttr::get(parser.getContext(), list);
  return success();
}

static void printSymbols(OpAsmPrinter &printer, Operation *, ArrayAttr symbols) {
  printer << '(';
  llvm::interleaveComma(symbols, printer.getStream(), [&](Attribute symbol) {
    printer.printAttributeWithoutType(symbol);
  });
  printer << ')';
}

#include "codegen/plan/PlanDialect.cpp.inc"

#define GET_OP_CLASSES
#include "codegen/plan/PlanOps.cpp.inc"

namespace qplan::plan {

void PlanDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "codegen/plan/PlanOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// plan.program
//===----------------------------------------------------------------------===//

void ProgramOp::build(OpBuilder &builder, OperationState &state, StringRef name,
                      ArrayRef<NamedAttribute> attributes) {
  state.addAttribute(mlir::SymbolTable::getSymbolAttrName(), builder.getStringAttr(name));
  state.addAttributes(attributes);
  state.addRegion()->emplaceBlock();
}

static bool isIdentifier(StringRef name) {
  auto isWord = [](char c) { return llvm::isAlnum(c) || c == '_'; };
  return !name.empty() && !llvm::isDigit(name.front()) && llvm::all_of(name, isWord);
}

LogicalResult ProgramOp::verify() {
  if (!isIdentifier(getSymName()))
    return emitOpError() << "[program-c1] name '" << getSymName()
                         << "' is not a C identifier (letters, digits, '_')";
  for (StringRef name : {"vocabulary", "hidden", "max_context", "max_tokens", "kv_page_tokens"})
    if (int64_t value = (*this)->getAttrOfType<IntegerAttr>(name).getInt(); value <= 0)
      return emitOpError() << "[program-c2] " << name << " is " << value << ", must be positive";
  for (StringRef name :
       {"kv_page_bytes", "arena_fixed", "arena_per_token", "weight_bytes", "statistics_bytes"})
    if (auto value = (*this)->getAttrOfType<IntegerAttr>(name); value && value.getInt() < 0)
      return emitOpError() << "[program-c2] " << name << " is " << value.getInt()
                           << ", must not be negative";
  return success();
}

LogicalResult ProgramOp::verifyRegions() {
  for (Operation &op : getBlock())
    if (!isa<WeightOp, BufferOp, LaunchOp>(op))
      return op.emitOpError() << "[program-c3] does not belong in a plan.program, which holds "
                                 "plan.weight, plan.buffer and plan.launch";
  return success();
}

//===----------------------------------------------------------------------===//
// plan.weight, plan.buffer
//===----------------------------------------------------------------------===//

LogicalResult WeightOp::verify() {
  int64_t rows = getRows(), cols = getCols(), bytes = getBytes();
  if (rows <= 0 || cols <= 0 || bytes <= 0 || bytes % 4 != 0)
    return emitOpError() << "[weight-c1] rows " << rows << ", cols " << cols << ", bytes " << bytes
                         << ": must be positive, bytes a multiple of 4";
  if (int64_t offset = getOffset().value_or(64); offset < 64 || offset % 64 != 0)
    return emitOpError() << "[weight-c2] offset " << offset
                         << " must be a multiple of 64 and at least 64";
  return success();
}

LogicalResult BufferOp::verify() {
  // The limit keeps every sum of sizes far from 2^63.
  auto isPlace = [](int64_t bytes) {
    return bytes >= 0 && bytes <= int64_t(1) << 40 && bytes % 64 == 0;
  };
  if (!isPlace(getPerToken()) || !isPlace(getFixed()) || (getPerToken() == 0 && getFixed() == 0))
    return emitOpError() << "[buffer-c1] per_token " << int64_t(getPerToken()) << ", fixed "
                         << int64_t(getFixed())
                         << ": must be multiples of 64 from 0 to 2^40 and not both 0";
  auto perToken = getOffsetPerToken(), fixed = getOffsetFixed();
  if (perToken.has_value() != fixed.has_value())
    return emitOpError() << "[buffer-c2] offset_per_token and offset_fixed come together";
  if (fixed && (!isPlace(*perToken) || !isPlace(*fixed)))
    return emitOpError() << "[buffer-c2] offsets " << int64_t(*perToken) << " and "
                         << int64_t(*fixed) << " must be multiples of 64 from 0 to 2^40";
  return success();
}

//===----------------------------------------------------------------------===//
// plan.launch
//===----------------------------------------------------------------------===//

void LaunchOp::build(OpBuilder &builder, OperationState &state, StringRef kernel,
                     ArrayRef<StringRef> buffers, ArrayRef<StringRef> weights,
                     DictionaryAttr params, ArrayRef<int64_t> reads, ArrayRef<int64_t> writes,
                     ArrayAttr sites) {
  auto symbols = [&](ArrayRef<StringRef> names) {
    return builder.getArrayAttr(llvm::map_to_vector(names, [&](StringRef name) -> Attribute {
      return FlatSymbolRefAttr::get(builder.getContext(), name);
    }));
  };
  build(builder, state, builder.getStringAttr(kernel), symbols(buffers), symbols(weights), params,
        builder.getDenseI64ArrayAttr(reads), builder.getDenseI64ArrayAttr(writes), sites);
}

/// How many of `flags` are 0 in `params`: that many operands may be left out.
static unsigned switchedOff(DictionaryAttr params, ArrayRef<StringRef> flags) {
  return llvm::count_if(flags, [&](StringRef flag) {
    auto value = params.getAs<IntegerAttr>(flag);
    return value && value.getValue().isZero();
  });
}

/// [launch-c2] `found` operands of a kind of which the kernel has `expected`.
static LogicalResult verifyCount(LaunchOp op, const KernelSignature &kernel, StringRef kind,
                                 size_t found, unsigned expected, unsigned optional) {
  if (found <= expected && found + optional >= expected)
    return success();
  InFlightDiagnostic error = op.emitOpError()
                             << "[launch-c2] has " << found << " " << kind << ", expected ";
  if (optional != 0)
    error << expected - std::min(optional, expected) << " to ";
  return error << expected << " for " << describe(kernel);
}

/// [launch-c3] every parameter is there with the right type, and no other.
static LogicalResult verifyParams(LaunchOp op, const KernelSignature &kernel) {
  DictionaryAttr params = op.getParams();
  for (const KernelParameter &parameter : kernel.parameters) {
    Attribute value = params.get(parameter.name);
    if (!value)
      return op.emitOpError() << "[launch-c3] lacks parameter '" << parameter.name << "' of "
                              << describe(kernel);
    auto integer = dyn_cast<IntegerAttr>(value);
    auto number = dyn_cast<FloatAttr>(value);
    bool fits = parameter.isFloat ? number && number.getType().isF64()
                                  : integer && integer.getType().isInteger(64);
    if (!fits)
      return op.emitOpError() << "[launch-c3] parameter '" << parameter.name << "' is " << value
                              << ", expected " << (parameter.isFloat ? "f64" : "i64");
  }
  for (NamedAttribute param : params)
    if (llvm::none_of(kernel.parameters,
                      [&](const KernelParameter &p) { return p.name == param.getName(); }))
      return op.emitOpError() << "[launch-c3] parameter '" << param.getName().getValue()
                              << "' is not one of " << describe(kernel);
  return success();
}

/// [launch-c4] access lists hold valid indices and leave no buffer out.
static LogicalResult verifyAccess(LaunchOp op) {
  size_t count = op.getBuffers().size();
  llvm::SmallBitVector named(count);
  for (ArrayRef<int64_t> list : {op.getReads(), op.getWrites()})
    for (int64_t index : list) {
      if (index < 0 || static_cast<size_t>(index) >= count)
        return op.emitOpError() << "[launch-c4] index " << index << " in reads or writes, but has "
                                << count << " buffers";
      named.set(index);
    }
  if (!named.all())
    return op.emitOpError() << "[launch-c4] buffer " << named.find_first_unset()
                            << " is neither in reads nor in writes";
  return success();
}

LogicalResult LaunchOp::verify() {
  const KernelSignature *kernel = findKernel(getKernel());
  if (!kernel) {
    auto names = llvm::map_range(kernelTable(), [](const KernelSignature &k) { return k.name; });
    return emitOpError() << "[launch-c1] unknown kernel '" << getKernel()
                         << "', known: " << llvm::join(names, ", ");
  }
  auto logits = getParams().getAs<IntegerAttr>("toLogits");
  unsigned optionalBuffers = logits && logits.getInt() == 1
                                 ? kernel->buffers
                                 : switchedOff(getParams(), {"hasResidual"});
  unsigned optionalWeights = switchedOff(getParams(), {"hasBias", "hasBeta", "hasSmooth", "kvFixed"});
  if (failed(verifyParams(*this, *kernel)) ||
      failed(verifyCount(*this, *kernel, "buffers", getBuffers().size(), kernel->buffers,
                         optionalBuffers)) ||
      failed(verifyCount(*this, *kernel, "weights", getWeights().size(), kernel->weights,
                         optionalWeights)))
    return failure();
  return verifyAccess(*this);
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &tables) {
  auto program = (*this)->getParentOfType<ProgramOp>();
  for (auto symbol : getBuffers().getAsRange<FlatSymbolRefAttr>())
    if (!tables.lookupSymbolIn<BufferOp>(program, symbol))
      return emitOpError() << "[launch-c5] " << symbol << " is not a plan.buffer of the program";
  for (auto symbol : getWeights().getAsRange<FlatSymbolRefAttr>())
    if (!tables.lookupSymbolIn<WeightOp>(program, symbol))
      return emitOpError() << "[launch-c5] " << symbol << " is not a plan.weight of the program";
  return success();
}

} // namespace qplan::plan
