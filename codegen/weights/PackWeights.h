//===- PackWeights.h - the bytes of a plan's weights -------------*- C++ -*-===//
//
// Reads each weight of a plan from the checkpoint, applies its transforms,
// quantizes and packs it, a few panels at a time, in the order of their places.
// What is written depends on the plan alone, not on the number of threads.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_WEIGHTS_PACKWEIGHTS_H
#define QPLAN_CODEGEN_WEIGHTS_PACKWEIGHTS_H

#include "codegen/plan/PlanOps.h"
#include "ir/weights/WeightRounding.h"
#include "ir/weights/WeightStore.h"

#include <functional>

namespace qplan {

/// Takes `bytes` at `offset` (from the start of weights.bin); offsets rise.
using WeightSink = std::function<llvm::Error(uint64_t offset, llvm::ArrayRef<uint8_t> bytes)>;

struct PackOptions {
  unsigned threads = 1;
  /// Called with bytes done and bytes in all.
  std::function<void(uint64_t done, uint64_t total)> progress;
};

/// Packs all weights of `program`, whose places are assigned. Errors name the tensor.
llvm::Error packWeights(plan::ProgramOp program, WeightStore &store, const PackOptions &options,
                        const WeightSink &sink);

/// A trial: `weight` as it would be after rounding to `format`, in the plan's own format.
struct TrialRounding {
  FormatId format;
  WeightRounding rounding;      ///< how scales are chosen
  std::vector<float> factors = {}; ///< [columns]: rounds w * factors and divides; empty: none
  std::string source = {}; ///< weight reference to take instead, as it is; empty: none
};

/// The packed bytes of one weight, all of them at once.
llvm::Expected<std::vector<uint8_t>> packTrial(plan::WeightOp weight, WeightStore &store,
                                               const TrialRounding &rounding, unsigned threads);

} // namespace qplan

#endif // QPLAN_CODEGEN_WEIGHTS_PACKWEIGHTS_H
