//===- TrellisSearch.cpp - choosing the bits of a tcq row -----------------===//
//
// The M algorithm: from column to column the best candidates survive, and of those in
// one state the best. Rows without feedback could be solved by dynamic programming over
// states (65536 of them); a few survivors come within a tenth of a bit of that, and carry
// errors of their own, which feedback needs. A column costs a look at each survivor's
// errors, one pass over all children, and a few passes that find the limit of survival.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/Numbers.h"
#include "ir/codecs/Trellis.h"
#include "ir/codecs/VectorClones.h"
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#define QPLAN_INLINE inline __attribute__((always_inline))

namespace qplan {
namespace {

constexpr int lanes = 16;
/// Columns that are decided together, and those that a survivor carries.
constexpr int block = 32, window = 2 * block;
/// Children looked at in a column, at most: wide columns have fewer survivors.
constexpr int mostChildren = 4096, mostSurvivors = 512;
/// Places for the states of one column: a power of two, half empty.
constexpr uint32_t places = 2 * mostSurvivors;

typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));
typedef int32_t Marks __attribute__((vector_size(lanes * sizeof(float))));

/// What a survivor chose since the last decided column.
struct alignas(64) Path {
  float lost[window];
  uint8_t code[window];
};

/// The survivors of a column, in memory of a Survivors.
struct SurvivorRows {
  Path *path;
  float *cost;
  uint32_t *state, *ancestor; ///< ancestor: place at the last multiple of `block`
  int count;
};

// The functions with several copies see pointers alone: templates of the library that such a
// copy calls would not be emitted.

// Vectors are passed by reference, since how they are passed by value differs between copies.

/// A vector in an array of floats.
typedef float Unaligned __attribute__((vector_size(lanes * sizeof(float)), aligned(4)));
QPLAN_INLINE const Unaligned &loadLanes(const float *from) {
  return *reinterpret_cast<const Unaligned *>(from);
}

/// Adds in one order, whatever the vectors of the machine.
QPLAN_INLINE float sumOf(const Lanes &v) {
  float sum[lanes];
  __builtin_memcpy(sum, &v, sizeof v);
  for (int half = lanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i)
      sum[i] += sum[i + half];
  return sum[0];
}

QPLAN_VECTOR_CLONES float dot(const float *a, const float *b, int64_t n) {
  Lanes sum = {};
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    sum += loadLanes(a + i) * loadLanes(b + i);
  float rest = 0;
  for (; i < n; ++i)
    rest += a[i] * b[i];
  return sumOf(sum) + rest;
}

/// How the children of a column's survivors are judged.
struct Column {
  float x;             ///< wanted, errors of decided columns taken off
  float weight, scale;
  int width;           ///< bits
  int inWindow;        ///< columns whose errors the survivors carry
  const float *shares; ///< [window] of those errors; null: none are fed
};

/// The costs of all children, and what each survivor wants.
QPLAN_VECTOR_CLONES void spawn(const SurvivorRows &now, const Column &column, const float *values,
                               float *target, float *cost) {
  const int vectors = column.shares ? (column.inWindow + lanes - 1) / lanes : 0;
  for (int s = 0; s < now.count; ++s) {
    float wanted = column.x;
    if (vectors) {
      Lanes sum = {};
      for (int v = 0; v < vectors; ++v)
        sum += loadLanes(now.path[s].lost + v * lanes) * loadLanes(column.shares + v * lanes);
      wanted -= sumOf(sum);
    }
    target[s] = wanted;
    const float *value = values + (now.state[s] << column.width & 0xffffu);
    float *to = cost + (s << column.width);
    const float before = now.cost[s];
    for (int i = 0; i < 1 << column.width; ++i) {
      const float lost = wanted - column.scale * value[i];
      to[i] = before + column.weight * (lost * lost);
    }
  }
}

QPLAN_VECTOR_CLONES float leastOf(const float *cost, int vectors) {
  Lanes least = loadLanes(cost);
  for (int v = 1; v < vectors; ++v) {
    Lanes c = loadLanes(cost + v * lanes);
    least = c < least ? c : least;
  }
  float result = least[0];
  for (int i = 1; i < lanes; ++i)
    result = least[i] < result ? least[i] : result;
  return result;
}

/// A cost that at most `allowed` of cost[16 * vectors] do not exceed, and nearly as many do
/// not. `spread`: how far above `best` it was for the last column.
QPLAN_VECTOR_CLONES float limitOf(const float *cost, int vectors, int allowed, float best,
                                  float &spread) {
  float low = best, high = __builtin_inff(), guess = best + spread;
  for (int round = 0; round < 24; ++round) {
    Marks marks = {};
    for (int v = 0; v < vectors; ++v)
      marks -= loadLanes(cost + v * lanes) <= guess;
    int count = 0;
    for (int i = 0; i < lanes; ++i)
      count += marks[i];
    if (count <= allowed) {
      low = guess;
      if (count >= allowed - allowed / 8)
        break;
    } else {
      high = guess;
    }
    guess = high == __builtin_inff() ? best + (guess - best) * 2 : low + (high - low) * 0.5f;
  }
  spread = low - best > spread * 0.25f ? low - best : spread * 0.25f;
  return low;
}

/// Places by state, for the survivors of one column at a time.
struct Seen {
  uint32_t key[places] = {}; ///< number of the column, then the state
  uint16_t place[places] = {};
};

/// What tells one column's states from another's.
uint32_t seenTag(int64_t column) { return uint32_t(column % 65535 + 1) << 16; }

/// Children of cost up to `limit` survive, `most` at most; of those in one state the best.
QPLAN_VECTOR_CLONES void survive(const SurvivorRows &now, const Column &column,
                                 const float *values, const float *target, const float *cost,
                                 float limit, float best, int most, uint32_t tag, Seen &seen,
                                 SurvivorRows &next) {
  typedef bool Bits __attribute__((ext_vector_type(lanes)));
  const int children = now.count << column.width, at = column.inWindow;
  next.count = 0;
  for (int first = 0; first < children; first += lanes) {
    const Marks marks = loadLanes(cost + first) <= limit;
    uint32_t bits = __builtin_bit_cast(uint16_t, __builtin_convertvector(marks, Bits));
    for (; bits; bits &= bits - 1) {
      const int child = first + __builtin_ctz(bits), parent = child >> column.width;
      if (child >= children)
        return;
      const uint32_t chosen = uint32_t(child) & ((1u << column.width) - 1);
      const uint32_t state = (now.state[parent] << column.width | chosen) & 0xffffu;
      uint32_t slot = (state * 40503u >> 4) % places;
      while (seen.key[slot] != (tag | state) && seen.key[slot] >> 16 == tag >> 16)
        slot = (slot + 1) % places;
      int to = seen.place[slot];
      if (seen.key[slot] != (tag | state)) {
        if (next.count == most)
          return; // ties at the limit
        to = next.count++;
        seen.key[slot] = tag | state;
        seen.place[slot] = uint16_t(to);
      } else if (next.cost[to] <= cost[child] - best) {
        continue;
      }
      Path &path = next.path[to];
      const Path &old = now.path[parent];
      for (int v = 0; v * lanes <= at; ++v)
        __builtin_memcpy(path.lost + v * lanes, old.lost + v * lanes, sizeof(Lanes));
      __builtin_memcpy(path.code, old.code, sizeof path.code);
      path.lost[at] = target[parent] - column.scale * values[state];
      path.code[at] = uint8_t(chosen);
      next.cost[to] = cost[child] - best;
      next.state[to] = state;
      next.ancestor[to] = now.ancestor[parent];
    }
  }
}

/// Memory of the survivors of one column.
struct Survivors {
  std::vector<Path> path;
  std::vector<float> cost;
  std::vector<uint32_t> state, ancestor;

  explicit Survivors(int most) : path(most), cost(most), state(most), ancestor(most) {}
  SurvivorRows rows() { return {path.data(), cost.data(), state.data(), ancestor.data(), 0}; }
};

int bestOf(const SurvivorRows &rows) {
  return int(std::min_element(rows.cost, rows.cost + rows.count) - rows.cost);
}

} // namespace

struct TrellisSearch::State {
  State(TrellisRow row, int most)
      : row(row), most(std::clamp(most, 1, mostSurvivors)), memory{Survivors(this->most),
                                                                   Survivors(this->most)},
        now(memory[0].rows()), next(memory[1].rows()), cost(mostChildren + lanes),
        target(this->most), decided(size_t(row.columns)), code(size_t(row.columns)) {}

  const TrellisRow row;
  const int most; ///< survivors
  Survivors memory[2];
  SurvivorRows now, next;
  std::vector<float> cost;    ///< of each survivor's children
  std::vector<float> target;  ///< of each survivor
  std::vector<float> decided; ///< errors of decided columns
  std::vector<uint8_t> code;  ///< of decided columns
  float fed[block] = {};      ///< what decided columns feed to those of the block
  Seen seen;
  TrellisGoal goal;
  int64_t base = 0; ///< the first column that is not decided
  float scale = 0;
  float unit = 0;   ///< of costs: keeps them near 1
  float spread = 0; ///< how far above the best the last limit of survival was

  void search();
  void decide(int64_t c);
  void step(int64_t c);
  void store(uint8_t *out) const;
};

/// Begins a block of columns. All but the last block before `c` is decided, as the best
/// survivor did; survivors that did otherwise are dropped.
void TrellisSearch::State::decide(int64_t c) {
  if (c - base == window) {
    const int best = bestOf(now);
    const uint32_t ancestor = now.ancestor[best];
    std::copy_n(now.path[best].lost, block, &decided[base]);
    std::copy_n(now.path[best].code, block, &code[base]);
    int kept = 0;
    for (int s = 0; s < now.count; ++s) {
      if (now.ancestor[s] != ancestor)
        continue;
      std::copy_n(now.path[s].lost + block, block, now.path[kept].lost);
      std::copy_n(now.path[s].code + block, block, now.path[kept].code);
      now.cost[kept] = now.cost[s];
      now.state[kept++] = now.state[s];
    }
    now.count = kept;
    base += block;
  }
  for (int s = 0; s < now.count; ++s)
    now.ancestor[s] = uint32_t(s);
  if (goal.shares)
    for (int64_t i = 0; i < block && c + i < row.columns; ++i)
      fed[i] = dot(goal.shares + (c + i) * row.columns, decided.data(), base);
}

/// Column `c`: the survivors' children, and which of them survive.
void TrellisSearch::State::step(int64_t c) {
  float shares[window] = {};
  const int width = row.width(c);
  Column column{goal.x[c], (goal.weight ? goal.weight[c] : 1.0f) * unit, scale, width,
                int(c - base), nullptr};
  if (goal.shares) {
    std::copy_n(goal.shares + c * row.columns + base, column.inWindow, shares);
    column.shares = shares;
    column.x -= fed[c % block];
  }
  spawn(now, column, trellisValues(), target.data(), cost.data());
  const int children = now.count << width, vectors = (children + lanes - 1) / lanes;
  std::fill_n(cost.begin() + children, lanes - 1, INFINITY);
  const float best = leastOf(cost.data(), vectors);
  const int after = c + 1 < row.columns ? row.width(c + 1) : width;
  const int allowed = std::clamp(mostChildren >> after, 1, most);
  const float limit = children <= allowed
                          ? std::numeric_limits<float>::max()
                          : limitOf(cost.data(), vectors, allowed, best, spread);
  survive(now, column, trellisValues(), target.data(), cost.data(), limit, best, allowed,
          seenTag(c), seen, next);
  std::swap(now, next);
}

void TrellisSearch::State::search() {
  base = 0;
  now.count = 1;
  now.cost[0] = 0;
  now.state[0] = f16FromF32(scale);
  now.path[0] = Path();
  double sum = 0;
  for (int64_t c = 0; c < row.columns; ++c)
    sum += goal.weight ? goal.weight[c] : 1.0;
  const double mean = sum / double(row.columns);
  unit = float(1 / ((mean > 0 ? mean : 1) * scale * scale));
  if (!std::isfinite(unit))
    unit = 1;
  spread = 1e-3f;
  for (int64_t c = 0; c < row.columns; ++c) {
    if (c % block == 0)
      decide(c);
    if (c % 65535 == 0)
      seen = Seen(); // tags repeat from here
    step(c);
  }
  std::copy_n(now.path[bestOf(now)].code, row.columns - base, &code[base]);
}

/// The codes into the bits after the scale, which are 0.
void TrellisSearch::State::store(uint8_t *out) const {
  for (int64_t c = 0; c < row.columns; ++c)
    for (int64_t bit = row.end(c - 1), end = row.end(c); bit < end; ++bit)
      if (code[c] >> (end - 1 - bit) & 1)
        out[bit / 8] |= uint8_t(0x80 >> bit % 8);
}

TrellisSearch::TrellisSearch(TrellisRow row, int survivors)
    : state(std::make_unique<State>(row, survivors)) {}

TrellisSearch::~TrellisSearch() = default;

namespace {

/// Root mean square of the values of all states, and the largest value, as a share of it, that a
/// column can nearly always take.
constexpr double valueRms = 1.15474, reach = 2.8;

/// The scale that makes the expected error least: of values within reach, it grows with the
/// square of the scale; those beyond lack the rest. Long searches use the room that the tails
/// take, wide columns more of it.
double scaleOf(const float *x, TrellisRow row) {
  double squares = 0;
  for (int64_t c = 0; c < row.columns; ++c)
    squares += double(x[c]) * x[c];
  const double bits = double(row.step) / 65536, rms = std::sqrt(squares / double(row.columns));
  const double least = (1.05 + 0.03 * bits) * rms;
  // A search stays 1.3 dB above the bound for a normal distribution.
  const double within = 1.35 * std::pow(0.25, bits) * squares;
  double best = least, bestError = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 24; ++i) {
    const double stretch = std::pow(1.04, i);
    double beyond = 0;
    for (int64_t c = 0; c < row.columns; ++c) {
      const double lack = std::abs(double(x[c])) - reach * stretch * least;
      beyond += lack > 0 ? lack * lack : 0;
    }
    const double error = within * stretch * stretch + beyond;
    if (error < bestError) {
      bestError = error;
      best = stretch * least;
    }
  }
  return best / valueRms;
}

/// One of the f16 numbers next to `scale`: the first column's state holds its bits, so that they
/// decide which values it can take. That which comes nearest to `first`.
uint16_t fittingScale(uint16_t scale, float first, int width) {
  uint16_t fitting = scale;
  float least = std::numeric_limits<float>::infinity();
  for (int i = 0; i < 16; ++i) {
    const int code = scale + (i % 2 ? -(i + 1) / 2 : i / 2);
    if (code < 1 || code > 0x7bff)
      continue;
    for (int child = 0; child < 1 << width; ++child) {
      const float value = trellisValues()[uint16_t(code << width | child)];
      const float lost = std::abs(first - f32FromF16(uint16_t(code)) * value);
      if (lost < least) {
        least = lost;
        fitting = uint16_t(code);
      }
    }
  }
  return fitting;
}

} // namespace

bool TrellisSearch::run(const TrellisGoal &goal, uint8_t *out) {
  State &s = *state;
  const double wanted = scaleOf(goal.x, s.row);
  if (!(wanted <= 65504))
    return false;
  std::fill_n(out, s.row.bytes, uint8_t(0));
  const uint16_t nearest = f16FromF32(float(wanted));
  if (nearest == 0)
    return true;
  const uint16_t scale = fittingScale(nearest, goal.x[0], s.row.width(0));
  out[0] = uint8_t(scale >> 8);
  out[1] = uint8_t(scale);
  s.goal = goal;
  s.scale = f32FromF16(scale);
  s.search();
  s.store(out);
  return true;
}

} // namespace qplan
