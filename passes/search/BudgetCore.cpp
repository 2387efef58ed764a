//===- BudgetCore.cpp - the exact part of the budget solver ---------------===//
//
// With multipliers l >= 0 the reduced cost of a candidate is r = score + l*cost - min over its
// group, and a choice x with slack = budget - cost(x) scores D + sum r + l*slack, where D is
// the dual value. Any x with sum r >= best - D is no improvement. Groups enter the dynamic
// program by rising least r of a second candidate; it stops when that exceeds best - D.
// All of it is integer arithmetic, so that no bound is ever wrong by a rounding.
//
//===----------------------------------------------------------------------===//
#include "passes/search/BudgetCore.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

namespace qplan::budget {
namespace {

using Wide = __int128;
constexpr Wide one = Wide(1) << fractionBits;
constexpr Wide infinite = Wide(1) << 120;
constexpr Wide priceLimit = Wide(1) << 66; ///< times any slack stays below `infinite`
constexpr size_t stateLimit = 200'000;     ///< live states after one step, 64 bytes each
constexpr size_t nodeLimit = 4'000'000;    ///< kept for reading choices back, 12 bytes each
/// The same where several budgets bind: few states then beat each other, and more of them
/// would take long to prove what a gap of a hundred-thousandth leaves open.
constexpr size_t manyStateLimit = 6'000;
constexpr size_t slackLevels = 16; ///< by which states are told apart in the third dimension

Cost difference(const Cost &a, const Cost &b) {
  Cost result;
  for (int k = 0; k < dimensions; ++k)
    result[k] = a[k] - b[k];
  return result;
}

/// How far from the budgets, summed. Each part is below 2^54.
int64_t distanceOf(const Cost &slack) {
  int64_t sum = 0;
  for (int64_t each : slack)
    sum += std::abs(each);
  return sum;
}

/// A candidate as a deviation from the base choice of its group.
struct Deviation {
  Wide reduced; ///< >= 0, with fractionBits
  Cost cost;
  int64_t score;
  uint32_t position;
};

/// A group with its deviations by rising reduced cost, after the base choice.
struct CoreGroup {
  size_t group;
  std::vector<Deviation> deviations;
  Wide leastReduced() const { return deviations.size() > 1 ? deviations[1].reduced : infinite; }
};

/// What the groups from one on can still do, per dimension.
struct Suffix {
  std::array<Wide, dimensions> mostSaved{};  ///< greatest total fall in cost
  std::array<Wide, dimensions> savePrice{};  ///< least reduced cost for one unit less
  std::array<Wide, dimensions> spendPrice{}; ///< least reduced cost for one unit more
};

/// A partial choice: all groups before some point decided, the others at base.
struct State {
  Wide reduced;  ///< of the decided groups
  int64_t score; ///< deviation from the base choice
  Cost slack;    ///< budget - cost; may be negative
  uint32_t node;
};

/// How a state came about, to read the choice back.
struct Node {
  uint32_t parent;
  uint32_t core;
  uint32_t position;
};

/// The dynamic program over the core.
class CoreSolver {
public:
  CoreSolver(const IntegerProblem &problem, const Cost &multiplier, Incumbent incumbent);
  void run();
  CoreResult result() const {
    // What was set aside cannot be better than the bound says.
    int64_t gap = std::max<int64_t>(0, incumbent.score - leastSetAside);
    return {incumbent, gap};
  }

private:
  Wide lagrangian(const Item &item) const;
  std::vector<uint32_t> tiesOf(const Items &items) const;
  void chooseBase();
  void buildCore();
  void buildSuffixes();
  Wide bound(const State &state, const Suffix &suffix) const;
  /// Whether a choice of this bound can still be strictly better than the incumbent.
  bool promising(Wide value) const { return value <= ((Wide(incumbent.score) - 1) * one); }
  void consider(const State &state);
  size_t liveLimit() const {
    return std::count(problem.active.begin(), problem.active.end(), true) > 1 ? manyStateLimit
                                                                              : stateLimit;
  }
  void extend(size_t core);
  void prune();
  void readBack(const State &state);
  void setAside(size_t core, size_t keep);

  const IntegerProblem &problem;
  const Cost multiplier;
  Incumbent incumbent;
  std::vector<CoreGroup> core;
  std::vector<Suffix> suffixes;
  std::vector<uint32_t> base; ///< a choice of (nearly) no reduced cost, where states start
  int64_t baseScore = 0;
  Wide dual = 0; ///< lower bound on the score, with fractionBits
  std::vector<State> states;
  std::vector<Node> nodes;
  int64_t leastSetAside = std::numeric_limits<int64_t>::max(); ///< score bound of dropped states
};

CoreSolver::CoreSolver(const IntegerProblem &problem, const Cost &multiplier, Incumbent start)
    : problem(problem), multiplier(multiplier), incumbent(std::move(start)) {
  buildCore();
  buildSuffixes();
}

Wide CoreSolver::lagrangian(const Item &item) const {
  Wide value = Wide(item.score) * one;
  for (int k = 0; k < dimensions; ++k)
    value += Wide(multiplier[k]) * item.cost[k];
  return value;
}

/// Candidates of a group whose reduced cost is nought but for rounding, by the first cost.
std::vector<uint32_t> CoreSolver::tiesOf(const Items &items) const {
  Wide least = infinite, most = 0;
  for (const Item &item : items) {
    least = std::min(least, lagrangian(item));
    most = std::max(most, lagrangian(item));
  }
  std::vector<uint32_t> ties;
  for (uint32_t i = 0; i < items.size(); ++i)
    if (lagrangian(items[i]) - least <= ((most - least) >> 24) + 1)
      ties.push_back(i);
  return ties;
}

/// Among ties takes, in every group, what keeps the sum on the straight way to the budget. Each
/// group can then go up and down; alike groups would otherwise all fall on one side, and the
/// program would have to walk back through all of them.
void CoreSolver::chooseBase() {
  // The first budget that there is leads.
  int lead = int(std::find(problem.active.begin(), problem.active.end(), true) -
                 problem.active.begin()) %
             dimensions;
  std::vector<std::vector<uint32_t>> ties;
  double least = 0, most = 0;
  for (const Items &items : problem.groups) {
    ties.push_back(tiesOf(items));
    std::sort(ties.back().begin(), ties.back().end(), [&](uint32_t a, uint32_t b) {
      return std::pair(items[a].cost[lead], a) < std::pair(items[b].cost[lead], b);
    });
    least += static_cast<double>(items[ties.back().front()].cost[lead]);
    most += static_cast<double>(items[ties.back().back()].cost[lead]);
  }
  double part = (static_cast<double>(problem.budget[lead]) - least) / std::max(most - least, 1.0);
  part = std::clamp(part, 0.0, 1.0);
  double wanted = 0, sum = 0;
  for (size_t g = 0; g < problem.groups.size(); ++g) {
    auto costOf = [&](uint32_t i) { return static_cast<double>(problem.groups[g][i].cost[lead]); };
    wanted += costOf(ties[g].front()) + part * (costOf(ties[g].back()) - costOf(ties[g].front()));
    uint32_t best = *std::min_element(ties[g].begin(), ties[g].end(), [&](uint32_t a, uint32_t b) {
      return std::abs(sum + costOf(a) - wanted) < std::abs(sum + costOf(b) - wanted);
    });
    base.push_back(best);
    sum += costOf(best);
  }
}

void CoreSolver::buildCore() {
  chooseBase();
  Cost cost{};
  for (size_t g = 0; g < problem.groups.size(); ++g) {
    const Items &items = problem.groups[g];
    const Item &chosen = items[base[g]];
    Wide least = infinite;
    for (const Item &item : items)
      least = std::min(least, lagrangian(item));
    CoreGroup group{g, {}};
    for (uint32_t i = 0; i < items.size(); ++i)
      group.deviations.push_back({lagrangian(items[i]) - least,
                                  difference(items[i].cost, chosen.cost),
                                  items[i].score - chosen.score, i});
    std::swap(group.deviations[0], group.deviations[base[g]]);
    std::sort(group.deviations.begin() + 1, group.deviations.end(), [](auto &a, auto &b) {
      return std::tie(a.reduced, a.position) < std::tie(b.reduced, b.position);
    });
    core.push_back(std::move(group));
    baseScore += chosen.score;
    for (int k = 0; k < dimensions; ++k)
      cost[k] += chosen.cost[k];
    dual += least;
  }
  std::sort(core.begin(), core.end(), [](const CoreGroup &a, const CoreGroup &b) {
    return std::pair(a.leastReduced(), a.group) < std::pair(b.leastReduced(), b.group);
  });
  for (int k = 0; k < dimensions; ++k)
    dual -= Wide(multiplier[k]) * problem.budget[k];
  nodes.push_back({0, 0, 0});
  states.push_back({0, 0, difference(problem.budget, cost), 0});
}

void CoreSolver::buildSuffixes() {
  suffixes.resize(core.size() + 1);
  for (int k = 0; k < dimensions; ++k)
    suffixes.back().savePrice[k] = suffixes.back().spendPrice[k] = infinite;
  for (size_t c = core.size(); c-- > 0;) {
    Suffix suffix = suffixes[c + 1];
    std::array<Wide, dimensions> saved{};
    for (const Deviation &each : core[c].deviations)
      for (int k = 0; k < dimensions; ++k) {
        if (each.cost[k] < 0) {
          saved[k] = std::max<Wide>(saved[k], -Wide(each.cost[k]));
          suffix.savePrice[k] = std::min(suffix.savePrice[k], each.reduced / -Wide(each.cost[k]));
        } else if (each.cost[k] > 0) {
          suffix.spendPrice[k] = std::min(suffix.spendPrice[k], each.reduced / each.cost[k]);
        }
      }
    for (int k = 0; k < dimensions; ++k)
      suffix.mostSaved[k] += saved[k];
    suffixes[c] = suffix;
  }
}

/// A lower bound, with fractionBits, on what `state` can be completed to; infinite when it
/// cannot be brought within the budgets. Slack must be paid for, by spending it or at the
/// multiplier's rate; all budgets may be served by one deviation, so the largest need counts.
Wide CoreSolver::bound(const State &state, const Suffix &suffix) const {
  Wide need = 0;
  for (int k = 0; k < dimensions; ++k) {
    Wide slack = state.slack[k];
    if (slack < 0 && -slack > suffix.mostSaved[k])
      return infinite;
    Wide price = slack < 0 ? std::min(suffix.savePrice[k], priceLimit)
                           : std::min<Wide>(suffix.spendPrice[k], multiplier[k]);
    need = std::max(need, (slack < 0 ? -slack : slack) * price);
  }
  return dual + state.reduced + need;
}

void CoreSolver::consider(const State &state) {
  int64_t score = baseScore + state.score;
  if (!fits({}, state.slack) || score >= incumbent.score)
    return;
  incumbent.score = score;
  readBack(state);
}

void CoreSolver::readBack(const State &state) {
  incumbent.position = base;
  for (uint32_t at = state.node; at != 0; at = nodes[at].parent)
    incumbent.position[core[nodes[at].core].group] = nodes[at].position;
}

/// Decides one more group in every state.
void CoreSolver::extend(size_t c) {
  const Suffix &after = suffixes[c + 1];
  std::vector<State> next;
  for (const State &state : states) {
    for (size_t d = 0; d < core[c].deviations.size(); ++d) {
      const Deviation &each = core[c].deviations[d];
      State grown{state.reduced + each.reduced,
                  state.score + each.score,
                  difference(state.slack, each.cost),
                  state.node};
      if (d != 0 && !promising(dual + grown.reduced))
        break; // the others are no cheaper
      if (!promising(bound(grown, after)))
        continue;
      if (d != 0) {
        grown.node = static_cast<uint32_t>(nodes.size());
        nodes.push_back({state.node, static_cast<uint32_t>(c), each.position});
        consider(grown);
      }
      next.push_back(grown);
    }
  }
  states = std::move(next);
}

/// The third slacks of `states` at `slackLevels` ranks, rising and distinct.
std::vector<int64_t> levelsOf(const std::vector<State> &states) {
  std::vector<int64_t> slacks;
  for (const State &state : states)
    slacks.push_back(state.slack[2]);
  std::sort(slacks.begin(), slacks.end());
  std::vector<int64_t> levels;
  for (size_t i = 0; i < slackLevels && !slacks.empty(); ++i)
    levels.push_back(slacks[i * (slacks.size() - 1) / (slackLevels - 1)]);
  levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
  return levels;
}

/// First slack to second slack, strictly falling: what no other state beats in both.
using Stairs = std::map<int64_t, int64_t>;

bool beaten(const Stairs &stairs, const Cost &slack) {
  auto above = stairs.lower_bound(slack[0]);
  return above != stairs.end() && above->second >= slack[1];
}

void enter(Stairs &stairs, const Cost &slack) {
  if (beaten(stairs, slack))
    return;
  // What lies below the new state in both slacks no longer decides anything.
  auto above = stairs.lower_bound(slack[0]);
  while (above != stairs.begin()) {
    auto below = std::prev(above);
    if (below->second > slack[1])
      break;
    above = stairs.erase(below);
  }
  stairs[slack[0]] = slack[1];
}

/// Drops states that another one beats in score and in all slacks: all of them with two
/// budgets, with three those that a state on a higher level of the third slack beats.
void CoreSolver::prune() {
  // Equal states are told apart by age, so that the result does not depend on the sort.
  std::sort(states.begin(), states.end(), [](const State &a, const State &b) {
    if (a.score != b.score)
      return a.score < b.score;
    return a.slack != b.slack ? a.slack > b.slack : a.node < b.node;
  });
  // At each level the states kept so far whose third slack reaches it; all of them score at
  // least as well as those to come.
  std::vector<int64_t> levels = levelsOf(states);
  std::vector<Stairs> stairs(levels.size());
  std::vector<State> kept;
  for (const State &state : states) {
    size_t enough = std::lower_bound(levels.begin(), levels.end(), state.slack[2]) - levels.begin();
    if (enough < levels.size() && beaten(stairs[enough], state.slack))
      continue;
    for (size_t i = 0; i < levels.size() && levels[i] <= state.slack[2]; ++i)
      enter(stairs[i], state.slack);
    kept.push_back(state);
  }
  states = std::move(kept);
}

void CoreSolver::run() {
  consider(states.front());
  for (size_t c = 0; c < core.size() && !states.empty(); ++c) {
    if (!promising(dual + core[c].leastReduced()))
      return; // no later group can deviate either
    extend(c);
    prune();
    if (nodes.size() > nodeLimit) {
      setAside(c, 0);
      return;
    }
    if (states.size() > liveLimit())
      setAside(c, liveLimit() / 8);
  }
}

/// Drops all but the `keep` most promising states and remembers the bound of the rest.
void CoreSolver::setAside(size_t c, size_t keep) {
  struct Rank {
    Wide bound;
    int64_t distance; ///< from the budgets: of equal bounds the nearest stay
    size_t index;
  };
  std::vector<Rank> order;
  for (size_t i = 0; i < states.size(); ++i)
    order.push_back({bound(states[i], suffixes[c + 1]), distanceOf(states[i].slack), i});
  std::sort(order.begin(), order.end(), [](const Rank &a, const Rank &b) {
    return std::tie(a.bound, a.distance, a.index) < std::tie(b.bound, b.distance, b.index);
  });
  if (order.size() > keep)
    leastSetAside = std::min(leastSetAside, static_cast<int64_t>(order[keep].bound / one));
  std::vector<State> kept;
  for (size_t i = 0; i < std::min(keep, order.size()); ++i)
    kept.push_back(states[order[i].index]);
  states = std::move(kept);
}

} // namespace

CoreResult solveCore(const IntegerProblem &problem, const Cost &multiplier, Incumbent incumbent) {
  CoreSolver solver(problem, multiplier, std::move(incumbent));
  solver.run();
  return solver.result();
}

} // namespace qplan::budget
