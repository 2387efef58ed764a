//===- SmoothFactors.cpp - SmoothQuant's factors at a given alpha ---------===//
//
// See SmoothFactors.h.
//
//===----------------------------------------------------------------------===//

#include "passes/SmoothFactors.h"

#include "ir/Failure.h"

#include <cmath>

using namespace qplan;

std::vector<float> ColumnRanges::factors(double alpha) const {
  std::vector<float> s(input.size(), 1.0f);
  for (size_t j = 0; j < s.size(); ++j)
    if (input[j] > 0 && weight[j] > 0)
      s[j] = float(std::clamp(std::pow(double(input[j]), alpha) /
                                  std::pow(double(weight[j]), 1 - alpha),
                              1e-4, 1e4));
  return s;
}

static llvm::Error addMaxima(mlir::Value weight, WeightStore &weights, std::vector<float> &w) {
  auto view = weights.open(weightUnder(weight).getSource());
  if (!view)
    return view.takeError();
  constexpr int64_t rowsAtOnce = 16;
  std::vector<float> rows(rowsAtOnce * w.size());
  for (int64_t first = 0; first < view->rows(); first += rowsAtOnce) {
    int64_t count = std::min(rowsAtOnce, view->rows() - first);
    if (auto error = view->readRows(first, count, rows.data()))
      return error;
    for (int64_t r = 0; r < count; ++r)
      for (size_t j = 0; j < w.size(); ++j)
        w[j] = std::max(w[j], std::fabs(rows[r * w.size() + j]));
  }
  return llvm::Error::success();
}

llvm::Expected<ColumnRanges> qplan::columnRanges(llvm::ArrayRef<Site> sites,
                                                 const Statistics &statistics,
                                                 WeightStore &weights) {
  auto found = statistics.neededInputOf(sites[0].name);
  if (!found)
    return found.takeError();
  ColumnRanges ranges{found->absMax, {}};
  ranges.weight.assign(ranges.input.size(), 0.0f);
  for (const Site &site : sites) {
    if (size_t(site.columns) != ranges.input.size())
      return inputError("site {}: the statistics are of {} columns, the site has {}", site.name,
                        ranges.input.size(), site.columns);
    for (unsigned i = 0; i < site.weightCount; ++i)
      if (auto error = addMaxima(site.weight(i), weights, ranges.weight))
        return std::move(error);
  }
  return ranges;
}
