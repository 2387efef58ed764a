//===- Exchange.cpp - exchanges of size between groups --------------------===//

#include "passes/search/Exchange.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace qplan {
namespace {

constexpr unsigned trialsOfRound = 8;
/// Of all steps, those that cost least and those that gain most are paired.
constexpr size_t stepsPaired = 200;
/// Below this share a fall of the divergence may be the noise of a short text.
constexpr double leastGain = 1e-3;

/// One group goes to another candidate.
struct Step {
  uint32_t group, candidate;
  double bits; ///< change of stored bits
  double kl;   ///< change of the predicted divergence
};

/// Two steps at most, the second with group -1u when there is none.
struct Move {
  Step first, second;
  double kl() const { return first.kl + second.kl; }
};

bool paired(const Move &move) { return move.second.group != ~0u; }

/// The next smaller (`sign` -1) or larger (+1) allowed candidate of every group.
std::vector<Step> stepsOf(const SearchFront &front, llvm::ArrayRef<uint32_t> choice, int sign) {
  std::vector<Step> steps;
  for (uint32_t g = 0; g < front.groups.size(); ++g) {
    const auto &cells = front.groups[g].cells;
    const FrontCell &now = cells[choice[g]];
    std::optional<Step> best;
    for (uint32_t c = 0; c < cells.size(); ++c) {
      Step step{g, c, cells[c].bits - now.bits, cells[c].kl - now.kl};
      bool useful = cells[c].allowed && step.bits * sign > 0 && step.kl * sign < 0;
      if (useful && (!best || std::abs(step.bits) < std::abs(best->bits) ||
                     (step.bits == best->bits && step.kl < best->kl)))
        best = step;
    }
    if (best)
      steps.push_back(*best);
  }
  // What a bit costs or brings decides which steps are worth pairing.
  std::sort(steps.begin(), steps.end(), [](const Step &a, const Step &b) {
    double left = a.kl / std::abs(a.bits), right = b.kl / std::abs(b.bits);
    return left != right ? left < right : a.group < b.group;
  });
  if (steps.size() > stepsPaired)
    steps.resize(stepsPaired);
  return steps;
}

std::vector<uint32_t> after(std::vector<uint32_t> choice, const Move &move) {
  choice[move.first.group] = move.first.candidate;
  if (paired(move))
    choice[move.second.group] = move.second.candidate;
  return choice;
}

/// All moves from `choice` by the predicted divergence that they lead to.
std::vector<Move> movesFrom(const SearchFront &front, llvm::ArrayRef<uint32_t> choice) {
  std::vector<Move> moves;
  std::vector<Step> up = stepsOf(front, choice, 1), down = stepsOf(front, choice, -1);
  for (const Step &larger : up) {
    moves.push_back({larger, {~0u, 0, 0, 0}});
    for (const Step &smaller : down)
      if (smaller.group != larger.group)
        moves.push_back({larger, smaller});
  }
  std::stable_sort(moves.begin(), moves.end(),
                   [](const Move &a, const Move &b) { return a.kl() < b.kl(); });
  return moves;
}

} // namespace

llvm::Expected<Exchanged> exchange(const SearchFront &front, const Budgets &budgets,
                                   std::vector<uint32_t> start, unsigned rounds,
                                   MeasureChoice measure) {
  Exchanged result;
  auto measured = measure(start);
  if (!measured)
    return measured.takeError();
  result.before = *measured;
  double best = *measured;
  std::vector<uint32_t> choice = std::move(start);
  std::set<std::vector<uint32_t>> seen = {choice};
  for (unsigned round = 0; round < rounds; ++round) {
    std::set<uint32_t> used; // a group is moved once a round: other places get their turn
    unsigned trials = 0, taken = 0;
    for (const Move &move : movesFrom(front, choice)) {
      if (trials == trialsOfRound)
        break;
      if (used.count(move.first.group) || (paired(move) && used.count(move.second.group)))
        continue;
      std::vector<uint32_t> next = after(choice, move);
      if (!keepsWithin(front, next, budgets) || !seen.insert(next).second)
        continue;
      used.insert(move.first.group);
      if (paired(move))
        used.insert(move.second.group);
      ++trials;
      auto kl = measure(next);
      if (!kl)
        return kl.takeError();
      if (*kl < best * (1 - leastGain)) {
        best = *kl;
        choice = std::move(next);
        ++taken;
      }
    }
    result.tried += trials;
    result.taken += taken;
    if (!taken)
      break;
  }
  result.point = front.pointOf(std::move(choice));
  result.point.measuredKl = best;
  return result;
}

} // namespace qplan
