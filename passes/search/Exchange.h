//===- Exchange.h - from the additive answer to the assembled one -*- C++ -*-===//
//
// The search adds up what groups do alone. Together they do a little less or more, so the
// answer is improved by exchanges: one group gives up size, another takes it, and the
// assembled model's own divergence decides. A pure function of what the callback measures.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_EXCHANGE_H
#define QPLAN_PASSES_SEARCH_EXCHANGE_H

#include "passes/search/Budgets.h"

#include <llvm/ADT/STLFunctionalExtras.h>

namespace qplan {

/// Measures the divergence of the model with `choice` (one candidate for each group), in nats.
using MeasureChoice = llvm::function_ref<llvm::Expected<double>(llvm::ArrayRef<uint32_t> choice)>;

/// What exchanges brought.
struct Exchanged {
  FrontPoint point;   ///< the last choice, its measuredKl set
  double before = 0;  ///< measured divergence of the choice that was given
  unsigned tried = 0; ///< exchanges that were measured
  unsigned taken = 0; ///< and kept
};

/// At most `rounds` rounds of exchanges of eight trials each, from `start`; a round without a
/// gain ends them. Only choices within `budgets` are tried, those first whose predicted
/// divergence is least; one is kept when the measured divergence falls. Equal arguments and
/// measurements give the same choice. Errors are those of `measure`.
llvm::Expected<Exchanged> exchange(const SearchFront &front, const Budgets &budgets,
                                   std::vector<uint32_t> start, unsigned rounds,
                                   MeasureChoice measure);

} // namespace qplan
#endif // QPLAN_PASSES_SEARCH_EXCHANGE_H
