//===- AttentionTest.cpp - cached keys and values, causal attention -------===//
//
// kv_store fills pages, attention reads them. Batches are ragged: a long prefill,
// a continued one and single tokens, at positions on both sides of a page's end. The
// reference takes keys and values as the codec of the cache's format returns them.
//
//===----------------------------------------------------------------------===//
#include "KernelTest.h"
#include "ir/codecs/Codec.h"
#include "ir/packings/KvPages.h"

#include <cmath>

using qplan::FormatId;

static size_t at(int64_t i) { return static_cast<size_t>(i); }

struct Setup {
  int64_t heads, kvHeads, headDim;
  FormatId format;
  int64_t pageTokens, window;
  double softcap;

  qplan::KvLayout layout() const { return llvm::cantFail(qplan::kvLayoutFor(format, headDim)); }
  size_t pageBytes(int64_t layers) const {
    return at(layers * 2 * kvHeads * pageTokens) * layout().bytes;
  }
  /// Scales that no vector has of itself, for formats that take them from outside.
  std::vector<float> scales() const {
    std::vector<float> values;
    for (int64_t i = 0; i < 2 * kvHeads; ++i)
      values.push_back(0.004f * static_cast<float>(i + 1));
    return values;
  }
  /// What describes the cache to either kernel.
  void describe(Launch &launch, int64_t layer, int64_t layers) const {
    qplan::KvLayout cache = layout();
    for (auto [name, value] : std::initializer_list<std::pair<const char *, int64_t>>{
             {"kvHeads", kvHeads},
             {"headDim", headDim},
             {"layer", layer},
             {"layers", layers},
             {"kvElement", cache.element},
             {"kvGroup", cache.group},
             {"kvScale", static_cast<int64_t>(cache.scale)},
             {"kvZero", cache.zero},
             {"kvFixed", cache.fixed != qplan::KvScales::None},
             {"pageTokens", pageTokens}})
      launch.params[name] = value;
  }
};

/// x[headDim] as vectors of part 0 (keys) or 1 (values) and `head` come back.
static void round(const Setup &s, int64_t part, int64_t head, float *x) {
  qplan::EncodeOptions options;
  const std::vector<float> scales = s.scales();
  options.tensor = {llvm::ArrayRef<float>(scales).slice(at(part * s.kvHeads + head), 1), 0};
  const qplan::Codec &codec = qplan::codecFor(s.format);
  std::vector<uint8_t> bytes(codec.bytesPerRow(s.headDim));
  llvm::cantFail(codec.encodeRow(x, s.headDim, options, bytes.data()));
  codec.decodeRow(bytes.data(), s.headDim, x, options.tensor);
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
                   {"ld", ld}};
  s.describe(launch, layer, 2);
  Memory scales(s.scales());
  launch.weights = {&scales};
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
    dot += double(q[d]) * k[d];
  dot *= scale;
  return s.softcap != 0 ? s.softcap * std::tanh(dot / s.softcap) : dot;
}

/// One query head of one row; all[j] is the row at position j, its keys and values rounded.
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
             all[at(j)][(s.heads + s.kvHeads + kv) * s.headDim + d];
    out[d] = sum / total;
  }
}

static void check(const Level &level, const Setup &s, uint64_t seed) {
  Random random(seed);
  const int64_t layer = 1, ld = (s.heads + 2 * s.kvHeads) * s.headDim + 3;
  std::vector<Batch::Part> parts = {{0, 70}, {37, 1}, {130, 1}, {20, 19}, {0, 1}};
  size_t pageBytes = s.pageBytes(2);
  Batch batch(parts, s.pageTokens, pageBytes);
  // The whole history of each sequence goes through kv_store first.
  std::vector<Batch::Part> whole;
  for (auto part : parts)
    whole.push_back({0, part.past + part.rows});
  Batch history(whole, s.pageTokens, pageBytes);
  Memory all(random.floats(history.tokens * ld));
  store(level, s, history, all, ld, layer);
  for (int64_t row = 0; row < history.tokens; ++row)
    for (int64_t v = 0; v < 2 * s.kvHeads; ++v)
      round(s, v / s.kvHeads, v % s.kvHeads, all.as<float>() + row * ld + (s.heads + v) * s.headDim);
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
                   {"scale", doubleBits(scale)},
                   {"window", s.window},
                   {"softcap", doubleBits(s.softcap)},
                   {"splitKeys", 64},
                   {"splits", 3}};
  s.describe(launch, layer, 2);
  Memory scales(s.scales()), none(64);
  launch.weights = {&scales};
  launch.buffers = {&x, &out, &none};
  launch.run(level);
  std::vector<double> want(at(batch.tokens * s.heads * s.headDim));
  for (int64_t r = 0; r < batch.tokens; ++r)
    for (int64_t h = 0; h < s.heads; ++h)
      reference(s, places[at(batch.rowSequence[at(r)])], batch.positions[at(r)], h, scale,
                want.data() + (r * s.heads + h) * s.headDim);
  expectClose(out.copy<float>(), want, 5e-6,
              "headDim " + std::to_string(s.headDim) + " heads " + std::to_string(s.heads));

  // Stretches as items of their own, merged after: the same bits.
  Memory states(at(3 * s.heads * 3 * ((s.headDim + 15) / 16 * 16 + 16)) * 4);
  Memory split(at(batch.tokens * s.heads * s.headDim) * 4);
  launch.params["splitRows"] = 3;
  launch.buffers = {&x, &split, &states};
  launch.run(level);
  Launch merge("attention_merge", batch.tokens);
  batch.describe(merge.args);
  merge.params = launch.params;
  merge.buffers = {&states, &split};
  merge.run(level);
  EXPECT_EQ(split.copy<float>(), out.copy<float>());
}

KERNEL_TEST(Attention, MatchesTheSoftmaxInDouble) {
  const Setup setups[] = {{9, 3, 64, FormatId::F16, 64, 0, 0},
                          {4, 4, 32, FormatId::F32, 16, 0, 0},
                          {8, 1, 128, FormatId::BF16, 32, 0, 0},
                          {4, 2, 80, FormatId::F16, 20, 0, 0},
                          {2, 1, 20, FormatId::F32, 7, 0, 0},
                          {2, 2, 256, FormatId::BF16, 64, 0, 0},
                          {6, 2, 64, FormatId::F16, 64, 24, 0},
                          {4, 1, 64, FormatId::F32, 128, 0, 2.0},
                          {4, 2, 96, FormatId::BF16, 16, 1, 5.0},
                          {64, 1, 16, FormatId::F16, 16, 0, 0},
                          {9, 3, 64, FormatId::Int8, 64, 0, 0},
                          {2, 1, 20, FormatId::Int8, 7, 0, 0},
                          {4, 2, 80, FormatId::Int8G32, 16, 9, 0},
                          {9, 3, 64, FormatId::Int4G32, 64, 0, 0},
                          {4, 4, 80, FormatId::Int4G32Asym, 16, 0, 0},
                          {8, 1, 128, FormatId::Int4G64Asym, 32, 20, 3.0},
                          {2, 1, 20, FormatId::Int4G64Asym, 7, 0, 0},
                          {64, 1, 16, FormatId::Int4G32Asym, 16, 0, 0},
                          {6, 2, 64, FormatId::Fp8E4M3, 64, 0, 0},
                          {9, 3, 64, FormatId::Fp8E4M3Tensor, 64, 0, 0},
                          {4, 2, 20, FormatId::Fp8E4M3Head, 16, 0, 0},
                          {9, 3, 64, FormatId::NvFp4, 64, 0, 0},
                          {4, 2, 40, FormatId::NvFp4, 16, 9, 0}};
  uint64_t seed = 1;
  for (const Setup &s : setups)
    check(level, s, seed++);
}

KERNEL_TEST(Attention, SurvivesLargeScores) {
  // exp of the scores themselves would overflow.
  Setup s{2, 1, 16, FormatId::F32, 16, 0, 0};
  Batch batch({{0, 3}}, 16, s.pageBytes(2));
  int64_t ld = 64;
  std::vector<float> input(at(3 * ld), 30.0f);
  for (int64_t j = 0; j < 3; ++j)
    for (int64_t d = 48; d < 64; ++d)
      input[at(j * ld + d)] = static_cast<float>(j);
  Memory x(input), out(3 * 32 * 4);
  store(level, s, batch, x, ld, 0);
  Launch launch("attention", 3);
  batch.describe(launch.args);
  launch.params = {{"ld", ld}, {"heads", 2}, {"scale", doubleBits(1)}, {"splitKeys", 64}};
  s.describe(launch, 0, 2);
  Memory scales(s.scales()), none(64);
  launch.weights = {&scales};
  launch.buffers = {&x, &out, &none};
  launch.run(level);
  std::vector<double> want;
  for (double mean : {0.0, 0.5, 1.0})
    want.insert(want.end(), 32, mean);
  expectClose(out.copy<float>(), want, 1e-6, "equal scores give the mean");
}

/// Vectors whose scales are hard: all 0, subnormal as f16, beyond f16, one sign, ties.
static std::vector<float> hardVectors(Random &random, int64_t headDim, int64_t count) {
  std::vector<float> x = random.floats(count * headDim);
  const float sizes[] = {0.0f, 1e-7f, 3e-5f, 1e-3f, 0.7f, 40.0f, 3000.0f, 1e4f};
  for (int64_t i = 0; i < count; ++i)
    for (int64_t d = 0; d < headDim; ++d) {
      float &value = x[at(i * headDim + d)];
      value *= sizes[i % 8];
      if (i % 3 == 1)
        value = std::fabs(value) + (i % 2 ? sizes[i % 8] : 0.0f);
      if (i % 5 == 4)
        value = static_cast<float>(d % 17 - 8) * 0.5f;
    }
  return x;
}

/// Reads the values back: one key head of weight 1 gives the value itself.
KERNEL_TEST(Attention, StoresWhatTheCodecStores) {
  for (FormatId format : {FormatId::F16, FormatId::Int8, FormatId::Int8G64, FormatId::Int4G32,
                          FormatId::Int4G128, FormatId::Int4G32Asym, FormatId::Fp8E4M3,
                          FormatId::Fp8E4M3Tensor, FormatId::Fp8E4M3Head, FormatId::NvFp4})
    for (int64_t headDim : {16, 20, 64, 80}) {
      Setup s{2, 2, headDim, format, 16, 1, 0}; // a window of one position
      Random random(at(headDim));
      int64_t tokens = 40, ld = 6 * headDim;
      std::vector<float> rows(at(tokens * ld));
      for (int64_t v = 0; v < 4; ++v) {
        std::vector<float> vectors = hardVectors(random, headDim, tokens);
        for (int64_t r = 0; r < tokens; ++r)
          std::copy_n(vectors.data() + r * headDim, headDim,
                      rows.data() + r * ld + (2 + v) * headDim);
      }
      Memory x(rows), out(at(tokens * 2 * headDim) * 4), scales(s.scales());
      Batch batch({{0, tokens}}, 16, s.pageBytes(2));
      store(level, s, batch, x, ld, 1);
      Launch launch("attention", tokens);
      batch.describe(launch.args);
      launch.params = {{"ld", ld}, {"heads", 2}, {"window", 1}, {"splitKeys", 64}};
      s.describe(launch, 1, 2);
      Memory none(64);
      launch.weights = {&scales};
      launch.buffers = {&x, &out, &none};
      launch.run(level);
      for (int64_t r = 0; r < tokens; ++r)
        for (int64_t h = 0; h < 2; ++h) {
          float *want = rows.data() + r * ld + (4 + h) * headDim;
          round(s, 1, h, want);
          for (int64_t d = 0; d < headDim; ++d)
            ASSERT_EQ(out.as<float>()[(r * 2 + h) * headDim + d], want[d])
                << qplan::formatName(format).str() << " headDim " << headDim << " row " << r
                << " column " << d;
        }
    }
}
