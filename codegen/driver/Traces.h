//===- Traces.h - what rounding does to the outputs of a site ----*- C++ -*-===//
//
// The expected square of the error of a linear's outputs is tr(dW H dW^T) for its
// weights, H = mean x x^T, and sum over columns j of E[e_j^2] sum over rows r of W_rj^2
// for the rounding e of its rows. Both are exact, up to this: some rows of each matrix,
// which lie evenly, stand for all (rows are rounded apart from each other), and so do
// some of the rows that entered.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_TRACES_H
#define QPLAN_CODEGEN_DRIVER_TRACES_H

#include "codegen/driver/RoundedSites.h"
#include "ir/weights/WeightRounding.h"
#include "ir/weights/WeightStore.h"
#include "passes/Sites.h"
#include "passes/moments/MomentMethod.h"
#include "passes/search/Statistics.h"

namespace qplan {

/// Rows of an input that are sampled for the rounding of activations.
inline constexpr int64_t sampledInputRows = 512;

/// Under which names Statistics::traces keeps the two terms of a treatment. The first does
/// not depend on the activations where factors do not; the second is empty without activations.
std::string weightTraceName(const Treatment &treatment);
std::string inputTraceName(const Treatment &treatment);

/// How the codec rounds weights of `site` under `treatment`.
WeightRounding codecRounding(const Site &site, const Treatment &treatment,
                             const Statistics &statistics);

/// Rounds a row in place, which may be done by several threads.
using RowRounding = std::function<llvm::Error(float *row, int64_t columns)>;

/// What `treatment`, which has an activation format, does to the rows that enter `site`, divided
/// by `factors` (empty: none) meanwhile. Static scales are from the largest magnitude. Errors
/// (input): statistics without the site.
llvm::Expected<RowRounding> inputRounding(const Site &site, const Treatment &treatment,
                                          llvm::ArrayRef<float> factors,
                                          const Statistics &statistics);

/// Whether TraceMeter::round() has something to do.
bool needsPreparation(const Treatment &treatment);

/// Whether `treatment` multiplies the columns of weights by factors and divides what enters.
bool hasFactors(const Treatment &treatment);

/// The traces of one input after the other.
class TraceMeter {
public:
  /// Reads column ranges from `statistics` and writes traces into it.
  TraceMeter(WeightStore &store, Statistics &statistics, unsigned threads)
      : store(store), statistics(statistics), threads(threads) {}

  /// Fills in what the statistics lack of `treatments` at `sites`, which all read the input whose
  /// `moments` and rows [n, columns] are given. Errors: those of methods, reading and encoding.
  llvm::Error measure(llvm::ArrayRef<Site> sites, llvm::ArrayRef<Treatment> treatments,
                      const InputMoments &moments, llvm::ArrayRef<float> rows);

  /// All rows of `sites`, which read one input, as the method of each one's treatment chooses
  /// them, kept as blobs.
  llvm::Expected<std::vector<RoundedSite>> round(llvm::ArrayRef<Site> sites,
                                                 llvm::ArrayRef<Treatment> treatments,
                                                 const InputMoments &moments);

private:
  /// The same for treatments whose factors are those of all `sites`.
  llvm::Error measureTogether(llvm::ArrayRef<Site> sites, llvm::ArrayRef<Treatment> treatments,
                              const InputMoments &moments, llvm::ArrayRef<float> rows);

  WeightStore &store;
  Statistics &statistics;
  unsigned threads;
};

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_TRACES_H
