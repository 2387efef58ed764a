//===- Factor.cpp - from second moments to shares of errors ---------------===//
//
// With columns in the order in which they are rounded, H^-1 = U^T U and the error of
// column i takes U[i][j] / U[i][i] of itself off each later column j. Nothing is
// inverted: the Cholesky factor L of H with columns in reverse gives U, reversed, as
// L^-1, column by column.
//
//===----------------------------------------------------------------------===//

#include "passes/gptq/Gptq.h"

#include "ir/Failure.h"
#include "ir/ParallelFor.h"
#include "passes/gptq/Wide.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

using namespace qplan;
using namespace qplan::gptq;

namespace {

constexpr int64_t panel = 64;

QPLAN_VECTOR_CLONES void subtractProduct(double *out, const double *a, int64_t terms,
                                         const double *b, int64_t stride, int64_t n) {
  subtractProductInline<double>(out, a, terms, b, stride, n);
}

/// Columns begin <= c < end of row `row` of the factor, whose columns before are done.
void solveRow(double *a, int64_t n, int64_t row, int64_t begin, int64_t end) {
  double *target = a + row * n;
  for (int64_t c = begin; c < end; ++c) {
    const double *other = a + c * n;
    double sum = target[c];
    for (int64_t p = begin; p < c; ++p)
      sum -= target[p] * other[p];
    target[c] = sum / other[c];
  }
}

/// Replaces the lower triangle of a[n, n] by its Cholesky factor; false if a pivot is not
/// positive. The upper triangle becomes meaningless.
bool factorize(std::vector<double> &a, int64_t n, unsigned threads) {
  std::vector<double> across(size_t(panel * n)); // the panel's columns, as rows
  for (int64_t begin = 0; begin < n; begin += panel) {
    const int64_t end = std::min(begin + panel, n), width = end - begin;
    for (int64_t row = begin; row < end; ++row) {
      solveRow(a.data(), n, row, begin, row);
      double pivot = a[row * n + row];
      for (int64_t p = begin; p < row; ++p)
        pivot -= a[row * n + p] * a[row * n + p];
      if (!(pivot > 0))
        return false;
      a[row * n + row] = std::sqrt(pivot);
    }
    const int64_t rest = n - end, chunks = (rest + panel - 1) / panel;
    parallelFor(chunks, threads, [&](int64_t chunk) {
      for (int64_t row = end + chunk * panel; row < std::min(end + (chunk + 1) * panel, n); ++row) {
        solveRow(a.data(), n, row, begin, end);
        for (int64_t p = 0; p < width; ++p)
          across[p * n + row] = a[row * n + begin + p];
      }
    });
    // Later rows are longer: they first.
    parallelFor(chunks, threads, [&](int64_t i) {
      const int64_t first = end + (chunks - 1 - i) * panel;
      for (int64_t row = first; row < std::min(first + panel, n); ++row)
        subtractProduct(&a[row * n + end], &a[row * n + begin], width, &across[end], n,
                        row - end + 1);
    });
  }
  return true;
}

/// Rows of L^-1 times L's diagonal, columns begin <= c < end, to the places where errors are
/// fed forward from: element (r, c) is the share of step n-1-r that step n-1-c takes.
void invertColumns(const std::vector<double> &factor, int64_t n, int64_t begin, int64_t end,
                   std::vector<float> &feedback) {
  std::vector<double> solved(size_t((n - begin) * panel), 0.0); // row r at (r - begin) * panel
  for (int64_t r = begin; r < n; ++r) {
    double *row = &solved[(r - begin) * panel];
    if (r < end)
      row[r - begin] = 1.0;
    subtractProduct(row, &factor[r * n + begin], r - begin, solved.data(), panel, panel);
    const double pivot = factor[r * n + r];
    for (int64_t c = begin; c < std::min(end, r); ++c)
      feedback[(n - 1 - c) * n + (n - 1 - r)] = float(row[c - begin]);
    for (int64_t c = 0; c < panel; ++c)
      row[c] /= pivot;
  }
}

} // namespace

llvm::Expected<GptqFactor> GptqFactor::create(llvm::ArrayRef<double> gram, int64_t columns,
                                              uint64_t count, const GptqOptions &options,
                                              unsigned threads, llvm::StringRef subject) {
  const int64_t n = columns;
  for (double value : gram)
    if (!std::isfinite(value))
      return inputError("{}: its input becomes NaN or infinite on the calibration text; the "
                        "weights are broken or overflow f32",
                        subject.str());
  const double scale = 1.0 / double(std::max<uint64_t>(count, 1));
  GptqFactor made;
  made.diagonal.resize(size_t(n));
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) {
    double square = gram[i * n + i] * scale;
    made.diagonal[i] = float(square);
    mean += square / double(n);
  }
  made.order.resize(size_t(n));
  std::iota(made.order.begin(), made.order.end(), 0);
  if (options.actOrder)
    std::sort(made.order.begin(), made.order.end(), [&](int32_t a, int32_t b) {
      return std::pair(-made.diagonal[a], a) < std::pair(-made.diagonal[b], b);
    });
  std::vector<double> reversed(size_t(n * n));
  parallelFor(n, threads, [&](int64_t r) {
    const int64_t row = made.order[n - 1 - r];
    for (int64_t c = 0; c <= r; ++c)
      reversed[r * n + c] = gram[row * n + made.order[n - 1 - c]] * scale;
    // A column without values has no error to feed: any pivot will do. The others are damped by
    // their own size: massive activations make the mean a thousand times the usual one, and as
    // much damping for all would leave no feedback among the columns that most tokens use.
    reversed[r * n + r] = gram[row * n + row] > 0 ? reversed[r * n + r] * (1 + options.damp) : 1.0;
  });
  if (options.sweeps > 0) {
    made.moments.resize(size_t(n * n));
    parallelFor(n, threads, [&](int64_t r) {
      for (int64_t c = 0; c <= r; ++c) {
        const float value = float(reversed[r * n + c]);
        made.moments[(n - 1 - r) * n + (n - 1 - c)] = made.moments[(n - 1 - c) * n + (n - 1 - r)] =
            value;
      }
    });
  }
  if (!factorize(reversed, n, threads))
    return inputError("{}: the second moments of its input are singular in f64 with damp={}; give "
                      "more text (--calib-samples) or raise damp",
                      subject.str(), options.damp);
  made.pivots.resize(size_t(n));
  for (int64_t j = 0; j < n; ++j) {
    const double pivot = reversed[(n - 1 - j) * (n + 1)];
    const bool isDead = !(gram[made.order[j] * (n + 1)] > 0);
    made.pivots[j] = static_cast<float>(isDead ? options.damp * mean : pivot * pivot);
  }
  made.feedback.resize(size_t(n * n));
  parallelFor((n + panel - 1) / panel, threads, [&](int64_t i) {
    invertColumns(reversed, n, i * panel, std::min((i + 1) * panel, n), made.feedback);
  });
  return made;
}
