//===- Budgets.cpp - constraints of a search ------------------------------===//
//
// Five sums can be bounded: size (by two names), size as ModelOpt counts it, memory, time, damage.
// One of them is minimised instead; of the others the solver takes three. To the solver
// the cache is one more group, whose candidates weigh nothing in sizes of weights.
// Sizes are whole numbers and exact; the others are counted in small shares of their budget.
//
//===----------------------------------------------------------------------===//
#include "passes/search/Budgets.h"

#include "ir/Failure.h"
#include "passes/search/BudgetSolver.h"

#include <algorithm>
#include <cmath>
#include <llvm/ADT/STLExtras.h>
#include <set>
#include <tuple>

namespace qplan {
namespace {

enum class Sum { Size, Modelopt, Memory, Time, Damage };

/// One of the front's candidates for each group, and of its caches.
struct Choice {
  std::vector<uint32_t> groups;
  std::optional<uint32_t> cache;
};

constexpr double unitsOfBudget = 0x1p38; ///< into which a budget of time or damage is divided

/// What `cell` adds to a sum, in bits, ms or nats.
double costOf(const FrontCell &cell, Sum sum) {
  switch (sum) {
  case Sum::Size:
  case Sum::Memory:
    return cell.bits;
  case Sum::Modelopt:
    return cell.modeloptBits.value_or(0);
  case Sum::Time:
    return cell.decodeMs.value_or(0);
  case Sum::Damage:
    return cell.kl;
  }
  return 0;
}

/// The same of a cache.
double costOf(const SearchFront &front, const FrontCache &cache, Sum sum) {
  switch (sum) {
  case Sum::Size:
  case Sum::Modelopt:
    return 0;
  case Sum::Memory:
    return 8 * front.bytesOf(cache);
  case Sum::Time:
    return cache.decodeMs.value_or(0);
  case Sum::Damage:
    return cache.kl;
  }
  return 0;
}

/// Whether sums are whole numbers, of bits.
bool isWhole(Sum sum) { return sum == Sum::Size || sum == Sum::Modelopt || sum == Sum::Memory; }

/// What the solver chooses for: groups, and the cache.
size_t partsOf(const SearchFront &front) { return front.groups.size() + !front.caches.empty(); }

/// A bounded sum over the groups.
struct Bound {
  Sum sum;
  std::string given; ///< the option and its value, as messages write it
  double limit;      ///< bits, ms (the rest of the model taken off) or nats
};

int64_t elementsOf(const SearchFront &front) {
  int64_t sum = 0;
  for (const FrontGroup &group : front.groups)
    sum += group.elements;
  return sum;
}

bool hasTimes(const SearchFront &front) {
  auto timed = [](const FrontCell &cell) { return !cell.allowed || cell.decodeMs; };
  return llvm::all_of(front.groups,
                      [&](const FrontGroup &group) { return llvm::all_of(group.cells, timed); }) &&
         llvm::all_of(front.caches, [](const FrontCache &cache) { return cache.decodeMs; });
}

/// A sum over all groups with its unit.
std::string shown(const SearchFront &front, const Bound &bound, double value) {
  switch (bound.sum) {
  case Sum::Size:
    if (llvm::StringRef(bound.given).starts_with("--weight-bytes"))
      return fmt::format("{:.0f} bytes", value / 8);
    [[fallthrough]];
  case Sum::Modelopt:
    return fmt::format("{:.4f} bits a weight", value / double(elementsOf(front)));
  case Sum::Memory:
    return fmt::format("{:.0f} bytes", std::ceil(value / 8));
  case Sum::Time:
    return fmt::format("{:.3f} ms", value + front.baseDecodeMs.value_or(0));
  case Sum::Damage:
    return fmt::format("a KL of {:.6f}", value);
  }
  return {};
}

std::vector<Bound> boundsOf(const SearchFront &front, const Budgets &budgets) {
  const double elements = double(elementsOf(front));
  std::vector<Bound> bounds;
  if (budgets.effectiveBits)
    bounds.push_back({Sum::Size, fmt::format("--effective-bits {}", *budgets.effectiveBits),
                      std::floor(*budgets.effectiveBits * elements)});
  if (budgets.weightBytes) {
    double limit = 8 * double(*budgets.weightBytes);
    if (bounds.empty() || limit < bounds[0].limit) // two names of one sum: the smaller counts
      bounds.assign(1, {Sum::Size, fmt::format("--weight-bytes {}", *budgets.weightBytes), limit});
  }
  if (budgets.modeloptBits)
    bounds.push_back({Sum::Modelopt,
                      fmt::format("--effective-bits-modelopt {}", *budgets.modeloptBits),
                      *budgets.modeloptBits * elements});
  if (budgets.memoryBytes)
    bounds.push_back({Sum::Memory, fmt::format("--memory-bytes {}", *budgets.memoryBytes),
                      8 * double(*budgets.memoryBytes)});
  if (budgets.decodeMs)
    bounds.push_back({Sum::Time, fmt::format("--decode-ms {}", *budgets.decodeMs),
                      *budgets.decodeMs - front.baseDecodeMs.value_or(0)});
  if (budgets.maxKl)
    bounds.push_back({Sum::Damage, fmt::format("--max-kl {}", *budgets.maxKl), *budgets.maxKl});
  return bounds;
}

llvm::Error checkUsable(const SearchFront &front, const Budgets &budgets) {
  if (budgets.decodeMs && !hasTimes(front))
    return usageError("--decode-ms {}: no decode times were measured for these candidates; search "
                      "with --time on the machine that the plan is for",
                      *budgets.decodeMs);
  if (budgets.memoryBytes && front.caches.empty())
    return usageError("--memory-bytes {}: the search that made this front did not weigh the cache; "
                      "search with --kv-cache auto",
                      *budgets.memoryBytes);
  if (front.caches.size() > 1)
    if (auto error = budgets.checkCountCache())
      return error;
  for (const FrontGroup &group : front.groups) {
    bool any = false;
    for (auto [cell, candidate] : llvm::zip(group.cells, front.candidates)) {
      any |= cell.allowed;
      if (budgets.modeloptBits && cell.allowed && !cell.modeloptBits)
        return usageError("site {}: {} has no size by ModelOpt's count; leave out "
                          "--effective-bits-modelopt or the treatment",
                          group.sites[0], candidate);
    }
    if (!any)
      return usageError("{}: none of the treatments fits these sites; add one that does, for "
                        "example bf16",
                        group.name);
  }
  return llvm::Error::success();
}

/// Cost in the solver's whole units; those of time and damage are rounded up. Beyond the whole
/// budget it does not matter by how much.
int64_t unitsOf(const Bound &bound, double cost, size_t parts) {
  if (isWhole(bound.sum))
    return int64_t(std::ceil(cost - 1e-3));
  double unit = std::max(bound.limit, 1e-300) / unitsOfBudget;
  return int64_t(std::ceil(std::min({cost / unit, 2 * unitsOfBudget, 0x1p51 / double(parts)})));
}

int64_t limitUnits(const Bound &bound, size_t parts) {
  if (isWhole(bound.sum))
    return int64_t(std::min(bound.limit + 1e-3, 0x1p52));
  return int64_t(unitsOfBudget) + int64_t(parts); // what rounding up may add
}

/// The choice of least `minimised` within `bounds` (three at most, of other sums). An error only
/// says that there is none.
llvm::Expected<Choice> solve(const SearchFront &front, llvm::ArrayRef<Bound> bounds,
                             Sum minimised) {
  BudgetProblem problem;
  const size_t parts = partsOf(front);
  auto candidateOf = [&](auto costIn) {
    BudgetCandidate candidate;
    for (auto [k, bound] : llvm::enumerate(bounds))
      candidate.cost[k] = unitsOf(bound, costIn(bound.sum), parts);
    candidate.score = costIn(minimised);
    return candidate;
  };
  std::vector<std::vector<uint32_t>> places;
  for (const FrontGroup &group : front.groups) {
    problem.groups.emplace_back();
    places.emplace_back();
    for (auto [i, cell] : llvm::enumerate(group.cells)) {
      if (!cell.allowed)
        continue;
      problem.groups.back().push_back(candidateOf([&](Sum sum) { return costOf(cell, sum); }));
      places.back().push_back(uint32_t(i));
    }
  }
  if (!front.caches.empty())
    problem.groups.emplace_back();
  for (const FrontCache &cache : front.caches)
    problem.groups.back().push_back(
        candidateOf([&](Sum sum) { return costOf(front, cache, sum); }));
  for (auto [k, bound] : llvm::enumerate(bounds)) {
    if (bound.limit < 0)
      return usageError("{}", bound.given);
    problem.budget[k] = limitUnits(bound, parts);
  }
  auto solution = solveBudget(problem);
  if (!solution)
    return solution.takeError();
  Choice choice;
  for (auto [index, place] : llvm::enumerate(places))
    choice.groups.push_back(place[solution->choice[index]]);
  if (!front.caches.empty())
    choice.cache = solution->choice.back();
  return choice;
}

double sumOf(const SearchFront &front, const Choice &choice, Sum sum) {
  double total = sum == Sum::Time ? front.splitTime(choice.groups) : 0;
  for (auto [group, candidate] : llvm::zip(front.groups, choice.groups))
    total += costOf(group.cells[candidate], sum);
  return choice.cache ? total + costOf(front, front.caches[*choice.cache], sum) : total;
}

bool within(const SearchFront &front, const Choice &choice, const Bound &bound) {
  // Sizes are whole; of the others a rounding of the solver's units is let pass.
  double slack = isWhole(bound.sum) ? 1e-3 : 1e-8 * std::abs(bound.limit);
  return sumOf(front, choice, bound.sum) <= bound.limit + slack;
}

/// Which treatments a choice takes: one, or how many; and which cache.
std::string takenBy(const SearchFront &front, const Choice &choice) {
  std::set<uint32_t> used(choice.groups.begin(), choice.groups.end());
  std::string text = used.size() == 1 ? front.candidates[*used.begin()] + " everywhere"
                                      : fmt::format("a mix of {} treatments", used.size());
  return choice.cache ? text + ", the cache in " + front.caches[*choice.cache].format : text;
}

std::string namesOf(llvm::ArrayRef<Bound> bounds) {
  std::string all;
  for (const Bound &bound : bounds)
    all += (all.empty() ? "" : ", ") + bound.given;
  return all;
}

/// What can be reached where nothing keeps all of `bounds`.
llvm::Error infeasible(const SearchFront &front, llvm::ArrayRef<Bound> bounds) {
  for (const Bound &bound : bounds)
    if (auto least = solve(front, {}, bound.sum); !least)
      return least.takeError();
    else if (!within(front, *least, bound))
      return usageError("{}: these treatments need at least {} ({}); raise the budget or add a "
                        "{} treatment",
                        bound.given, shown(front, bound, sumOf(front, *least, bound.sum)),
                        takenBy(front, *least),
                        bound.sum == Sum::Damage ? "more exact"
                        : bound.sum == Sum::Time ? "faster"
                                                 : "smaller");
  std::string reachable;
  for (const Bound &bound : bounds) {
    std::vector<Bound> others;
    std::string names;
    for (const Bound &other : bounds)
      if (other.sum != bound.sum) {
        others.push_back(other);
        names += (names.empty() ? "" : " and ") + other.given;
      }
    auto least = solve(front, others, bound.sum);
    if (!least) {
      llvm::consumeError(least.takeError());
      continue;
    }
    reachable += fmt::format("; with {} at least {}", names,
                             shown(front, bound, sumOf(front, *least, bound.sum)));
  }
  return usageError("{} contradict each other for these treatments{}; raise one of them or add "
                    "treatments",
                    namesOf(bounds), reachable);
}

/// Whether `a` is at least as good as `b` in every respect.
bool covers(const SearchFront &front, const FrontPoint &a, const FrontPoint &b) {
  return front.memoryBytes(a) <= front.memoryBytes(b) && a.kl <= b.kl &&
         a.decodeMs.value_or(0) <= b.decodeMs.value_or(0);
}

/// Adds the hull of divergence against memory + `rate` bits for each ms.
llvm::Error addHull(const SearchFront &front, double rate, std::vector<FrontPoint> &points) {
  std::vector<BudgetGroup> groups;
  std::vector<std::vector<uint32_t>> places;
  for (const FrontGroup &group : front.groups) {
    groups.emplace_back();
    places.emplace_back();
    for (auto [i, cell] : llvm::enumerate(group.cells)) {
      if (!cell.allowed)
        continue;
      int64_t cost = std::llround(cell.bits + rate * cell.decodeMs.value_or(0));
      groups.back().push_back({{cost}, cell.kl});
      places.back().push_back(uint32_t(i));
    }
  }
  if (!front.caches.empty())
    groups.emplace_back();
  for (const FrontCache &cache : front.caches)
    groups.back().push_back(
        {{std::llround(costOf(front, cache, Sum::Memory) + rate * costOf(front, cache, Sum::Time))},
         cache.kl});
  auto hull = budgetFrontier(groups);
  if (!hull)
    return hull.takeError();
  std::vector<uint32_t> choice = hull->start;
  for (size_t i = 0; i < hull->points.size(); ++i) {
    if (i)
      choice[hull->points[i].group] = hull->points[i].candidate;
    std::vector<uint32_t> placed;
    for (auto [candidate, place] : llvm::zip(choice, places))
      placed.push_back(place[candidate]);
    points.push_back(front.pointOf(
        std::move(placed), front.caches.empty() ? std::nullopt : std::optional(choice.back())));
  }
  return llvm::Error::success();
}

} // namespace

RecipeFacts Budgets::facts() const {
  RecipeFacts facts;
  auto add = [&](const char *name, const auto &value) {
    if (value)
      facts.emplace_back(name, fmt::format("{}", *value));
  };
  add("effective-bits", effectiveBits);
  add("effective-bits-modelopt", modeloptBits);
  add("weight-bytes", weightBytes);
  add("memory-bytes", memoryBytes);
  add("decode-ms", decodeMs);
  add("max-kl", maxKl);
  return facts;
}

llvm::Error Budgets::checkCountCache() const {
  if (countCache())
    return llvm::Error::success();
  std::string given;
  for (const auto &[name, value] : facts())
    given += fmt::format("{}--{} {}", given.empty() ? "" : ", ", name, value);
  return usageError("{}: no budget counts the cache, whose format is to be chosen; add "
                    "--memory-bytes, --decode-ms or --max-kl, or choose it with --kv-cache FORMAT",
                    given);
}

llvm::Expected<int64_t> parseByteCount(llvm::StringRef option, llvm::StringRef text) {
  constexpr std::pair<const char *, double> suffixes[] = {
      {"Ki", 0x1p10}, {"Mi", 0x1p20}, {"Gi", 0x1p30}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}};
  llvm::StringRef digits = text;
  double factor = 1;
  for (auto [suffix, value] : suffixes)
    if (digits.consume_back(suffix)) {
      factor = value;
      break;
    }
  double number = 0;
  bool plain = !digits.empty() && digits.find_first_not_of("0123456789.") == llvm::StringRef::npos;
  if (!plain || digits.getAsDouble(number) || number * factor < 1 || number * factor > 0x1p60)
    return usageError("{} {}: expected a number of bytes, for example 300M (K, M, G: "
                      "powers of 1000; Ki, Mi, Gi: of 1024)",
                      option.str(), text.str());
  return int64_t(number * factor);
}

bool minimisesTime(const SearchFront &front, const Budgets &budgets) {
  const bool sized =
      budgets.effectiveBits || budgets.modeloptBits || budgets.weightBytes || budgets.memoryBytes;
  return budgets.maxKl && sized && !budgets.decodeMs && hasTimes(front);
}

/// The quickest choice, if it keeps the budgets.
static std::optional<FrontPoint> fastestWithin(const SearchFront &front, const Budgets &budgets,
                                               llvm::ArrayRef<Bound> bounds) {
  std::vector<Bound> others;
  llvm::copy_if(bounds, std::back_inserter(others),
                [](const Bound &bound) { return bound.sum != Sum::Time; });
  auto choice = solve(front, others, Sum::Time);
  if (!choice) {
    llvm::consumeError(choice.takeError());
    return std::nullopt;
  }
  FrontPoint point = front.pointOf(std::move(choice->groups), choice->cache);
  return keepsWithin(front, point, budgets) ? std::optional(std::move(point)) : std::nullopt;
}

llvm::Expected<FrontPoint> chooseWithin(const SearchFront &front, const Budgets &budgets) {
  if (auto error = checkUsable(front, budgets))
    return std::move(error);
  std::vector<Bound> bounds = boundsOf(front, budgets);
  Sum minimised = !budgets.maxKl                  ? Sum::Damage
                  : minimisesTime(front, budgets) ? Sum::Time
                  : front.caches.empty()          ? Sum::Size
                                                  : Sum::Memory;
  // The sum that is minimised is compared with its own bound afterwards.
  std::vector<Bound> others;
  llvm::copy_if(bounds, std::back_inserter(others),
                [&](const Bound &bound) { return bound.sum != minimised; });
  if (others.size() > budgetDimensions)
    return usageError("{} are more budgets than can be kept at once ({}); leave one of them out",
                      namesOf(others), budgetDimensions);
  // The time of splitting what one launch could do is no sum over groups: where it breaks the
  // budget, the groups must be that much faster.
  for (;;) {
    auto choice = solve(front, others, minimised);
    if (!choice) {
      llvm::consumeError(choice.takeError());
      if (auto point = fastestWithin(front, budgets, others))
        return std::move(*point);
      return infeasible(front, bounds);
    }
    for (const Bound &bound : bounds)
      if (bound.sum == minimised && !within(front, *choice, bound))
        return infeasible(front, bounds);
    const auto isTime = [](const Bound &bound) { return bound.sum == Sum::Time; };
    const auto budget = llvm::find_if(bounds, isTime), tightened = llvm::find_if(others, isTime);
    if (tightened == others.end() || within(front, *choice, *budget))
      return front.pointOf(std::move(choice->groups), choice->cache);
    // The next choice either keeps the budget or splits more.
    tightened->limit = budget->limit - front.splitTime(choice->groups);
  }
}

bool keepsWithin(const SearchFront &front, const FrontPoint &point, const Budgets &budgets) {
  return llvm::all_of(boundsOf(front, budgets), [&](const Bound &bound) {
    return within(front, {point.choice, point.cache}, bound);
  });
}

llvm::Expected<std::vector<FrontPoint>> tradeOffs(const SearchFront &front, size_t most) {
  std::vector<FrontPoint> found;
  if (auto error = addHull(front, 0, found))
    return std::move(error);
  if (hasTimes(front)) {
    // Prices of a millisecond around the one at which memory and time weigh the same.
    double time = 0, bits = 0;
    for (const FrontCache &cache : front.caches) {
      bits += costOf(front, cache, Sum::Memory);
      time += costOf(front, cache, Sum::Time);
    }
    for (const FrontGroup &group : front.groups)
      for (const FrontCell &cell : group.cells) {
        bits += cell.bits;
        time += cell.decodeMs.value_or(0);
      }
    if (time > 0)
      for (double share : {0.1, 0.3, 1.0, 3.0, 10.0, 100.0})
        if (auto error = addHull(front, share * bits / time, found))
          return std::move(error);
  }
  auto key = [&](const FrontPoint &p) {
    return std::tuple(front.memoryBytes(p), p.kl, llvm::ArrayRef(p.choice));
  };
  llvm::sort(found, [&](const FrontPoint &a, const FrontPoint &b) { return key(a) < key(b); });
  std::vector<FrontPoint> kept;
  for (const FrontPoint &point : found)
    if (llvm::none_of(kept, [&](const FrontPoint &other) { return covers(front, other, point); }))
      kept.push_back(point);
  if (kept.size() <= most || most < 2)
    return kept;
  std::vector<FrontPoint> thinned;
  for (size_t i = 0; i < most; ++i)
    thinned.push_back(kept[i * (kept.size() - 1) / (most - 1)]);
  return thinned;
}

llvm::Expected<Recipe> searchRecipe(const SearchFront &front, const FrontPoint &point,
                                    const Budgets &budgets) {
  RecipeHeader header;
  header.modelHash = front.modelHash;
  header.scopes = front.scopes;
  header.groups = front.ties;
  header.singleExperts = front.singleExperts;
  header.rotate = front.rotate;
  header.constraints = budgets.facts();
  if (point.cache)
    header.kvCache = front.caches[*point.cache].format;
  header.statisticsHash = front.statisticsHash;
  header.totals = {{"effective-bits", fmt::format("{:.4f}", point.bits)},
                   {"predicted-kl", fmt::format("{:.6f}", point.kl)}};
  if (point.measuredKl)
    header.totals.emplace_back("measured-kl", fmt::format("{:.6f}", *point.measuredKl));
  if (point.cache)
    header.totals.emplace_back("memory-bytes", fmt::format("{:.0f}", front.memoryBytes(point)));
  if (point.decodeMs)
    header.totals.emplace_back("predicted-decode-ms", fmt::format("{:.3f}", *point.decodeMs));
  std::vector<SiteTreatment> assignment;
  for (auto [group, candidate] : llvm::zip(front.groups, point.choice)) {
    auto treatment = parseTreatment(front.candidates[candidate]);
    if (!treatment)
      return treatment.takeError();
    for (const std::string &site : group.sites)
      assignment.push_back({site, *treatment});
  }
  return recipeFor(std::move(header), assignment);
}

} // namespace qplan
