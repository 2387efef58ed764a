//===- HistogramRange.cpp - the range of a static activation scale --------===//
//
// See HistogramRange.h.
//
//===----------------------------------------------------------------------===//

#include "passes/moments/HistogramRange.h"

#include "ir/codecs/Codec.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

using namespace qplan;

namespace {

constexpr int64_t entropyLevels = 128;

double edgeOf(const Histogram &histogram, int64_t bin) {
  return histogram.top * double(bin) / double(histogramBins);
}

/// KL(counts cut after `kept` bins || the same merged into entropyLevels levels).
double divergenceAt(const std::vector<double> &bins, int64_t kept) {
  double sums[entropyLevels] = {}, filled[entropyLevels] = {};
  double total = 0, mergedTotal = 0;
  for (int64_t i = 0; i < kept; ++i)
    if (bins[i] != 0) {
      const int64_t level = i * entropyLevels / kept;
      sums[level] += bins[i];
      filled[level] += 1;
    }
  const double beyond = std::accumulate(bins.begin() + kept, bins.end(), 0.0);
  for (int64_t i = 0; i < kept; ++i) {
    const int64_t level = i * entropyLevels / kept;
    total += bins[i];
    mergedTotal += bins[i] != 0 ? sums[level] / filled[level] : 0;
  }
  total += beyond;
  double divergence = 0;
  for (int64_t i = 0; i < kept; ++i) {
    const int64_t level = i * entropyLevels / kept;
    const double p = (bins[i] + (i == kept - 1 ? beyond : 0)) / total;
    const double q = bins[i] != 0 ? sums[level] / filled[level] / mergedTotal : 0;
    if (p > 0)
      divergence += q > 0 ? p * std::log(p / q) : std::numeric_limits<double>::infinity();
  }
  return divergence;
}

} // namespace

double qplan::percentileRange(const Histogram &histogram, double percent) {
  const double total = double(
      std::accumulate(histogram.counts.begin(), histogram.counts.end(), uint64_t(0)));
  double reached = 0;
  int64_t bin = 0;
  for (; bin < histogramBins - 1; ++bin) {
    reached += double(histogram.counts[bin]);
    if (reached / total >= percent / 100)
      break;
  }
  return edgeOf(histogram, std::max<int64_t>(bin, 1));
}

double qplan::entropyRange(const Histogram &histogram) {
  std::vector<double> bins(histogram.counts.begin(), histogram.counts.end());
  bins[0] = bins[1]; // zeros say nothing of a range
  double best = std::numeric_limits<double>::infinity();
  int64_t range = histogramBins;
  for (int64_t kept = leastBins; kept <= histogramBins; ++kept)
    if (double divergence = divergenceAt(bins, kept); divergence <= best) {
      best = divergence;
      range = kept;
    }
  return edgeOf(histogram, range);
}

double qplan::mseRange(const Histogram &histogram, FormatId format) {
  const Codec &codec = codecFor(format);
  std::vector<float> centers(histogramBins), back(histogramBins);
  for (int64_t i = 0; i < histogramBins; ++i)
    centers[i] = float(histogram.top * (double(i) + 0.5) / double(histogramBins));
  std::vector<uint8_t> encoded(codec.bytesPerRow(histogramBins));
  double least = std::numeric_limits<double>::infinity(), range = histogram.top;
  for (int64_t kept = leastBins; kept < histogramBins; ++kept) {
    const float scale = float(centers[kept] / scaleDivisor(format));
    const TensorSide side{scale, 0};
    EncodeOptions options;
    options.tensor = side;
    llvm::cantFail(codec.encodeRow(centers.data(), histogramBins, options, encoded.data()));
    codec.decodeRow(encoded.data(), histogramBins, back.data(), side);
    double error = 0;
    for (int64_t i = 0; i < histogramBins; ++i) {
      const double difference = double(back[i]) - centers[i];
      error += difference * difference * double(histogram.counts[i]);
    }
    if (error < least) {
      least = error;
      range = centers[kept];
    }
  }
  return range;
}

double qplan::rangeOf(const Histogram &histogram, const Treatment &treatment) {
  switch (treatment.range()) {
  case RangeRule::Percentile:
    return percentileRange(histogram, treatment.parameter("percentile"));
  case RangeRule::Entropy:
    return entropyRange(histogram);
  case RangeRule::Mse:
    return mseRange(histogram, *treatment.activation);
  case RangeRule::Max:
    break;
  }
  return histogram.top;
}
