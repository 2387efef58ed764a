//===- FactorSearch.cpp - which factors for the columns of an input -------===//
//
// See FactorSearch.h. All candidates are tried on one tile of rows after the other, so
// that weights are read once.
//
//===----------------------------------------------------------------------===//

#include "passes/moments/FactorSearch.h"
#include "ir/codecs/Elements.h"

#include <algorithm>
#include <cmath>

using namespace qplan;

namespace {

/// Tiles of a weight that stand for all of its rows.
constexpr int64_t triedTiles = 16;

/// What the columns of all weights look like, over their rows.
struct WeightColumns {
  std::vector<double> share;   ///< mean of |w| / (largest |w| of its group)
  std::vector<double> squares; ///< sum of w^2
  std::vector<float> largest;  ///< |w|
};

/// One tile's part of WeightColumns; shares are summed.
struct TileColumns {
  std::vector<float> share, squares, largest;

  void add(const float *row, int64_t columns, int64_t group) {
    for (int64_t begin = 0; begin < columns; begin += group) {
      const int64_t end = std::min(begin + group, columns);
      float top = 0;
      for (int64_t j = begin; j < end; ++j) {
        const float magnitude = std::fabs(row[j]);
        top = std::max(top, magnitude);
        largest[j] = std::max(largest[j], magnitude);
        squares[j] += row[j] * row[j];
      }
      if (top > 0)
        for (int64_t j = begin; j < end; ++j)
          share[j] += std::fabs(row[j]) / top;
    }
  }
};

llvm::Expected<WeightColumns> summarize(const FactorProblem &problem) {
  const int64_t columns = problem.moments.columns;
  const std::vector<float> zeros(size_t(columns), 0.0f);
  WeightColumns all{std::vector<double>(size_t(columns), 0.0),
                    std::vector<double>(size_t(columns), 0.0), zeros};
  double rows = 0;
  for (const MomentWeight &weight : problem.weights) {
    const FormatInfo &info = formatInfo(weight.treatment.weight);
    const int64_t group = info.groupColumns ? info.groupColumns : columns;
    const int64_t tiles = (weight.rows + errorTileRows - 1) / errorTileRows;
    std::vector<TileColumns> parts(size_t(tiles), TileColumns{zeros, zeros, zeros});
    auto read = [&](int64_t t, int64_t first, int64_t count) -> llvm::Error {
      std::vector<float> values(size_t(count * columns));
      if (auto failure = weight.read(first, count, values.data()))
        return failure;
      for (int64_t r = 0; r < count; ++r)
        parts[t].add(values.data() + r * columns, columns, group);
      return llvm::Error::success();
    };
    if (auto error = forEachTile(weight.rows, problem.threads, read))
      return std::move(error);
    for (const TileColumns &part : parts) // in order: independent of threads
      for (int64_t j = 0; j < columns; ++j) {
        all.share[j] += part.share[j];
        all.squares[j] += part.squares[j];
        all.largest[j] = std::max(all.largest[j], part.largest[j]);
      }
    rows += double(weight.rows);
  }
  for (double &share : all.share)
    share /= std::max(rows, 1.0);
  return all;
}

/// Factors within [1e-4, 1e4], their largest and least each other's inverse; 1 for columns
/// where nothing enters.
std::vector<float> normalized(std::vector<double> s, const InputMoments &moments) {
  double low = 1e4, high = 1e-4;
  for (size_t j = 0; j < s.size(); ++j) {
    if (!(moments.absMax[j] > 0))
      continue;
    s[j] = std::clamp(s[j], 1e-4, 1e4);
    low = std::min(low, s[j]);
    high = std::max(high, s[j]);
  }
  const double middle = std::sqrt(low * high);
  std::vector<float> factors(s.size(), 1.0f);
  for (size_t j = 0; j < s.size(); ++j)
    if (moments.absMax[j] > 0)
      factors[j] = float(s[j] / middle);
  return factors;
}

/// A family of candidates: s = size^alpha, over weight^(1 - alpha) if `weight` is not null.
struct Family {
  const std::vector<float> &size;
  const std::vector<double> *weight;
};

std::vector<float> factorsAt(const FactorProblem &problem, const Family &family, double alpha) {
  std::vector<double> s(family.size.size());
  for (size_t j = 0; j < s.size(); ++j) {
    s[j] = std::pow(std::max(double(family.size[j]), 1e-30), alpha);
    if (family.weight)
      s[j] /= std::pow(std::max((*family.weight)[j], 1e-6), 1 - alpha);
  }
  std::vector<float> factors = normalized(std::move(s), problem.moments);
  problem.legal(factors);
  return factors;
}

/// The rounding errors of one tile of rows at one candidate after the other.
class TrialTile {
public:
  TrialTile(const OutputError &output, const MomentWeight &weight, ScaleRule rule)
      : output(output), weight(weight), codec(codecFor(weight.treatment.weight)), rule(rule),
        columns(output.columns()), values(size_t(errorTileRows * columns)),
        back(size_t(errorTileRows * columns)), scaled(size_t(columns)),
        importance(size_t(columns)), change(size_t(errorTileRows * columns)),
        encoded(codec.bytesPerRow(columns)) {}

  llvm::Error read(int64_t first, int64_t rows) {
    firstRow = first;
    count = rows;
    return weight.read(first, rows, values.data());
  }

  /// `side` is what the format keeps beside the rows at these factors.
  llvm::Error add(llvm::ArrayRef<float> factors, llvm::ArrayRef<float> side, double &sum) {
    EncodeOptions options;
    options.rule = rule;
    options.subject = weight.subject;
    if (rule == ScaleRule::Mse) {
      for (int64_t j = 0; j < columns; ++j)
        importance[j] = output.meanSquare(j) / (factors[j] * factors[j]);
      options.importance = importance.data();
    }
    for (int64_t r = 0; r < count; ++r) {
      const float *row = values.data() + r * columns;
      for (int64_t j = 0; j < columns; ++j)
        scaled[j] = row[j] * factors[j];
      options.row = firstRow + r;
      options.tensor = {side, firstRow + r};
      if (auto error = codec.encodeRow(scaled.data(), columns, options, encoded.data()))
        return error;
      float *rounded = back.data() + r * columns;
      codec.decodeRow(encoded.data(), columns, rounded, options.tensor);
      for (int64_t j = 0; j < columns; ++j)
        rounded[j] = rounded[j] / factors[j] - row[j];
    }
    transposeTile(back.data(), count, columns, change.data());
    sum += output.of(change.data());
    return llvm::Error::success();
  }

private:
  const OutputError &output;
  const MomentWeight &weight;
  const Codec &codec;
  ScaleRule rule;
  int64_t columns, firstRow = 0, count = 0;
  std::vector<float> values, back, scaled, importance, change;
  std::vector<uint8_t> encoded;
};

/// What the format of `weight` keeps beside its rows at `factors`; empty: nothing.
llvm::Expected<std::vector<float>> sideAt(const MomentWeight &weight,
                                          llvm::ArrayRef<float> factors) {
  const int64_t columns = int64_t(factors.size());
  SideObserver observer(weight.treatment.weight, weight.rows, columns);
  if (!observer.isNeeded())
    return std::vector<float>();
  std::vector<float> row(factors.size());
  for (int64_t r = 0; r < weight.rows; ++r) {
    if (auto error = weight.read(r, 1, row.data()))
      return std::move(error);
    for (size_t j = 0; j < row.size(); ++j)
      row[j] *= factors[j];
    if (auto error = observer.observe(r, row.data(), weight.subject))
      return std::move(error);
  }
  return observer.values();
}

/// The weights' error at each of `candidates`.
llvm::Expected<std::vector<double>> weightErrors(const FactorProblem &problem,
                                                 const OutputError &output,
                                                 llvm::ArrayRef<std::vector<float>> candidates) {
  std::vector<double> errors(candidates.size(), 0.0);
  for (const MomentWeight &weight : problem.weights) {
    const int64_t tiles = (weight.rows + errorTileRows - 1) / errorTileRows;
    const int64_t tried = std::min(tiles, triedTiles);
    const std::vector<double> zeros(candidates.size(), 0.0);
    std::vector<std::vector<double>> parts(size_t(tried), zeros);
    std::vector<std::vector<float>> sides;
    for (const std::vector<float> &factors : candidates) {
      auto side = sideAt(weight, factors);
      if (!side)
        return side.takeError();
      sides.push_back(std::move(*side));
    }
    auto trial = [&](int64_t t, int64_t, int64_t) -> llvm::Error {
      const int64_t first = t * tiles / tried * errorTileRows;
      TrialTile tile(output, weight, problem.rule);
      if (auto failure = tile.read(first, std::min(errorTileRows, weight.rows - first)))
        return failure;
      for (size_t c = 0; c < candidates.size(); ++c)
        if (auto failure = tile.add(candidates[c], sides[c], parts[t][c]))
          return failure;
      return llvm::Error::success();
    };
    if (auto error = forEachTile(tried * errorTileRows, problem.threads, trial))
      return std::move(error);
    for (const std::vector<double> &part : parts)
      for (size_t c = 0; c < candidates.size(); ++c)
        errors[c] += part[c] * double(tiles) / double(tried);
  }
  return errors;
}

/// Expected squares of what rounding to an activation format changes in columns of x / s.
class ActivationNoise {
public:
  ActivationNoise(const InputMoments &moments, std::optional<FormatId> format)
      : moments(moments),
        info(format && formatInfo(*format).elementBits <= 8 ? &formatInfo(*format) : nullptr) {}

  /// Sum over columns of noise * s^2 * squares: the error of the outputs.
  double of(llvm::ArrayRef<float> s, llvm::ArrayRef<double> squares) const {
    if (!info)
      return 0;
    const int64_t n = moments.columns;
    const int64_t group = info->groupColumns ? info->groupColumns : n;
    double sum = 0;
    for (int64_t begin = 0; begin < n; begin += group) {
      const int64_t end = std::min(begin + group, n);
      double top = 0;
      for (int64_t j = begin; j < end; ++j)
        top = std::max(top, reach(j) / s[j]);
      for (int64_t j = begin; j < end; ++j)
        sum += noise(j, s[j], top) * s[j] * s[j] * squares[j];
    }
    return sum;
  }

private:
  /// The size of column `j` that sets scales: of one scale for all rows the largest; of one for
  /// each row what a row's largest typically is.
  double reach(int64_t j) const {
    const double largest = moments.absMax[j];
    const bool isStatic = info->isPerTensor() && !info->isGrouped();
    return isStatic ? largest : std::min(largest, 4 * std::sqrt(moments.meanSquare(j)));
  }

  double noise(int64_t j, double s, double top) const {
    const double square = moments.meanSquare(j) / (s * s);
    if (info->isInteger()) { // a column that is all below half a step is lost, no more
      const double step = top / scaleDivisor(info->id);
      return std::min(step * step / 12, square);
    }
    // A step is 2^-m of the power of two below a number: errors are uniform in it, and numbers in
    // their power of two nearly so. Below the normal numbers steps stay as they are.
    const Minifloat element = *minifloatOf(info->kind);
    const double least = std::ldexp(top / largestElement(info->id),
                                    1 - element.bias - element.mantissaBits);
    return std::ldexp(square / 24, -2 * element.mantissaBits) + std::min(least * least / 12, square);
  }

  const InputMoments &moments;
  const FormatInfo *info;
};

/// What candidates do to the outputs.
class OutputTrial {
public:
  /// Activations are rounded to `activation`, which is absent where they are not minded.
  OutputTrial(const FactorProblem &problem, const WeightColumns &columns,
              std::optional<FormatId> activation)
      : problem(problem), columns(columns), output(problem.moments),
        noise(problem.moments, activation) {}

  /// The error of weights and activations at each of `candidates`.
  llvm::Expected<std::vector<double>> errors(llvm::ArrayRef<std::vector<float>> candidates) const {
    auto errors = weightErrors(problem, output, candidates);
    if (errors)
      for (size_t c = 0; c < candidates.size(); ++c)
        (*errors)[c] += noise.of(candidates[c], columns.squares);
    return errors;
  }

private:
  const FactorProblem &problem;
  const WeightColumns &columns;
  const OutputError output;
  const ActivationNoise noise;
};

/// The best of alpha = 0, 0.1, ... 1 in each family and of no factors, then of 0.05 beside it.
llvm::Expected<std::vector<float>>
bestFactors(const FactorProblem &problem, const OutputTrial &trial,
            llvm::ArrayRef<Family> families) {
  struct Point {
    size_t family;
    double alpha;
  };
  std::vector<float> best(size_t(problem.moments.columns), 1.0f);
  double bestError = 0;
  std::optional<Point> bestPoint;
  auto tryAll = [&](llvm::ArrayRef<Point> points, bool alsoNone) -> llvm::Error {
    std::vector<std::vector<float>> candidates;
    if (alsoNone)
      candidates.push_back(best);
    for (const Point &point : points)
      candidates.push_back(factorsAt(problem, families[point.family], point.alpha));
    auto errors = trial.errors(candidates);
    if (!errors)
      return errors.takeError();
    for (size_t c = 0; c < candidates.size(); ++c) {
      const double error = (*errors)[c];
      if ((alsoNone && c == 0) || error < bestError) {
        bestError = error;
        if (!alsoNone || c > 0)
          bestPoint = points[c - alsoNone];
        best = candidates[c];
      }
    }
    return llvm::Error::success();
  };
  std::vector<Point> points;
  for (size_t f = 0; f < families.size(); ++f)
    for (int step = families[f].weight ? 0 : 1; step <= 10; ++step)
      points.push_back({f, step / 10.0});
  if (auto error = tryAll(points, true))
    return std::move(error);
  if (!bestPoint)
    return std::vector<float>();
  points.clear();
  for (double side : {-0.05, 0.05})
    if (double alpha = bestPoint->alpha + side; alpha > 0 && alpha < 1)
      points.push_back({bestPoint->family, alpha});
  if (auto error = tryAll(points, false))
    return std::move(error);
  return best;
}

/// Factors 2^max(0, m + round(log2(a / largest a))) for the sizes `a` of columns.
std::vector<float> binadesAt(const FactorProblem &problem, int m) {
  const std::vector<float> &sizes = problem.moments.absMax;
  const float largest = *std::max_element(sizes.begin(), sizes.end());
  std::vector<float> factors(sizes.size(), 1.0f);
  for (size_t j = 0; j < factors.size(); ++j)
    if (sizes[j] > 0) {
      const double binades = std::round(std::log2(double(sizes[j]) / largest));
      factors[j] = float(std::ldexp(1.0, std::max(0, m + int(std::max(binades, -1e3)))));
    }
  problem.legal(factors);
  return factors;
}

} // namespace

llvm::Expected<std::vector<float>> qplan::binadeFactors(const FactorProblem &problem, int most) {
  auto columns = summarize(problem);
  if (!columns)
    return columns.takeError();
  std::vector<std::vector<float>> candidates;
  for (int m = 0; m <= most; ++m)
    candidates.push_back(binadesAt(problem, m));
  auto errors =
      OutputTrial(problem, *columns, problem.weights[0].treatment.activation).errors(candidates);
  if (!errors)
    return errors.takeError();
  const size_t best = std::min_element(errors->begin(), errors->end()) - errors->begin();
  return best == 0 ? std::vector<float>() : candidates[best];
}

llvm::Expected<std::vector<float>> qplan::awqFactors(const FactorProblem &problem) {
  auto columns = summarize(problem);
  if (!columns)
    return columns.takeError();
  const std::vector<float> &size = problem.moments.meanAbs;
  // Factors of one site follow ModelOpt, which looks at the weights alone.
  const Treatment &treatment = problem.weights[0].treatment;
  const OutputTrial trial(problem, *columns,
                          treatment.hasOwnFactors() ? std::nullopt : treatment.activation);
  return bestFactors(problem, trial, {{size, &columns->share}, {size, nullptr}});
}

llvm::Expected<std::vector<float>> qplan::smoothFactors(const FactorProblem &problem) {
  auto columns = summarize(problem);
  if (!columns)
    return columns.takeError();
  const std::vector<float> &size = problem.moments.absMax;
  const std::vector<double> largest(columns->largest.begin(), columns->largest.end());
  const OutputTrial trial(problem, *columns, problem.weights[0].treatment.activation);
  return bestFactors(problem, trial, {{size, &largest}, {size, nullptr}});
}
