//===- AssignMemory.cpp - places of buffers in the arena ------------------===//
//
// Interval packing: launches run in one order, so a buffer is alive from its
// first to its last mention. Largest first into the lowest free place is within
// a few percent of optimal for such programs and depends on nothing but the
// program (P. Gergov's and TFLite's greedy-by-size).
//
//===----------------------------------------------------------------------===//
#include "codegen/plan/Passes.h"
#include <llvm/ADT/MapVector.h>
#include <llvm/ADT/SmallPtrSet.h>
#include <tuple>

namespace qplan::plan {
#define GEN_PASS_DEF_PLANASSIGNMEMORY
#include "codegen/plan/Passes.h.inc"

using namespace mlir;

namespace {

/// Life and place of one buffer in one dimension (bytes per token, or fixed).
struct Interval {
  BufferOp buffer;
  int64_t first; ///< index of the first launch that names it
  int64_t last;
  size_t order; ///< of first mention: breaks ties
  int64_t bytes = 0;
  int64_t place = 0;
  bool sharesLifeWith(const Interval &other) const {
    return first <= other.last && other.first <= last;
  }
};

/// Gives every interval its place; returns the extent of all.
int64_t pack(SmallVectorImpl<Interval *> &intervals) {
  llvm::sort(intervals, [](auto *a, auto *b) {
    return std::tie(b->bytes, a->order) < std::tie(a->bytes, b->order);
  });
  int64_t extent = 0;
  SmallVector<Interval *> placed; // by ascending place
  for (Interval *interval : intervals) {
    int64_t place = 0;
    for (Interval *other : placed) {
      if (!interval->sharesLifeWith(*other))
        continue;
      if (other->place - place >= interval->bytes)
        break;
      place = std::max(place, other->place + other->bytes);
    }
    interval->place = place;
    extent = std::max(extent, place + interval->bytes);
    auto behind = llvm::upper_bound(placed, interval,
                                    [](auto *a, auto *b) { return a->place < b->place; });
    placed.insert(behind, interval);
  }
  return extent;
}

struct AssignMemory : impl::PlanAssignMemoryBase<AssignMemory> {
  void runOnOperation() override {
    if (failed(collectLives()))
      return signalPassFailure();
    eraseUnused();
    assign();
  }

private:
  using Lives = llvm::MapVector<StringAttr, Interval>;
  Lives lives;

  /// Lives of all buffers in order of first mention.
  LogicalResult collectLives() {
    lives.clear();
    SymbolTable table(getOperation());
    llvm::SmallPtrSet<Attribute, 16> written;
    int64_t time = 0;
    for (LaunchOp launch : getOperation().getLaunches()) {
      auto nameOf = [&](int64_t index) {
        return cast<FlatSymbolRefAttr>(launch.getBuffers()[index]).getAttr();
      };
      for (int64_t index : launch.getReads())
        if (!written.contains(nameOf(index)))
          return launch.emitOpError()
                 << "reads buffer @" << nameOf(index).getValue() << " before any launch wrote it";
      for (int64_t index : launch.getWrites())
        written.insert(nameOf(index));
      for (auto symbol : launch.getBuffers().getAsRange<FlatSymbolRefAttr>()) {
        Interval fresh{table.lookup<BufferOp>(symbol.getAttr()), time, time, lives.size()};
        lives.insert({symbol.getAttr(), fresh}).first->second.last = time;
      }
      ++time;
    }
    return success();
  }

  void eraseUnused() {
    for (BufferOp buffer : llvm::make_early_inc_range(getOperation().getBuffers()))
      if (!lives.contains(buffer.getSymNameAttr()))
        buffer.erase();
  }

  void assign() {
    SmallVector<Interval *> fixed, perToken, both;
    for (auto &[name, life] : lives) {
      bool hasFixed = life.buffer.getFixed() != 0, grows = life.buffer.getPerToken() != 0;
      life.bytes = grows ? life.buffer.getPerToken() : life.buffer.getFixed();
      (hasFixed && grows ? both : grows ? perToken : fixed).push_back(&life);
      bytesPerToken += life.buffer.getPerToken();
    }
    int64_t fixedExtent = pack(fixed), tokenExtent = pack(perToken);
    for (Interval *life : fixed)
      place(life->buffer, life->place, 0);
    for (Interval *life : perToken)
      place(life->buffer, fixedExtent, life->place);
    // Where both parts grow no sharing holds for every number of tokens.
    for (Interval *life : both) {
      place(life->buffer, fixedExtent, tokenExtent);
      fixedExtent += life->buffer.getFixed();
      tokenExtent += life->buffer.getPerToken();
    }
    getOperation().setArenaFixed(fixedExtent);
    getOperation().setArenaPerToken(tokenExtent);
    packedPerToken += tokenExtent;
  }

  static void place(BufferOp buffer, int64_t fixed, int64_t perToken) {
    buffer.setOffsetFixed(fixed);
    buffer.setOffsetPerToken(perToken);
  }
};

} // namespace
} // namespace qplan::plan
