//===- KQuantSearch.cpp - how K-quants choose scales ----------------------===//
//
// Each search is a few candidates of a scale, rounded to codes, and a least-
// squares scale for those codes; two of them go on to move single codes while the
// projection of x on the codes grows. Below 1e-15 everything counts as zero.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/KQuantSearch.h"
#include <algorithm>
#include <cmath>

namespace qplan {
namespace {

constexpr float negligible = 1e-15f;

/// Sums of w*x*q and w*q*q: the least-squares scale is xq / qq, and what is left of the error
/// shrinks as xq^2 / qq grows.
struct Projection {
  float xq = 0, qq = 0;

  void add(float w, float x, int q) {
    xq += w * x * static_cast<float>(q);
    qq += w * static_cast<float>(q) * static_cast<float>(q);
  }
  Projection without(float w, float x, int q) const {
    const float code = static_cast<float>(q);
    return {xq - w * x * code, qq - w * code * code};
  }
  float scale() const { return qq > 0 ? xq / qq : 0.0f; }
  bool beats(const Projection &other) const {
    return xq * xq * other.qq > other.xq * other.xq * qq;
  }
};

/// The number of largest magnitude, the first of equals.
float largest(int n, const float *x) {
  float best = 0;
  for (int i = 0; i < n; ++i)
    if (std::abs(x[i]) > std::abs(best))
      best = x[i];
  return best;
}

/// An affine grid of `steps` steps from `low` up, and its codes for a group.
struct AffineFit {
  uint8_t codes[32];
  float scale = 0, low = 0;

  void roundTo(const WeightedGroup &group, float inverse, float from, int top) {
    for (int i = 0; i < group.n; ++i) {
      int code = nearestInt(inverse * (group.x[i] - from));
      codes[i] = static_cast<uint8_t>(std::clamp(code, 0, top));
    }
  }

  float error(const WeightedGroup &group, bool absolute) const {
    float sum = 0;
    for (int i = 0; i < group.n; ++i) {
      float difference = scale * static_cast<float>(codes[i]) + low - group.x[i];
      sum += group.weight[i] * (absolute ? std::abs(difference) : difference * difference);
    }
    return sum;
  }

  /// The least-squares line through the codes; false where they do not determine one.
  bool solve(const WeightedGroup &group, float sumW, float sumX) {
    float sumQ = 0, sumQQ = 0, sumXQ = 0;
    for (int i = 0; i < group.n; ++i) {
      const float q = static_cast<float>(codes[i]), wq = group.weight[i] * q;
      sumQ += wq;
      sumQQ += wq * q;
      sumXQ += wq * group.x[i];
    }
    const float determinant = sumW * sumQQ - sumQ * sumQ;
    if (!(determinant > 0))
      return false;
    scale = (sumW * sumXQ - sumX * sumQ) / determinant;
    low = (sumQQ * sumX - sumQ * sumXQ) / determinant;
    if (low > 0) { // the stored minimum is subtracted and cannot be negative
      low = 0;
      scale = sumXQ / sumQQ;
    }
    return true;
  }
};

} // namespace

float searchWithMinimum(const WeightedGroup &group, int top, const StepSearch &search,
                        uint8_t *codes, float &minimum) {
  float low = group.x[0], high = group.x[0], sumW = group.weight[0], sumX = sumW * group.x[0];
  for (int i = 1; i < group.n; ++i) {
    low = std::min(low, group.x[i]);
    high = std::max(high, group.x[i]);
    sumW += group.weight[i];
    sumX += group.weight[i] * group.x[i];
  }
  low = low > 0 ? 0 : low;
  minimum = -low;
  if (high == low) {
    std::fill_n(codes, group.n, 0);
    return 0;
  }
  AffineFit best;
  const float steps = static_cast<float>(top) / (high - low);
  best.scale = 1 / steps;
  best.low = low;
  best.roundTo(group, steps, low, top);
  float bestError = best.error(group, search.absolute);
  // Candidates cover the range from the best minimum so far.
  for (int i = 0; i <= search.last; ++i) {
    AffineFit fit;
    float wanted = search.first + search.step * static_cast<float>(i) + static_cast<float>(top);
    fit.roundTo(group, wanted / (high - best.low), best.low, top);
    if (!fit.solve(group, sumW, sumX))
      continue;
    if (float error = fit.error(group, search.absolute); error < bestError) {
      bestError = error;
      best = fit;
    }
  }
  std::copy_n(best.codes, group.n, codes);
  minimum = -best.low;
  return best.scale;
}

float searchSigned(const WeightedGroup &group, int half, uint8_t *codes) {
  const float most = largest(group.n, group.x);
  std::fill_n(codes, group.n, 0);
  if (std::abs(most) < negligible)
    return 0;
  auto code = [&](float inverse, int i) {
    return std::clamp(nearestInt(inverse * group.x[i]), -half, half - 1);
  };
  auto project = [&](float inverse) {
    Projection sums;
    for (int i = 0; i < group.n; ++i)
      sums.add(group.weight[i], group.x[i], code(inverse, i));
    return sums;
  };
  float chosen = static_cast<float>(-half) / most;
  const Projection first = project(chosen);
  float scale = first.qq != 0 ? first.xq / first.qq : 0.0f, best = scale * first.xq;
  for (int step = -9; step <= 9; ++step) {
    if (step == 0)
      continue;
    float inverse = -(static_cast<float>(half) + 0.1f * static_cast<float>(step)) / most;
    Projection sums = project(inverse);
    if (!(sums.qq > 0 && sums.xq * sums.xq > best * sums.qq))
      continue;
    chosen = inverse;
    scale = sums.xq / sums.qq;
    best = scale * sums.xq;
  }
  for (int i = 0; i < group.n; ++i)
    codes[i] = static_cast<uint8_t>(code(chosen, i) + half);
  return scale;
}

float descendSigned(int n, const float *x, int half, uint8_t *codes) {
  const float most = largest(n, x);
  std::fill_n(codes, n, 0);
  if (std::abs(most) < negligible)
    return 0;
  int q[32];
  Projection sums;
  const float inverse = static_cast<float>(-half) / most;
  for (int i = 0; i < n; ++i) {
    q[i] = std::clamp(nearestInt(inverse * x[i]), -half, half - 1);
    sums.add(x[i] * x[i], x[i], q[i]);
  }
  bool changed = true;
  for (int round = 0; round < 5 && changed; ++round) {
    changed = false;
    for (int i = 0; i < n; ++i) {
      const float w = x[i] * x[i];
      Projection rest = sums.without(w, x[i], q[i]);
      if (!(rest.xq > 0))
        continue;
      int moved = std::clamp(nearestInt(x[i] * rest.qq / rest.xq), -half, half - 1);
      if (moved == q[i])
        continue;
      rest.add(w, x[i], moved);
      if (rest.qq > 0 && rest.beats(sums)) {
        q[i] = moved;
        sums = rest;
        changed = true;
      }
    }
  }
  for (int i = 0; i < n; ++i)
    codes[i] = static_cast<uint8_t>(q[i] + half);
  return sums.scale();
}

float searchPositive(const WeightedGroup &group, int top, uint8_t *codes) {
  const int n = group.n;
  const float *x = group.x, *weight = group.weight;
  float most = 0;
  for (int i = 0; i < n; ++i)
    most = std::max(most, x[i]);
  std::fill_n(codes, n, 0);
  if (most < negligible)
    return 0;
  auto code = [&](float inverse, int i) { return std::min(nearestInt(inverse * x[i]), top); };
  auto error = [&](float inverse) {
    const float scale = 1 / inverse;
    float sum = 0;
    for (int i = 0; i < n; ++i) {
      float difference = x[i] - scale * static_cast<float>(code(inverse, i));
      sum += weight[i] * difference * difference;
    }
    return sum;
  };
  float chosen = static_cast<float>(top) / most, least = error(chosen);
  for (int step = -4; step <= 4; ++step) {
    float inverse = (0.1f * static_cast<float>(step) + static_cast<float>(top)) / most;
    float found = step == 0 ? least : error(inverse);
    if (found < least) {
      least = found;
      chosen = inverse;
    }
  }
  Projection sums;
  for (int i = 0; i < n; ++i) {
    codes[i] = static_cast<uint8_t>(code(chosen, i));
    sums.add(weight[i], x[i], code(chosen, i));
  }
  bool changed = true;
  for (int round = 0; round < 5 && changed; ++round) {
    changed = false;
    for (int i = 0; i < n; ++i) {
      Projection rest = sums.without(weight[i], x[i], codes[i]);
      if (!(rest.xq > 0 && rest.qq > 0))
        continue;
      int moved = std::min(nearestInt(x[i] * rest.qq / rest.xq), top);
      if (moved == codes[i])
        continue;
      rest.add(weight[i], x[i], moved);
      if (rest.beats(sums)) {
        codes[i] = static_cast<uint8_t>(moved);
        sums = rest;
        changed = true;
      }
    }
  }
  return sums.scale();
}

} // namespace qplan
