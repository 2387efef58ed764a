//===- MixedWidths.cpp - which columns get how many bits ------------------===//
//
// The search is the textbook one for a knapsack with one choice a group: the least
// error of the first groups for every sum, from which the choices are read backwards.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/MixedWidths.h"
#include <algorithm>
#include <limits>

namespace qplan {
namespace {

constexpr int64_t choices = int64_t(mixedWidths.size());
/// Groups of one search: its table then takes 2 MB at most.
constexpr int64_t segmentGroups = 512;
constexpr int64_t least = mixedWidths.front(), most = mixedWidths.back();

/// The same for so few groups that one table does.
void chooseSegment(const double *errors, int64_t groups, int64_t sum, uint8_t *widths) {
  const int64_t spare = sum - least * groups; // bits above the least
  constexpr double none = std::numeric_limits<double>::infinity();
  std::vector<double> best(size_t(spare + 1), none), next(best.size());
  std::vector<uint8_t> chosen(size_t(groups * (spare + 1)));
  best[0] = 0;
  for (int64_t g = 0; g < groups; ++g) {
    std::fill(next.begin(), next.end(), none);
    uint8_t *choice = &chosen[size_t(g * (spare + 1))];
    const int64_t reach = std::min(spare, (g + 1) * (most - least));
    for (int64_t i = 0; i < choices; ++i) {
      const int64_t bits = mixedWidths[i] - least;
      const double error = errors[g * choices + i];
      for (int64_t s = bits; s <= reach; ++s)
        if (best[s - bits] + error < next[s]) {
          next[s] = best[s - bits] + error;
          choice[s] = uint8_t(i);
        }
    }
    std::swap(best, next);
  }
  for (int64_t g = groups, s = spare; g-- > 0;) {
    widths[g] = mixedWidths[chosen[size_t(g * (spare + 1) + s)]];
    s -= widths[g] - least;
  }
}

/// Widths that need no knowledge of the tensor.
void equalWidths(int64_t groups, int64_t sum, uint8_t *widths) {
  const int64_t width = sum / groups, wider = sum % groups;
  for (int64_t g = 0; g < groups; ++g)
    widths[g] = uint8_t(width + (g < wider));
}

} // namespace

std::vector<uint8_t> chooseMixedWidths(llvm::ArrayRef<double> errors, int64_t sum) {
  const int64_t groups = int64_t(errors.size()) / choices;
  std::vector<uint8_t> widths(static_cast<size_t>(groups));
  for (int64_t first = 0; first < groups; first += segmentGroups) {
    const int64_t end = std::min(groups, first + segmentGroups);
    const int64_t share = sum * end / groups - sum * first / groups;
    chooseSegment(errors.data() + first * choices, end - first, share, &widths[size_t(first)]);
  }
  return widths;
}

std::vector<float> storeMixedWidths(float scale, llvm::ArrayRef<uint8_t> widths) {
  std::vector<float> side(size_t(mixedSideCount(int64_t(widths.size()) * mixedColumns)));
  side[0] = scale;
  for (size_t g = 0; g < widths.size(); ++g) {
    const auto *found = std::find(mixedWidths.begin(), mixedWidths.end(), widths[g]);
    // Below 2^24: every sum of digits is exact.
    side[1 + g / 8] += float(uint32_t(found - mixedWidths.begin()) << (3 * (g % 8)));
  }
  return side;
}

void readMixedWidths(const TensorSide &tensor, int64_t groups, int64_t sum, uint8_t *widths) {
  int64_t found = 0;
  for (int64_t g = 0; g < groups; ++g) {
    const float number = size_t(1 + g / 8) < tensor.values.size() ? tensor.values[1 + g / 8] : -1;
    const bool isNumber = number >= 0 && number < 0x1p24f;
    const uint32_t digit = isNumber ? uint32_t(number) >> (3 * (g % 8)) & 7 : 7;
    if (digit >= mixedWidths.size())
      return equalWidths(groups, sum, widths);
    widths[g] = mixedWidths[digit];
    found += widths[g];
  }
  if (found != sum)
    equalWidths(groups, sum, widths);
}

} // namespace qplan
