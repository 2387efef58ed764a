//===- BudgetMultipliers.cpp - where the Lagrangian bound is best ---------===//
//
// The dual of the knapsack is concave and piecewise linear in the multipliers. With one
// budget its top is where the relaxed cost comes down to the budget, found by bisection;
// with several the ellipsoid method finds it (Shor 1977): n^2 numbers of state, no slopes needed
// but one supergradient a step. Any multipliers give valid bounds, so rounding cannot hurt.
//
//===----------------------------------------------------------------------===//
#include "passes/search/BudgetCore.h"

#include <cmath>
#include <limits>

namespace qplan::budget {
namespace {

double dualValue(const IntegerProblem &problem, const Multipliers &multiplier,
                 const Relaxed &relaxed) {
  double value = relaxed.value;
  for (int k = 0; k < dimensions; ++k)
    value -= multiplier[k] * static_cast<double>(problem.budget[k]);
  return value;
}

/// Where the cost of dimension `k` comes down to its budget, other multipliers being 0.
/// Returns the smallest found that fits.
double bisect(const IntegerProblem &problem, int k) {
  auto fits = [&](double value) {
    Multipliers multiplier{};
    multiplier[k] = value;
    return relax(problem, multiplier).cost[k] <= static_cast<double>(problem.budget[k]);
  };
  if (fits(0))
    return 0;
  double low = 0, high = 1e-9;
  while (!fits(high) && high < 0x1p60) {
    low = high;
    high *= 8;
  }
  for (int step = 0; step < 90 && high - low > high * 1e-15; ++step) {
    double middle = low + (high - low) / 2;
    (fits(middle) ? high : low) = middle;
  }
  return high;
}

/// A typical price of a unit of dimension `k`: the range of scores over that of costs.
double typicalPrice(const IntegerProblem &problem, int k) {
  double scores = 0, costs = 0;
  for (const Items &items : problem.groups) {
    int64_t leastScore = items[0].score, mostScore = leastScore;
    int64_t leastCost = items[0].cost[k], mostCost = leastCost;
    for (const Item &item : items) {
      leastScore = std::min(leastScore, item.score);
      mostScore = std::max(mostScore, item.score);
      leastCost = std::min(leastCost, item.cost[k]);
      mostCost = std::max(mostCost, item.cost[k]);
    }
    scores += static_cast<double>(mostScore - leastScore);
    costs += static_cast<double>(mostCost - leastCost);
  }
  return costs > 0 && scores > 0 ? scores / costs : 1e-9;
}

/// An ellipsoid {u : (u - center)^T shape^-1 (u - center) <= 1} over the active dimensions, in
/// units of `scale`.
class Ellipsoid {
public:
  Ellipsoid(std::vector<int> axes, Multipliers scale) : axes(std::move(axes)), scale(scale) {
    size_t n = this->axes.size();
    center.assign(n, 1.0);
    shape.assign(n * n, 0.0);
    for (size_t i = 0; i < n; ++i)
      shape[i * n + i] = 36.0;
  }

  /// The dimension with the most negative coordinate, or -1.
  int negative() const {
    int worst = -1;
    for (size_t i = 0; i < axes.size(); ++i)
      if (center[i] < 0 && (worst < 0 || center[i] < center[worst]))
        worst = int(i);
    return worst;
  }

  Multipliers at() const {
    Multipliers result{};
    for (size_t i = 0; i < axes.size(); ++i)
      result[axes[i]] = std::max(center[i], 0.0) * scale[axes[i]];
    return result;
  }

  /// Keeps the half in the direction of `up` (a supergradient over the axes). False
  /// when there is none left to choose.
  bool keep(const std::vector<double> &up) {
    size_t n = axes.size();
    std::vector<double> along(n, 0.0);
    double length = 0;
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j)
        along[i] += shape[i * n + j] * up[j];
      length += along[i] * up[i];
    }
    if (!(length > 0))
      return false;
    length = std::sqrt(length);
    double count = static_cast<double>(n);
    double grow = count * count / (count * count - 1), cut = 2 / (count + 1);
    for (size_t i = 0; i < n; ++i)
      center[i] += along[i] / length / (count + 1);
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < n; ++j)
        shape[i * n + j] =
            grow * (shape[i * n + j] - cut * (along[i] / length) * (along[j] / length));
    return true;
  }

  std::vector<int> axes;
  Multipliers scale;

private:
  std::vector<double> center, shape;
};

} // namespace

Relaxed relax(const IntegerProblem &problem, const Multipliers &multiplier) {
  Relaxed result;
  result.position.reserve(problem.groups.size());
  for (const Items &items : problem.groups) {
    uint32_t best = 0;
    double bestValue = std::numeric_limits<double>::infinity();
    for (uint32_t i = 0; i < items.size(); ++i) {
      double value = static_cast<double>(items[i].score);
      for (int k = 0; k < dimensions; ++k)
        value += multiplier[k] * static_cast<double>(items[i].cost[k]);
      if (value < bestValue) {
        best = i;
        bestValue = value;
      }
    }
    result.position.push_back(best);
    result.value += bestValue;
    for (int k = 0; k < dimensions; ++k)
      result.cost[k] += static_cast<double>(items[best].cost[k]);
  }
  return result;
}

Multipliers bestMultipliers(const IntegerProblem &problem) {
  std::vector<int> axes;
  Multipliers scale{}, best{};
  double bestValue = dualValue(problem, best, relax(problem, best));
  for (int k = 0; k < dimensions; ++k) {
    if (!problem.active[k])
      continue;
    axes.push_back(k);
    Multipliers alone{};
    alone[k] = bisect(problem, k);
    scale[k] = alone[k] > 0 ? alone[k] : typicalPrice(problem, k);
    double value = dualValue(problem, alone, relax(problem, alone));
    if (value > bestValue || axes.size() == 1) {
      best = alone;
      bestValue = value;
    }
  }
  if (axes.size() < 2)
    return best;
  Ellipsoid ellipsoid(axes, scale);
  int steps = axes.size() == 2 ? 250 : 500;
  for (int step = 0; step < steps; ++step) {
    std::vector<double> up(axes.size(), 0.0);
    if (int axis = ellipsoid.negative(); axis >= 0) {
      up[axis] = 1;
    } else {
      Multipliers here = ellipsoid.at();
      Relaxed relaxed = relax(problem, here);
      if (double value = dualValue(problem, here, relaxed); value > bestValue) {
        best = here;
        bestValue = value;
      }
      for (size_t i = 0; i < axes.size(); ++i)
        up[i] = (relaxed.cost[axes[i]] - static_cast<double>(problem.budget[axes[i]])) *
                scale[axes[i]];
    }
    if (!ellipsoid.keep(up))
      break;
  }
  return best;
}

} // namespace qplan::budget
