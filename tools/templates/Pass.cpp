//===- @Name@.cpp - @summary@ @@fill===//
//
// @summary@. Passes.td says when the pass runs, what it assumes and what it
// guarantees; this comment says why it works the way it does.
//
//===----------------------------------------------------------------------===//
#include "passes/Passes.h"

namespace qplan {
#define GEN_PASS_DEF_@NAME@
#include "passes/Passes.h.inc"

namespace {

struct @Name@ : impl::@Name@Base<@Name@> {
  void runOnOperation() override {
    getOperation().walk([&](mlir::Operation *) { ++visited; });
  }
};

} // namespace
} // namespace qplan
