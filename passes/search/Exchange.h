//===- Exchange.h - from the additive answer to the assembled one -*- C++ -*-===//
//
// The search adds up predictions of what each group does alone. The assembled model knows
// better: what the chosen treatments really do, alone and together. With its measurements
// the budgets are answered again, which exchanges size between many groups at once, and
// the assembled model's divergence decides whether that is kept.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_EXCHANGE_H
#define QPLAN_PASSES_SEARCH_EXCHANGE_H

#include "passes/search/Budgets.h"

namespace qplan {

/// A candidate of a group, both by their numbers in the front.
struct GroupChoice {
  uint32_t group, candidate;
};

/// Measures choices on a model. All divergences are in nats, >= 0.
class ChoiceJudge {
public:
  virtual ~ChoiceJudge() = default;
  /// Of the model with `choice`, one candidate for each group.
  virtual llvm::Expected<double> together(llvm::ArrayRef<uint32_t> choice) = 0;
  /// Of the model with one group treated and all others exact, for each of `choices`.
  virtual llvm::Expected<std::vector<double>> alone(llvm::ArrayRef<GroupChoice> choices) = 0;
};

/// What exchanges brought.
struct Exchanged {
  FrontPoint point;    ///< the last choice, its measuredKl set
  double before = 0;   ///< measured divergence of the choice that was given
  unsigned tried = 0;  ///< choices that were measured besides
  unsigned moved = 0;  ///< groups whose candidate is another one in the end
};

/// At most `rounds` trials from `start`, a point of `front` within `budgets`. What is measured is
/// the model without its cache, whose divergence is added as it is known. A trial is the best
/// choice within them by what is known: cells measured alone are as measured, others scaled like the cells
/// nearest in bits among those of one method and family. Where a trial is not better than the best
/// so far by more than a thousandth, the next goes half as far from the predictions; a choice that
/// was measured before ends the search. With --max-kl, which the measured divergence then has to
/// keep, better is less excess, then the smaller plan (or the faster one, as in chooseWithin).
/// The predictions of `front` become what is known in the end. Equal arguments and measurements
/// give the same choice. Errors are those of the judge.
llvm::Expected<Exchanged> exchange(SearchFront &front, const Budgets &budgets,
                                   const FrontPoint &start, unsigned rounds,
                                   ChoiceJudge &judge);

} // namespace qplan
#endif // QPLAN_PASSES_SEARCH_EXCHANGE_H
