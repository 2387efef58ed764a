//===- Fuse.cpp - from the QDQ form to ops on packed values ---------------===//
//
// Five rewrites, in this order, over one function: packed operands instead of
// dequantized ones, linears over one input stacked, experts that are treated alike one op,
// residual sums into linears, quantization into the op before it. All are local and keep
// program order.
//
//===----------------------------------------------------------------------===//

#include "ir/Formats.h"
#include "passes/Passes.h"
#include "passes/Sites.h"

#include <llvm/ADT/TypeSwitch.h>
#include <mlir/Dialect/Func/IR/FuncOps.h>
#include <mlir/IR/Builders.h>

using namespace mlir;

namespace qplan {
#define GEN_PASS_DEF_FUSE
#include "passes/Passes.h.inc"
} // namespace qplan

using namespace qplan;

namespace {

FormatId formatOf(Type type) {
  return llvm::cantFail(parseFormat(qp::formatNameOf(type)));
}

/// The packed value under a dequantize, or null.
Value packedUnder(Value value) {
  auto dequantize = value.getDefiningOp<qp::DequantizeOp>();
  return dequantize ? dequantize.getInput() : Value();
}

/// Whether codes stand for whole numbers of 8 bits, for halves of them, or (tcq) for sums of four.
bool hasWholeNumbers(const FormatInfo &weight) {
  // What a choice of elements stands for is known only when it is packed.
  return weight.family != CodecFamily::Choice && weight.family != CodecFamily::Mixed &&
         (weight.isInteger() || weight.kind == ElementKind::E2M1 ||
          weight.kind == ElementKind::IQ4 || weight.kind == ElementKind::Trellis);
}

/// The two parts of rows from which outlier columns were taken: rounded, and as they are.
std::pair<Value, Value> splitUnder(Value value) {
  auto sum = value.getDefiningOp<qp::AddOp>();
  if (!sum || !sum.getRhs().getDefiningOp<qp::OutliersOp>())
    return {};
  return {sum.getLhs(), sum.getRhs()};
}

/// Whether weights in `weight` and rows in `rows` are multiplied in integers: both are
/// whole numbers, and one group is a whole number of the other's.
bool multipliesInIntegers(FormatId weight, FormatId rows, int64_t columns) {
  const FormatInfo &w = formatInfo(weight), &a = formatInfo(rows);
  if (!hasWholeNumbers(w) || !a.isInteger())
    return false;
  int64_t weightGroup = w.groupColumns ? w.groupColumns : columns;
  int64_t rowGroup = a.groupColumns ? a.groupColumns : columns;
  return weightGroup == columns || rowGroup == columns ||
         weightGroup % rowGroup == 0 || rowGroup % weightGroup == 0;
}

/// Whether rows below those of `type` begin a panel of 16, so that two tensors need not agree in
/// the widths of their columns or in the element that was chosen for them.
bool fillsPanels(Type type) {
  const CodecFamily family = formatInfo(formatOf(type)).family;
  return (family != CodecFamily::Mixed && family != CodecFamily::Choice) ||
         qp::shapeOf(type)[0] % 16 == 0;
}

/// Weights of one format that are stored alike.
bool storedAlike(Value a, Value b) {
  auto left = a.getDefiningOp<qp::QuantizeOp>(), right = b.getDefiningOp<qp::QuantizeOp>();
  // What is stored in its format already must not be rounded with another's values.
  if (bool(left) != bool(right) || (left && left.getMethodAttr() != right.getMethodAttr()))
    return false;
  return isa<qp::PackedType>(a.getType()) == isa<qp::PackedType>(b.getType()) &&
         qp::formatNameOf(a.getType()) == qp::formatNameOf(b.getType());
}

/// Weights that may be stacked.
bool stackable(qp::FusedLinearOp a, qp::FusedLinearOp b) {
  Value left = a.getWeights()[0], right = b.getWeights()[0];
  if (isa<qp::PackedType>(left.getType()) && isa<qp::PackedType>(right.getType()) &&
      !(fillsPanels(left.getType()) && fillsPanels(right.getType())))
    return false;
  return a.getOutliers() == b.getOutliers() && storedAlike(left, right) &&
         a.getBiases().empty() == b.getBiases().empty();
}

struct FusePass : qplan::impl::FuseBase<FusePass> {
  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      Block &block = function.getBody().front();
      packOperands(block);
      stackLinears(block);
      mergeExperts(block);
      absorbResiduals(block);
      eraseDead(block); // a dequantize that nobody reads is no reader
      packResults(block);
      eraseDead(block);
    }
  }

  /// linear -> fused_linear of one weight, on packed values where kernels take them.
  void packOperands(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (auto experts = dyn_cast<qp::ExpertLinearOp>(op)) {
        packExperts(experts);
        continue;
      }
      if (auto embedding = dyn_cast<qp::EmbeddingOp>(op)) {
        if (Value packed = packedUnder(embedding.getTable()))
          embedding.getTableMutable().assign(packed);
        continue;
      }
      auto linear = dyn_cast<qp::LinearOp>(op);
      if (!linear)
        continue;
      auto [input, weight] = packedPair(linear.getInput(), linear.getWeight());
      Value outliers;
      if (auto [rows, rest] = splitUnder(linear.getInput()); rest) {
        auto [packed, same] = packedPair(rows, linear.getWeight());
        if (isa<qp::PackedType>(packed.getType())) {
          input = packed;
          outliers = rest;
        }
      }
      OpBuilder builder(linear);
      SmallVector<Value> biases;
      if (linear.getBias())
        biases.push_back(linear.getBias());
      auto fused = qp::FusedLinearOp::create(
          builder, linear.getLoc(), TypeRange{linear.getType()}, input, ValueRange{weight}, biases,
          Value(), outliers, builder.getStrArrayAttr({linear.getSite()}), builder.getF64FloatAttr(1.0));
      linear.replaceAllUsesWith(fused.getOutputs()[0]);
      linear.erase();
    }
  }

  std::pair<Value, Value> packedPair(Value input, Value weight) {
    if (Value packed = packedUnder(weight)) {
      weight = packed;
      Value rows = packedUnder(input);
      if (rows && multipliesInIntegers(formatOf(weight.getType()), formatOf(rows.getType()),
                                       qp::widthOf(rows.getType())))
        input = rows;
    }
    return {input, weight};
  }

  void packExperts(qp::ExpertLinearOp op) {
    // A bank is packed as one matrix: all experts or none.
    SmallVector<Value> weights;
    Value input = op.getInput();
    for (Value expert : op.getExperts()) {
      auto [rows, weight] = packedPair(op.getInput(), expert);
      weights.push_back(weight);
      input = rows;
    }
    op.getExpertsMutable().assign(weights);
    op.getInputMutable().assign(input);
  }

  /// Chains of experts: one op for those that are treated alike, in the order of their first.
  void mergeExperts(Block &block) {
    SmallVector<qp::ExpertLinearOp> ends;
    for (auto op : block.getOps<qp::ExpertLinearOp>())
      if (op.getOnto() && !op.next())
        ends.push_back(op);
    for (qp::ExpertLinearOp end : ends) {
      SmallVector<SmallVector<qp::ExpertLinearOp>> groups;
      SmallVector<qp::ExpertLinearOp> chain;
      for (qp::ExpertLinearOp op = end; op; op = op.before())
        chain.push_back(op);
      for (qp::ExpertLinearOp op : llvm::reverse(chain)) {
        auto group = llvm::find_if(groups, [&](auto &g) {
          return g[0].getInput() == op.getInput() &&
                 storedAlike(g[0].getExperts()[0], op.getExperts()[0]);
        });
        if (group == groups.end())
          group = &groups.emplace_back();
        group->push_back(op);
      }
      const bool named = llvm::all_of(chain, [](qp::ExpertLinearOp op) {
        return op.getSites().size() == op.getExperts().size();
      });
      if (named && groups.size() < chain.size())
        merge(groups, chain);
    }
  }

  /// One op for each of `groups`, in place of `chain`, whose end comes first.
  void merge(ArrayRef<SmallVector<qp::ExpertLinearOp>> groups,
             ArrayRef<qp::ExpertLinearOp> chain) {
    qp::ExpertLinearOp end = chain.front();
    OpBuilder builder(end); // all operands are known there
    Value rows;
    for (const auto &group : groups) {
      Value input = group.front()->getOperand(0);
      SmallVector<Value> weights;
      SmallVector<Attribute> sites;
      SmallVector<int64_t> numbers;
      SmallVector<Location> locations;
      for (qp::ExpertLinearOp op : group) {
        for (auto [i, weight] : llvm::enumerate(op.getExperts())) {
          weights.push_back(weight);
          numbers.push_back(op.numberOf(i));
        }
        llvm::append_range(sites, op.getSites());
        locations.push_back(op.getLoc());
      }
      // A bank names no numbers.
      const bool bank =
          groups.size() == 1 && llvm::equal(numbers, llvm::seq<int64_t>(0, numbers.size()));
      rows = qp::ExpertLinearOp::create(
          builder, builder.getFusedLoc(locations), end.getType(), input, end.getRoutes(), weights, rows,
          builder.getArrayAttr(sites),
          bank ? DenseI64ArrayAttr() : builder.getDenseI64ArrayAttr(numbers), end.getPerSlotAttr());
    }
    end.replaceAllUsesWith(rows);
    for (qp::ExpertLinearOp op : chain)
      op.erase();
    experts += chain.size() - groups.size();
  }

  void stackLinears(Block &block) {
    llvm::DenseMap<Value, SmallVector<qp::FusedLinearOp>> byInput;
    SmallVector<Value> order;
    for (auto linear : block.getOps<qp::FusedLinearOp>()) {
      // What an earlier run has fused stays as it is.
      if (linear.getResidual() || linear.getOutputs().size() != 1)
        continue;
      auto &list = byInput[linear.getInput()];
      if (list.empty())
        order.push_back(linear.getInput());
      list.push_back(linear);
    }
    for (Value input : order) {
      SmallVector<qp::FusedLinearOp> &list = byInput[input];
      while (!list.empty()) {
        SmallVector<qp::FusedLinearOp> alike, rest;
        for (qp::FusedLinearOp op : list)
          (op == list[0] || stackable(list[0], op) ? alike : rest).push_back(op);
        if (alike.size() > 1)
          stack(alike);
        list = rest;
      }
    }
  }

  void stack(SmallVector<qp::FusedLinearOp> parts) {
    SmallVector<Value> weights, biases;
    SmallVector<StringRef> sites;
    SmallVector<Type> types;
    SmallVector<Location> locations;
    qp::FusedLinearOp first = parts[0];
    for (qp::FusedLinearOp part : parts) {
      llvm::append_range(weights, part.getWeights());
      llvm::append_range(biases, part.getBiases());
      sites.push_back(cast<StringAttr>(part.getSites()[0]).getValue());
      types.push_back(part.getOutputs()[0].getType());
      locations.push_back(part.getLoc());
    }
    // Operands of later parts are weights: they can move up to the first.
    for (Value operand : llvm::concat<Value>(weights, biases))
      hoist(operand, first);
    Value input = first.getInput();
    OpBuilder builder(first);
    auto fused = qp::FusedLinearOp::create(
        builder, builder.getFusedLoc(locations), types, input, weights, biases,
        Value(), first.getOutliers(), builder.getStrArrayAttr(sites), builder.getF64FloatAttr(1.0));
    for (auto [part, output] : llvm::zip(parts, fused.getOutputs())) {
      part.getOutputs()[0].replaceAllUsesWith(output);
      part.erase();
    }
    linears += parts.size();
  }

  /// Moves the chain of weight ops that defines `value` before `place`.
  void hoist(Value value, Operation *place) {
    Operation *op = value.getDefiningOp();
    if (!op || op->isBeforeInBlock(place))
      return;
    for (Value operand : op->getOperands())
      hoist(operand, place);
    op->moveBefore(place);
  }

  /// add(residual, linear(x)) -> linear(x) on top of the residual.
  void absorbResiduals(Block &block) {
    for (qp::AddOp add : llvm::make_early_inc_range(block.getOps<qp::AddOp>())) {
      auto linear = add.getRhs().getDefiningOp<qp::FusedLinearOp>();
      if (!linear || linear.getWeights().size() != 1 || linear.getResidual() ||
          !add.getRhs().hasOneUse() || add.getLhs() == add.getRhs())
        continue;
      OpBuilder builder(add);
      auto fused = qp::FusedLinearOp::create(
          builder, linear.getLoc(), TypeRange{add.getType()}, linear.getInput(),
          linear.getWeights(), linear.getBiases(), add.getLhs(), linear.getOutliers(),
          linear.getSites(),
          add.getScaleAttr());
      add.replaceAllUsesWith(fused.getOutputs()[0]);
      add.erase();
      linear.erase();
    }
  }

  /// quantize(norm(x)) -> norm that gives packed values, when that is its only use
  /// and the sums of codes that its readers need have one granularity.
  void packResults(Block &block) {
    for (qp::QuantizeOp quantize : llvm::make_early_inc_range(block.getOps<qp::QuantizeOp>())) {
      Operation *producer = quantize.getInput().getDefiningOp();
      if (!isa_and_nonnull<qp::RmsNormOp, qp::GatedOp>(producer) ||
          !quantize.getInput().hasOneUse() || quantize.getScaleAttr() ||
          quantize.getThresholdAttr() ||
          !formatInfo(formatOf(quantize.getType())).isInteger())
        continue;
      if (auto norm = dyn_cast<qp::RmsNormOp>(producer); norm && norm.getGroups() != 1)
        continue;
      std::optional<int64_t> group;
      bool agree = llvm::all_of(quantize->getUsers(), [&](Operation *user) {
        auto linear = dyn_cast<qp::FusedLinearOp>(user);
        if (!linear)
          return false;
        int64_t columns = formatInfo(formatOf(linear.getWeights()[0].getType())).groupColumns;
        bool same = !group || *group == columns;
        group = columns;
        return same;
      });
      if (!agree)
        continue;
      producer->getResult(0).setType(quantize.getType());
      quantize.replaceAllUsesWith(producer->getResult(0));
      quantize.erase();
    }
  }

  void eraseDead(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (op.use_empty() &&
          isa<qp::WeightOp, qp::QuantizeOp, qp::DequantizeOp, qp::OutliersOp, qp::AddOp>(op))
        op.erase();
  }
};

} // namespace
