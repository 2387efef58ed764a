//===- TapLayers.cpp - keep the rows that leave each layer ----------------===//
//
// Where a layer ends is read off the dataflow, not off an architecture: between its last
// site and the first of the next, the first place across which a single row value is
// alive. That is the residual stream, behind all sums of the layer.
//
//===----------------------------------------------------------------------===//

#include "passes/Passes.h"
#include "passes/Sites.h"

#include <llvm/ADT/MapVector.h>
#include <mlir/Dialect/Func/IR/FuncOps.h>
#include <mlir/IR/Builders.h>

using namespace mlir;

namespace qplan {
#define GEN_PASS_DEF_TAPLAYERS
#include "passes/Passes.h.inc"
} // namespace qplan

using namespace qplan;

namespace {

/// The number in "layers.N."; nothing for other sites.
std::optional<int64_t> layerOf(llvm::StringRef site) {
  int64_t layer = 0;
  if (!site.consume_front("layers.") || site.consumeInteger(10, layer) || !site.starts_with("."))
    return std::nullopt;
  return layer;
}

/// One row of values for each token: tensor<?xKxf32>.
bool isRows(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() == 2 && type.isDynamicDim(0) && type.getElementType().isF32();
}

/// The ops of one block in order, and when each value is last read.
class Timeline {
public:
  explicit Timeline(Block &block) {
    for (Operation &op : block) {
      index[&op] = ops.size();
      ops.push_back(&op);
    }
  }

  size_t indexOf(Operation *op) const { return index.lookup(op); }
  size_t size() const { return ops.size(); }

  /// The only row value that is alive behind op `cut`; null when there are more or none.
  Value onlyAliveBehind(size_t cut) const {
    Value found;
    for (size_t i = 0; i <= cut; ++i)
      for (Value result : ops[i]->getResults()) {
        if (!isRows(result) || !readBehind(result, cut))
          continue;
        if (found)
          return {};
        found = result;
      }
    return found;
  }

private:
  bool readBehind(Value value, size_t cut) const {
    return llvm::any_of(value.getUsers(), [&](Operation *user) {
      return !isa<qp::ObserveOp>(user) && index.lookup(user) > cut;
    });
  }

  std::vector<Operation *> ops;
  llvm::DenseMap<Operation *, size_t> index;
};

struct TapLayersPass : qplan::impl::TapLayersBase<TapLayersPass> {
  void runOnOperation() override {
    // First and last site op of each layer.
    llvm::MapVector<int64_t, std::pair<Operation *, Operation *>> layers;
    for (const Site &site : collectSites(getOperation()))
      if (auto layer = layerOf(site.name)) {
        auto &range = layers[*layer];
        range.first = range.first ? range.first : site.op;
        range.second = site.op;
      }
    if (layers.empty())
      return;
    Timeline timeline(*layers.front().second.first->getBlock());
    auto entries = layers.takeVector();
    for (size_t i = 0; i < entries.size(); ++i) {
      auto [layer, range] = entries[i];
      size_t end = i + 1 < entries.size() ? timeline.indexOf(entries[i + 1].second.first)
                                          : timeline.size() - 1;
      for (size_t cut = timeline.indexOf(range.second); cut < end; ++cut)
        if (Value value = timeline.onlyAliveBehind(cut)) {
          OpBuilder builder(value.getContext());
          builder.setInsertionPointAfterValue(value);
          qp::ObserveOp::create(builder, value.getLoc(), value, "layers." + std::to_string(layer),
                                /*gram=*/false, /*histogram=*/false, /*keep_rows=*/true);
          ++taps;
          break;
        }
    }
  }
};
} // namespace
