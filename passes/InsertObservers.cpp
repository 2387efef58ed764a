//===- InsertObservers.cpp - watch the rows that enter each site ----------===//
//
// Sites, and the caches of keys and values: static scales of either come from here.
//
//===----------------------------------------------------------------------===//

#include "passes/Passes.h"
#include "passes/Sites.h"

#include <mlir/IR/Builders.h>

using namespace mlir;

namespace qplan {
#define GEN_PASS_DEF_INSERTOBSERVERS
#include "passes/Passes.h.inc"
} // namespace qplan

using namespace qplan;

namespace {
struct InsertObserversPass : qplan::impl::InsertObserversBase<InsertObserversPass> {
  void runOnOperation() override {
    llvm::DenseSet<Value> watched;
    for (const Site &site : collectSites(getOperation())) {
      Value input = site.input();
      if (!input || !watched.insert(input).second)
        continue;
      OpBuilder builder(site.op);
      qp::ObserveOp::create(builder, site.op->getLoc(), input, site.name);
      ++observers;
    }
    getOperation().walk([&](qp::AttentionOp op) {
      OpBuilder builder(op);
      qp::ObserveOp::create(builder, op.getLoc(), op.getKey(), keyCacheName(op));
      qp::ObserveOp::create(builder, op.getLoc(), op.getValue(), valueCacheName(op));
      observers += 2;
    });
  }
};
} // namespace
