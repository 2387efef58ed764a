//===- AttentionTest.cpp - cached keys and values, causal attention -------===//
//
// kv_store fills pages, attention reads them. Batches are ragged: a long prefill,
// a continued one and single tokens, at positions on both sides of a page's end.
//
//===----------------------------------------------------------------------===//
#include "KernelTest.h"

#include <bit>
#include <cmath>

static size_t at(int64_t i) { return static_cast<size_t>(i); }

struct Setup {
  int64_t heads, kvHeads, headDim, element, pageTokens, window;
  double softcap;
};

static double stored(float x, int64_t element) {
  if (element == QK_F32)
    return x;
  if (element == QK_F16)
    return halfToFloat(floatToHalf(x));
  auto bits = std::bit_cast<uint32_t>(x);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
  return std::bit_cast<float>(bits);
}

/// Sequences with pages of their own.
struct Batch {
  struct Part {
    int64_t past, rows;
  };
  std::vector<Part> parts;
  std::vector<std::vector<Memory>> pages;
  std::vector<std::vector<void *>> pointers;
  std::vector<qplan_sequence_v1> sequences;
  std::vector<int32_t> positions, rowSequence;
  int64_t tokens = 0;

  Batch(std::vector<Part> given, int64_t pageTokens, size_t pageBytes) : parts(std::move(given)) {
    for (size_t s = 0; s < parts.size(); ++s) {
      int64_t length = parts[s].past + parts[s].rows;
      pages.emplace_back(at((length + pageTokens - 1) / pageTokens), Memory(pageBytes));
      for (int64_t i = 0; i < parts[s].rows; ++i) {
        positions.push_back(static_cast<int32_t>(parts[s].past + i));
        rowSequence.push_back(static_cast<int32_t>(s));
      }
    }
    for (size_t s = 0; s < parts.size(); ++s) {
      pointers.emplace_back();
      for (Memory &page : pages[s])
        pointers[s].push_back(page.data());
      tokens += parts[s].rows;
    }
    int64_t row = 0;
    for (size_t s = 0; s < parts.size(); ++s) {
      sequences.push_back({row, parts[s].rows, parts[s].past, pointers[s].data()});
      row += parts[s].rows;
    }
  }
  void describe(qplan_args_v1 &args) const {
    args.sequences = static_cast<int64_t>(sequences.size());
    args.sequence = sequences.data();
    args.positions = positions.data();
    args.row_sequence = rowSequence.data();
  }
};

/// Stores rows [0, tokens) of x and returns nothing; pages are written.
static void store(const Level &level, const Setup &s, Batch &batch, Memory &x, int64_t ld,
                  int64_t layer) {
  Launch launch("kv_store", batch.tokens);
  batch.describe(launch.args);
  launch.params = {{"column", s.heads * s.headDim},
                   {"vColumn", (s.heads + s.kvHeads) * s.headDim},
                   {"ld", ld},
                   {"kvHeads", s.kvHeads},
                   {"headDim", s.headDim},
                   {"layer", layer},
                   {"layers", 2},
                   {"kvElement", s.element},
                   {"pageTokens", s.pageTokens}};
  launch.buffers = {&x};
  std::vector<Memory *> extra;
  for (auto &pages : batch.pages)
    for (Memory &page : pages)
      extra.push_back(&page);
  launch.run(level, extra);
}

static double score(const Setup &s, const float *q, const float *k, double scale) {
  double dot = 0;
  for (int64_t d = 0; d < s.headDim; ++d)
    dot += q[d] * stored(k[d], s.element);
  dot *= scale;
  return s.softcap != 0 ? s.softcap * std::tanh(dot / s.softcap) : dot;
}

/// One query head of one row; all[j] is the row of x at position j.
static void reference(const Setup &s, const std::vector<const float *> &all, int64_t position,
                      int64_t head, double scale, double *out) {
  int64_t kv = head / (s.heads / s.kvHeads);
  int64_t from = s.window > 0 ? std::max<int64_t>(0, position - s.window + 1) : 0;
  const float *q = all[at(position)] + head * s.headDim;
  std::vector<double> weights;
  double total = 0;
  for (int64_t j = from; j <= position; ++j) {
    weights.push_back(std::exp(score(s, q, all[at(j)] + (s.heads + kv) * s.headDim, scale)));
    total += weights.back();
  }
  for (int64_t d = 0; d < s.headDim; ++d) {
    double sum = 0;
    for (int64_t j = from; j <= position; ++j)
      sum += weights[at(j - from)] *
             stored(all[at(j)][(s.heads + s.kvHeads + kv) * s.headDim + d], s.element);
    out[d] = sum / total;
  }
}

static void check(const Level &level, const Setup &s, uint64_t seed) {
  Random random(seed);
  const int64_t layer = 1, ld = (s.heads + 2 * s.kvHeads) * s.headDim + 3;
  std::vector<Batch::Part> parts = {{0, 70}, {37, 1}, {130, 1}, {20, 19}, {0, 1}};
  size_t pageBytes =
      at(2 * 2 * s.kvHeads * s.pageTokens * s.headDim * (s.element == QK_F32 ? 4 : 2));
  Batch batch(parts, s.pageTokens, pageBytes);
  // The whole history of each sequence goes through kv_store first.
  std::vector<Batch::Part> whole;
  for (auto part : parts)
    whole.push_back({0, part.past + part.rows});
  Batch history(whole, s.pageTokens, pageBytes);
  Memory all(random.floats(history.tokens * ld));
  store(level, s, history, all, ld, layer);
  std::vector<float> rows;
  std::vector<std::vector<const float *>> places(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    for (int64_t j = 0; j < whole[i].rows; ++j)
      places[i].push_back(all.as<float>() + (history.sequences[i].first_row + j) * ld);
    for (int64_t j = parts[i].past; j < whole[i].rows; ++j)
      rows.insert(rows.end(), places[i][at(j)], places[i][at(j)] + ld);
    batch.sequences[i].pages = history.sequences[i].pages;
  }
  Memory x(rows), out(at(batch.tokens * s.heads * s.headDim) * 4);
  double scale = 1 / std::sqrt(static_cast<double>(s.headDim));
  Launch launch("attention", batch.tokens);
  batch.describe(launch.args);
  launch.params = {{"column", 0},
                   {"ld", ld},
                   {"heads", s.heads},
                   {"kvHeads", s.kvHeads},
                   {"headDim", s.headDim},
                   {"layer", layer},
                   {"layers", 2},
                   {"kvElement", s.element},
                   {"pageTokens", s.pageTokens},
                   {"scale", doubleBits(scale)},
                   {"window", s.window},
                   {"softcap", doubleBits(s.softcap)}};
  launch.buffers = {&x, &out};
  launch.run(level);
  std::vector<double> want(at(batch.tokens * s.heads * s.headDim));
  for (int64_t r = 0; r < batch.tokens; ++r)
    for (int64_t h = 0; h < s.heads; ++h)
      reference(s, places[at(batch.rowSequence[at(r)])], batch.positions[at(r)], h, scale,
                want.data() + (r * s.heads + h) * s.headDim);
  expectClose(out.copy<float>(), want, 5e-6,
              "headDim " + std::to_string(s.headDim) + " heads " + std::to_string(s.heads));
}

KERNEL_TEST(Attention, MatchesTheSoftmaxInDouble) {
  const Setup setups[] = {{9, 3, 64, QK_F16, 64, 0, 0},    {4, 4, 32, QK_F32, 16, 0, 0},
                          {8, 1, 128, QK_BF16, 32, 0, 0},  {4, 2, 80, QK_F16, 20, 0, 0},
                          {2, 1, 20, QK_F32, 7, 0, 0},     {2, 2, 256, QK_BF16, 64, 0, 0},
                          {6, 2, 64, QK_F16, 64, 24, 0},   {4, 1, 64, QK_F32, 128, 0, 2.0},
                          {4, 2, 96, QK_BF16, 16, 1, 5.0}, {64, 1, 16, QK_F16, 16, 0, 0}};
  uint64_t seed = 1;
  for (const Setup &s : setups)
    check(level, s, seed++);
}

KERNEL_TEST(Attention, SurvivesLargeScores) {
  // exp of the scores themselves would overflow.
  Setup s{2, 1, 16, QK_F32, 16, 0, 0};
  Batch batch({{0, 3}}, 16, at(2 * 2 * 16 * 16 * 4));
  int64_t ld = 64;
  std::vector<float> input(at(3 * ld), 30.0f);
  for (int64_t j = 0; j < 3; ++j)
    for (int64_t d = 48; d < 64; ++d)
      input[at(j * ld + d)] = static_cast<float>(j);
  Memory x(input), out(3 * 32 * 4);
  store(level, s, batch, x, ld, 0);
  Launch launch("attention", 3);
  batch.describe(launch.args);
  launch.params = {{"ld", ld},
                   {"heads", 2},
                   {"kvHeads", 1},
                   {"headDim", 16},
                   {"layers", 2},
                   {"kvElement", QK_F32},
                   {"pageTokens", 16},
                   {"scale", doubleBits(1)},
                   {"softcap", doubleBits(0)}};
  launch.buffers = {&x, &out};
  launch.run(level);
  std::vector<double> want;
  for (double mean : {0.0, 0.5, 1.0})
    want.insert(want.end(), 32, mean);
  expectClose(out.copy<float>(), want, 1e-6, "equal scores give the mean");
}
