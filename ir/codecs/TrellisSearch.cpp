//===- TrellisSearch.cpp - choosing the bits of a tcq row -----------------===//
//
// The M algorithm: from column to column the best candidates survive, and of those in
// one state the best. Rows without feedback could be solved by dynamic programming over
// states (65536 of them); a few survivors come within a tenth of a bit of that, and carry
// errors of their own, which feedback needs. What a survivor copies is 16 columns long:
// when these end, its errors are pushed to the columns ahead, and what it chose is found
// again through the places that survivors had.
//
//===----------------------------------------------------------------------===//
#include "ir/codecs/Numbers.h"
#include "ir/codecs/Trellis.h"
#include "ir/codecs/VectorClones.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#define QPLAN_INLINE inline __attribute__((always_inline))

namespace qplan {
namespace {

constexpr int lanes = 16;
/// Columns that are decided together; and blocks behind the present one that are not decided.
constexpr int block = lanes, openBlocks = 4;
/// Survivors are counted roughly, and may be this many for `beam` of them.
constexpr int mostFor(int beam) { return beam + beam / 8; }
constexpr int mostBeam = 512;
/// Children looked at in a column, roughly: wide columns have fewer survivors.
constexpr int someChildren = 4096, mostChildren = mostFor(someChildren);
/// Places for the states of one column: a power of two.
constexpr uint32_t places = 1024;

typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));
typedef int32_t Marks __attribute__((vector_size(lanes * sizeof(float))));
typedef uint8_t Codes __attribute__((vector_size(block)));

/// What the errors of open columns feed to the columns of the next blocks.
struct Ahead {
  Lanes of[openBlocks];
};

/// The survivors of a column, in memory of a Survivors.
struct SurvivorRows {
  Lanes *block;     ///< errors of the block's columns so far; later ones: what is fed to them
  Codes *code;      ///< of the block's columns so far
  float *cost;      ///< above that of the best
  uint32_t *state;
  uint16_t *origin; ///< place where the block began
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
  float root, scale;   ///< root: of the weight of the squared error
  int width;           ///< bits
  int inBlock;         ///< number in its block
  const Lanes *shares; ///< of its error, for the later columns of the block; else 0
};

/// The costs of the children of columns of `width` bits; the least of them.
template <int width>
QPLAN_INLINE float spawnWide(const SurvivorRows &now, const Column &column, const float *values,
                             float *target, float *cost) {
  constexpr int across = width < 4 ? 1 << width : lanes;
  typedef float Vector __attribute__((vector_size(across * sizeof(float))));
  const float x = column.x, root = column.root, scale = root * column.scale;
  Vector least = Vector{} + __builtin_inff();
  for (int s = 0; s < now.count; ++s) {
    const float wanted = x - reinterpret_cast<const float *>(now.block + s)[column.inBlock];
    const float rooted = wanted * root, before = now.cost[s];
    target[s] = wanted;
    const float *value = values + (now.state[s] << width & 0xffffu);
    for (int i = 0; i < 1 << width; i += across) {
      Vector v;
      __builtin_memcpy(&v, value + i, sizeof v);
      const Vector lost = rooted - scale * v, sum = before + lost * lost;
      __builtin_memcpy(cost + (s << width) + i, &sum, sizeof sum);
      least = sum < least ? sum : least;
    }
  }
  float result = least[0];
  for (int i = 1; i < across; ++i)
    result = least[i] < result ? least[i] : result;
  return result;
}

/// The costs of all children, and what each survivor wants. Returns the least cost.
QPLAN_VECTOR_CLONES float spawn(const SurvivorRows &now, const Column &column, const float *values,
                                float *target, float *cost) {
  switch (column.width) {
  case 1:
    return spawnWide<1>(now, column, values, target, cost);
  case 2:
    return spawnWide<2>(now, column, values, target, cost);
  case 3:
    return spawnWide<3>(now, column, values, target, cost);
  case 4:
    return spawnWide<4>(now, column, values, target, cost);
  case 5:
    return spawnWide<5>(now, column, values, target, cost);
  case 6:
    return spawnWide<6>(now, column, values, target, cost);
  case 7:
    return spawnWide<7>(now, column, values, target, cost);
  default:
    return spawnWide<8>(now, column, values, target, cost);
  }
}

/// How many of cost[16 * vectors] are at most `limit`.
QPLAN_INLINE int countUpTo(const float *cost, int vectors, float limit) {
  Marks marks = {};
  for (int v = 0; v < vectors; ++v)
    marks -= loadLanes(cost + v * lanes) <= limit;
  int count = 0;
  for (int i = 0; i < lanes; ++i)
    count += marks[i];
  return count;
}

/// A cost that about `wanted` of cost[16 * vectors] do not exceed: an eighth more at most, and
/// as few less if costs tell so many apart. `spread`: how far above `best` it was for the last
/// such column.
QPLAN_VECTOR_CLONES float limitOf(const float *cost, int vectors, int wanted, float best,
                                  float &spread) {
  // Between two limits the count grows nearly evenly.
  const float aim = float(wanted);
  float low = 0, high = __builtin_inff(), lowCount = 0, highCount = 0, guess = spread;
  for (int round = 0; round < 24; ++round) {
    const int count = countUpTo(cost, vectors, best + guess);
    if (count <= mostFor(wanted)) {
      low = guess;
      lowCount = float(count);
      if (count >= wanted - wanted / 8)
        break;
    } else {
      high = guess;
      highCount = float(count);
    }
    if (highCount == 0)
      guess *= aim < 4 * lowCount ? aim / lowCount : 4.0f;
    else
      guess = low + (high - low) * ((aim - lowCount) / (highCount - lowCount));
    if (!(guess > low && guess < high) || round > 6)
      guess = high == __builtin_inff() ? low * 2 : low + (high - low) * 0.5f;
  }
  spread = low > spread * 0.25f ? low : spread * 0.25f;
  return best + low;
}

/// Numbers of the children of cost up to `limit`, in order, to chosen[]; their count.
QPLAN_VECTOR_CLONES int chooseUpTo(const float *cost, int vectors, float limit, uint16_t *chosen) {
  typedef bool Bits __attribute__((ext_vector_type(lanes)));
  int count = 0;
  for (int v = 0; v < vectors; v += 2) {
    const Marks low = loadLanes(cost + v * lanes) <= limit;
    const Marks high = loadLanes(cost + v * lanes + lanes) <= limit;
    uint32_t bits = __builtin_bit_cast(uint16_t, __builtin_convertvector(low, Bits)) |
                    uint32_t(__builtin_bit_cast(uint16_t, __builtin_convertvector(high, Bits)))
                        << lanes;
    // Few are chosen: four are written whether there are or not, which no branch decides.
    const int found = __builtin_popcount(bits);
    uint16_t *to = chosen + count;
    count += found;
    for (int i = 0; i < 4; ++i, bits &= bits - 1)
      to[i] = uint16_t(v * lanes + __builtin_ctz(bits | 0x80000000u));
    for (int i = 4; i < found; ++i, bits &= bits - 1)
      to[i] = uint16_t(v * lanes + __builtin_ctz(bits));
  }
  return count;
}

/// Places by state, for the survivors of one column at a time. A state may be forgotten for
/// another one: few children meet, and two survivors in one state do no harm but their time.
struct Seen {
  uint64_t entry[places] = {}; ///< number of the column, the state, and the place, 16 bits each
};

/// What tells one column's states from another's.
uint32_t seenTag(int64_t column) { return uint32_t(column % 65535 + 1) << 16; }

/// The chosen children survive; of those in one state the best.
QPLAN_VECTOR_CLONES void survive(const SurvivorRows &now, const Column &column,
                                 const float *target, const float *cost, const uint16_t *chosen,
                                 int count, float best, uint32_t tag, Seen &seen,
                                 SurvivorRows &next) {
  const SurvivorRows from = now, into = next;
  const int width = column.width, inBlock = column.inBlock;
  const float scale = column.scale;
  const Lanes shares = *column.shares;
  int survivors = 0;
  for (int i = 0; i < count; ++i) {
    const int child = chosen[i], parent = child >> width;
    const uint32_t code = uint32_t(child) & ((1u << width) - 1);
    const uint32_t state = (from.state[parent] << width | code) & 0xffffu;
    const float above = cost[child] - best;
    uint64_t &entry = seen.entry[(state * 40503u >> 4) % places];
    int to = survivors;
    if (entry >> 16 == (tag | state)) {
      to = int(entry & 0xffff);
      if (into.cost[to] <= above)
        continue;
    } else {
      ++survivors;
      entry = uint64_t(tag | state) << 16 | uint32_t(to);
    }
    const float lost = target[parent] - scale * trellisValue(uint16_t(state));
    into.block[to] = from.block[parent] + lost * shares;
    reinterpret_cast<float *>(into.block + to)[inBlock] = lost;
    into.code[to] = from.code[parent];
    reinterpret_cast<uint8_t *>(into.code + to)[inBlock] = uint8_t(code);
    into.cost[to] = above;
    into.state[to] = state;
    into.origin[to] = from.origin[parent];
  }
  next.count = survivors;
}

/// The errors of a block that ends, times shares[column][block ahead], to what its survivors
/// find ahead: `before` is that of the places where they began.
QPLAN_VECTOR_CLONES void pushAhead(const SurvivorRows &rows, const Ahead *shares,
                                   const Ahead *before, Ahead *after) {
  for (int s = 0; s < rows.count; ++s) {
    Ahead sum = {};
    for (int b = 0; b + 1 < openBlocks; ++b)
      sum.of[b] = before[rows.origin[s]].of[b + 1];
    const float *lost = reinterpret_cast<const float *>(rows.block + s);
    for (int i = 0; i < block; ++i)
      for (int b = 0; b < openBlocks; ++b)
        sum.of[b] += lost[i] * shares[i].of[b];
    after[s] = sum;
  }
}

/// Memory of survivors.
struct Survivors {
  std::vector<Lanes> block;
  std::vector<Codes> code;
  std::vector<float> cost;
  std::vector<uint32_t> state;
  std::vector<uint16_t> origin;

  explicit Survivors(int most)
      : block(most), code(most), cost(most), state(most), origin(most) {}
  SurvivorRows rows() {
    return {block.data(), code.data(), cost.data(), state.data(), origin.data(), 0};
  }
};

int bestOf(const SurvivorRows &rows) {
  return int(std::min_element(rows.cost, rows.cost + rows.count) - rows.cost);
}

} // namespace

struct TrellisSearch::State {
  State(TrellisRow row, int survivors)
      : row(row), beam(std::clamp(survivors, 1, mostBeam)), most(mostFor(beam)),
        memory(openBlocks + 3, Survivors(most)), now(memory[0].rows()),
        next(memory[1].rows()), before(size_t(most)), after(size_t(most)),
        cost(mostChildren + 2 * lanes), target(most), chosen(mostChildren + 4),
        decided(size_t(row.columns)), code(size_t(row.columns) + block) {
    for (int b = 0; b <= openBlocks; ++b)
      ended[b] = memory[size_t(b) + 2].rows();
  }

  const TrellisRow row;
  const int beam, most; ///< survivors: about, and at most
  std::vector<Survivors> memory;
  SurvivorRows now, next;
  SurvivorRows ended[openBlocks + 1]; ///< as blocks ended, by their number modulo the length
  std::vector<Ahead> before, after;   ///< of survivors where this block and the next began
  std::vector<float> cost;            ///< of each survivor's children
  std::vector<float> target;          ///< of each survivor
  std::vector<uint16_t> chosen;       ///< children
  std::vector<float> decided;         ///< errors of decided columns
  std::vector<uint8_t> code;          ///< of decided columns
  float fed[block] = {};              ///< what decided columns feed to those of the block
  Lanes inBlock[block] = {};          ///< shares of errors for the later columns of the block
  Seen seen;
  TrellisGoal goal;
  int64_t base = 0; ///< the first column that is not decided
  float scale = 0;
  float unit = 0;        ///< of costs: keeps them near 1
  float spread[9] = {};  ///< by width: how far above the best the last limit of survival was

  SurvivorRows &endOf(int64_t number) { return ended[number % (openBlocks + 1)]; }
  float share(int64_t to, int64_t from) const {
    return to < row.columns && from < to ? goal.shares[to * row.columns + from] : 0;
  }
  void search();
  void decide(int64_t number);
  void begin(int64_t c);
  void step(int64_t c);
  void store(uint8_t *out) const;
};

/// Decides the first open block as the best survivor of block `last`, the last that ended, did.
/// Survivors that did otherwise are dropped.
void TrellisSearch::State::decide(int64_t last) {
  SurvivorRows &rows = endOf(last);
  const int64_t first = base / block;
  auto ancestor = [&](int place) {
    for (int64_t number = last; number > first; --number)
      place = endOf(number).origin[place];
    return place;
  };
  const int chosen = ancestor(bestOf(rows));
  std::memcpy(&decided[base], endOf(first).block + chosen, sizeof(Lanes));
  std::memcpy(&code[base], endOf(first).code + chosen, sizeof(Codes));
  int kept = 0;
  for (int s = 0; s < rows.count; ++s) {
    if (ancestor(s) != chosen)
      continue;
    rows.block[kept] = rows.block[s];
    rows.code[kept] = rows.code[s];
    rows.cost[kept] = rows.cost[s];
    rows.state[kept] = rows.state[s];
    rows.origin[kept++] = rows.origin[s];
  }
  rows.count = kept;
  base += block;
}

/// Begins the block of column `c`: those behind it that are not open are decided.
void TrellisSearch::State::begin(int64_t c) {
  const int64_t last = c / block - 1;
  if (last >= 0) {
    std::swap(now, endOf(last));
    if (c - base > openBlocks * block)
      decide(last);
    const SurvivorRows &rows = endOf(last);
    if (goal.shares) {
      Ahead shares[block];
      for (int i = 0; i < block; ++i)
        for (int to = 0; to < openBlocks * block; ++to)
          shares[i].of[to / block][to % block] = share(c + to, c - block + i);
      pushAhead(rows, shares, before.data(), after.data());
      before.swap(after);
    }
    now.count = rows.count;
    std::copy_n(rows.cost, rows.count, now.cost);
    std::copy_n(rows.state, rows.count, now.state);
  }
  for (int s = 0; s < now.count; ++s) {
    now.block[s] = before[s].of[0];
    now.origin[s] = uint16_t(s);
  }
  if (!goal.shares)
    return;
  for (int i = 0; i < block; ++i) {
    for (int to = 0; to < block; ++to)
      inBlock[i][to] = share(c + to, c + i);
    if (c + i < row.columns)
      fed[i] = dot(goal.shares + (c + i) * row.columns, decided.data(), base);
  }
}

/// Column `c`: the survivors' children, and which of them survive.
void TrellisSearch::State::step(int64_t c) {
  const int width = row.width(c), at = int(c % block);
  const float weight = (goal.weight ? goal.weight[c] : 1.0f) * unit;
  const Column column{goal.x[c] - fed[at], std::sqrt(weight), scale, width, at, &inBlock[at]};
  const float best = spawn(now, column, trellisValues(), target.data(), cost.data());
  const int children = now.count << width, vectors = (children + lanes - 1) / lanes;
  std::fill_n(cost.begin() + children, 2 * lanes, INFINITY);
  const int after = c + 1 < row.columns ? row.width(c + 1) : width;
  const int wanted = std::clamp(someChildren >> after, 1, beam);
  const float limit = children <= wanted
                          ? std::numeric_limits<float>::max()
                          : limitOf(cost.data(), vectors, wanted, best, spread[width]);
  int count = std::min(chooseUpTo(cost.data(), vectors, limit, chosen.data()), mostFor(wanted));
  if (count == 0) { // costs are beyond f32
    chosen[0] = 0;
    count = 1;
  }
  survive(now, column, target.data(), cost.data(), chosen.data(), count, best, seenTag(c), seen,
          next);
  std::swap(now, next);
}

void TrellisSearch::State::search() {
  base = 0;
  now.count = 1;
  now.cost[0] = 0;
  now.state[0] = f16FromF32(scale);
  std::fill(before.begin(), before.end(), Ahead());
  std::fill_n(fed, block, 0.0f);
  std::fill_n(inBlock, block, Lanes());
  double sum = 0;
  for (int64_t c = 0; c < row.columns; ++c)
    sum += goal.weight ? goal.weight[c] : 1.0;
  const double mean = sum / double(row.columns);
  unit = float(1 / ((mean > 0 ? mean : 1) * scale * scale));
  if (!std::isfinite(unit))
    unit = 1;
  std::fill(std::begin(spread), std::end(spread), 1e-3f);
  for (int64_t c = 0; c < row.columns; ++c) {
    if (c % block == 0)
      begin(c);
    if (c % 65535 == 0)
      seen = Seen(); // tags repeat from here
    step(c);
  }
  int64_t number = (row.columns - 1) / block;
  int place = bestOf(now);
  std::memcpy(&code[number * block], now.code + place, sizeof(Codes));
  for (place = now.origin[place]; number > base / block; place = endOf(number).origin[place]) {
    --number;
    std::memcpy(&code[number * block], endOf(number).code + place, sizeof(Codes));
  }
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

/// The scale that makes the expected error of the row least. Of values within reach the error grows
/// with the square of the scale, and the search deals it out so that the weights' geometric mean
/// counts; a value beyond reach lacks the rest, by its own weight: where a massive activation
/// meets a large value, that is worth a scale many times as large. Long searches use the room
/// that the tails take, wide columns more of it.
double scaleOf(const TrellisGoal &goal, TrellisRow row) {
  const float *x = goal.x;
  double squares = 0, largest = 0, logs = 0;
  int64_t weighted = 0;
  for (int64_t c = 0; c < row.columns; ++c) {
    squares += double(x[c]) * x[c];
    largest = std::max(largest, std::abs(double(x[c])));
    if (goal.weight && goal.weight[c] > 0) {
      logs += std::log(double(goal.weight[c]));
      ++weighted;
    }
  }
  const double usual = weighted ? std::exp(logs / double(weighted)) : 1;
  const double bits = double(row.step) / 65536, rms = std::sqrt(squares / double(row.columns));
  const double least = (1.05 + 0.03 * bits) * rms;
  // A search stays 1.3 dB above the bound for a normal distribution.
  const double within = 1.35 * std::pow(0.25, bits) * squares;
  double best = least, bestError = std::numeric_limits<double>::infinity();
  for (double stretch = 1, beyond = 1; beyond > 0; stretch *= 1.04) {
    const double end = reach * stretch * least;
    beyond = 0;
    for (int64_t c = 0; end < largest && c < row.columns; ++c) {
      const double lack = std::abs(double(x[c])) - end;
      if (lack > 0)
        beyond += lack * lack * (goal.weight ? goal.weight[c] / usual : 1.0);
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
  const double wanted = scaleOf(goal, s.row);
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
