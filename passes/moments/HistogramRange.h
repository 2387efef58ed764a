//===- HistogramRange.h - the range of a static activation scale -*- C++ -*-===//
//
// Which magnitude the largest code of a static scale stands for, given how often each
// magnitude occurs: not the largest, where that is rare. The rules are those of TensorRT's
// and ModelOpt's histogram calibrators, for 2048 bins.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_MOMENTS_HISTOGRAMRANGE_H
#define QPLAN_PASSES_MOMENTS_HISTOGRAMRANGE_H

#include "passes/search/Treatment.h"

namespace qplan {

/// Bins of a histogram, and the fewest that a range may keep.
inline constexpr int64_t histogramBins = 2048, leastBins = 128;

/// How often |x| was in each of histogramBins equal parts of [0, top]; top > 0, counts not all 0.
struct Histogram {
  double top = 0;
  std::vector<uint64_t> counts;
};

/// The lower end of the bin at which `percent` percent of the values are reached (at least one
/// bin).
double percentileRange(const Histogram &histogram, double percent);

/// The range of at least leastBins bins whose values, cut there and merged into 128 levels, have
/// the least Kullback-Leibler divergence from those cut alone; of equals the widest.
double entropyRange(const Histogram &histogram);

/// The centre of a bin (not before bin leastBins) that, as the range of `format`, makes the
/// squared error of the bins' centres least; of equals the smallest.
double mseRange(const Histogram &histogram, FormatId format);

/// By the parameters `range` and `percentile` of `treatment`, whose activation has one static
/// scale.
double rangeOf(const Histogram &histogram, const Treatment &treatment);

} // namespace qplan

#endif // QPLAN_PASSES_MOMENTS_HISTOGRAMRANGE_H
