//===- SmoothFactors.h - SmoothQuant's factors at a given alpha --*- C++ -*-===//
//
// s[j] = a[j]^alpha / w[j]^(1 - alpha), clamped to [1e-4, 1e4] and 1 for dead columns,
// with a the largest magnitude of column j of the input and w that of the weights that
// read it (arXiv:2211.10438). Normalisation is left to the scales.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SMOOTHFACTORS_H
#define QPLAN_PASSES_SMOOTHFACTORS_H

#include "ir/weights/WeightStore.h"
#include "passes/Sites.h"
#include "passes/search/Statistics.h"

namespace qplan {

/// Largest magnitudes of the columns of an input and of the weights that read it.
struct ColumnRanges {
  std::vector<float> input, weight; ///< [columns]

  std::vector<float> factors(double alpha) const;
};

/// Of `sites` (not empty), which read one input, as their weights are now. Errors: statistics
/// that lack the first site or have other columns; those of reading.
llvm::Expected<ColumnRanges> columnRanges(llvm::ArrayRef<Site> sites, const Statistics &statistics,
                                          WeightStore &weights);

} // namespace qplan

#endif // QPLAN_PASSES_SMOOTHFACTORS_H
