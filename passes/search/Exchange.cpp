//===- Exchange.cpp - from the additive answer to the assembled one -------===//
//
// See Exchange.h. On real models divergences of groups add up well, and what each does alone can be
// measured on little text; what is wrong is how the prediction goes from the probe's
// rounding to that of other methods. So the solver is asked again rather than pairs of groups
// tried one by one: a pair gains less than the noise of its trial.
//
//===----------------------------------------------------------------------===//

#include "passes/search/Exchange.h"

#include "ir/Formats.h"
#include "passes/search/Treatment.h"

#include <algorithm>
#include <cmath>
#include <llvm/ADT/STLExtras.h>
#include <map>
#include <set>

namespace qplan {
namespace {

/// Below this share a fall of the divergence may be the noise of a short text.
constexpr double leastGain = 1e-3;

/// Corrections of a prediction stay within this factor: measurements of next to nothing are noise.
constexpr double mostCorrection = 8;

class Knowledge {
public:
  explicit Knowledge(const SearchFront &front) : front(front), measured(front.groups.size()) {
    for (const std::string &candidate : front.candidates)
      kinds.push_back(kindOf(candidate));
  }

  /// Those of `choice` that were not measured yet.
  std::vector<GroupChoice> unknown(llvm::ArrayRef<uint32_t> choice) const {
    std::vector<GroupChoice> result;
    for (auto [g, candidate] : llvm::enumerate(choice))
      if (!measured[g].contains(candidate))
        result.push_back({uint32_t(g), candidate});
    return result;
  }

  void learn(GroupChoice choice, double alone) {
    const double predicted = front.groups[choice.group].cells[choice.candidate].kl;
    if (predicted > 0 && alone > 0)
      measured[choice.group][choice.candidate] =
          std::clamp(alone / predicted, 1 / mostCorrection, mostCorrection);
    else
      measured[choice.group][choice.candidate] = 1;
  }

  /// The front with its divergences corrected, `reach` of the way.
  SearchFront corrected(double reach) const {
    SearchFront result = front;
    const std::map<std::string, double> usual = usualCorrections();
    for (auto [g, group] : llvm::enumerate(result.groups))
      for (auto [c, cell] : llvm::enumerate(group.cells))
        if (cell.allowed)
          cell.kl *= std::pow(correctionOf(g, c, usual), reach);
    return result;
  }

private:
  /// What treatments share whose errors are of one kind.
  static std::string kindOf(const std::string &text) {
    const Treatment treatment = llvm::cantFail(parseTreatment(text)); // fronts are checked
    const Treatment kind{FormatId::F32, treatment.activation, treatment.method, {}};
    return printTreatment(kind) + std::to_string(int(formatInfo(treatment.weight).family));
  }

  /// The geometric mean of the corrections of each kind over all groups.
  std::map<std::string, double> usualCorrections() const {
    std::map<std::string, std::pair<double, int>> sums;
    for (const auto &known : measured)
      for (auto [candidate, factor] : known) {
        auto &[sum, count] = sums[kinds[candidate]];
        sum += std::log(factor);
        ++count;
      }
    std::map<std::string, double> result;
    for (auto &[kind, sum] : sums)
      result[kind] = std::exp(sum.first / sum.second);
    return result;
  }

  double correctionOf(size_t g, size_t c, const std::map<std::string, double> &usual) const {
    const auto &cells = front.groups[g].cells;
    const std::pair<const uint32_t, double> *nearest = nullptr;
    for (const auto &known : measured[g]) {
      if (known.first == c)
        return known.second;
      auto distance = [&](uint32_t other) { return std::abs(cells[other].bits - cells[c].bits); };
      if (kinds[known.first] == kinds[c] &&
          (!nearest || distance(known.first) < distance(nearest->first)))
        nearest = &known;
    }
    if (nearest)
      return nearest->second;
    auto found = usual.find(kinds[c]);
    return found == usual.end() ? 1.0 : found->second;
  }

  const SearchFront &front;
  std::vector<std::string> kinds;                   ///< of each candidate
  std::vector<std::map<uint32_t, double>> measured; ///< of each group: candidate to correction
};

/// Finds out what is unknown of `choice`.
llvm::Error learn(Knowledge &knowledge, llvm::ArrayRef<uint32_t> choice, ChoiceJudge &judge) {
  const std::vector<GroupChoice> unknown = knowledge.unknown(choice);
  if (unknown.empty())
    return llvm::Error::success();
  auto found = judge.alone(unknown);
  if (!found)
    return found.takeError();
  for (auto [each, alone] : llvm::zip(unknown, *found))
    knowledge.learn(each, alone);
  return llvm::Error::success();
}

/// Whether `a` is better than `b` by more than noise.
bool isBetter(const SearchFront &front, const FrontPoint &a, const FrontPoint &b,
              const Budgets &budgets) {
  if (!budgets.maxKl)
    return *a.measuredKl < *b.measuredKl * (1 - leastGain);
  const bool fits = *a.measuredKl <= *budgets.maxKl;
  if (*b.measuredKl > *budgets.maxKl)
    return fits || *a.measuredKl < *b.measuredKl * (1 - leastGain);
  return fits && (minimisesTime(front, budgets) ? *a.decodeMs < *b.decodeMs
                                                : front.memoryBytes(a) < front.memoryBytes(b));
}

/// What the cache of `point` does to the divergence.
double cacheKl(const SearchFront &front, const FrontPoint &point) {
  return point.cache ? front.caches[*point.cache].kl : 0.0;
}

/// Scales divergences so that those of `point` sum to what was measured of it.
void scaleTo(SearchFront &front, const FrontPoint &point) {
  const double sum = front.pointOf(point.choice).kl;
  if (sum > 0)
    for (FrontGroup &group : front.groups)
      for (FrontCell &cell : group.cells)
        cell.kl *= std::max(0.0, *point.measuredKl - cacheKl(front, point)) / sum;
}

} // namespace

llvm::Expected<Exchanged> exchange(SearchFront &front, const Budgets &budgets,
                                   const FrontPoint &start, unsigned rounds,
                                   ChoiceJudge &judge) {
  auto measure = [&](const FrontPoint &chosen) -> llvm::Expected<FrontPoint> {
    auto kl = judge.together(chosen.choice);
    if (!kl)
      return kl.takeError();
    FrontPoint point = front.pointOf(chosen.choice, chosen.cache);
    point.measuredKl = *kl + cacheKl(front, point);
    return point;
  };
  auto first = measure(start);
  if (!first)
    return first.takeError();
  Exchanged result{*first, *first->measuredKl};
  if (rounds == 0)
    return result;
  Knowledge knowledge(front);
  std::set<std::pair<std::vector<uint32_t>, std::optional<uint32_t>>> seen = {
      {start.choice, start.cache}};
  if (auto error = learn(knowledge, start.choice, judge))
    return std::move(error);
  for (double reach = 1; result.tried < rounds;) {
    SearchFront corrected = knowledge.corrected(reach);
    if (budgets.maxKl)
      scaleTo(corrected, result.point);
    auto next = chooseWithin(corrected, budgets);
    if (!next) { // a bound on the divergence that cannot be kept by what was learnt
      llvm::consumeError(next.takeError());
      break;
    }
    if (!seen.insert({next->choice, next->cache}).second)
      break;
    ++result.tried;
    auto trial = measure(*next);
    if (!trial)
      return trial.takeError();
    if (auto error = learn(knowledge, trial->choice, judge))
      return std::move(error);
    if (isBetter(front, *trial, result.point, budgets))
      result.point = std::move(*trial);
    else
      reach /= 2;
  }
  front = knowledge.corrected(1);
  FrontPoint known = front.pointOf(result.point.choice, result.point.cache);
  known.measuredKl = result.point.measuredKl;
  result.point = std::move(known);
  for (auto [before, after] : llvm::zip(start.choice, result.point.choice))
    result.moved += before != after;
  return result;
}

} // namespace qplan
