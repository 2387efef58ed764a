//===- GptqTest.cpp - rounding that feeds errors forward ------------------===//
//
// Against the algorithm as the paper derives it (a dense inverse from which one
// column after the other is eliminated), and against rounding to nearest.
//
//===----------------------------------------------------------------------===//

#include "passes/gptq/Gptq.h"

#include "ir/codecs/Codec.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace qplan;

namespace {

/// A weight [rows, columns] and `count` rows that enter it, whose columns are correlated.
struct Problem {
  int64_t rows, columns;
  uint64_t count;
  std::vector<float> weight;
  std::vector<double> gram;

  Problem(int64_t rows, int64_t columns, uint64_t count, unsigned seed)
      : rows(rows), columns(columns), count(count) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < rows * columns; ++i)
      weight.push_back(0.05f * normal(random));
    gram.assign(size_t(columns * columns), 0.0);
    std::vector<double> x(size_t(columns), 0.0);
    for (uint64_t t = 0; t < count; ++t) {
      double common = normal(random);
      for (int64_t c = 0; c < columns; ++c) // sizes differ, neighbours and all are alike
        x[c] = (0.2 + (c * 7 % 11)) * (normal(random) + common + (c ? 0.3 * x[c - 1] / 6 : 0.0));
      for (int64_t i = 0; i < columns; ++i)
        for (int64_t j = 0; j < columns; ++j)
          gram[i * columns + j] += x[i] * x[j];
    }
  }

  llvm::Expected<GptqFactor> factor(const GptqOptions &options, unsigned threads = 1) const {
    return GptqFactor::create(gram, columns, count, options, threads, "site s");
  }

  std::vector<uint8_t> solve(FormatId format, const GptqOptions &options,
                             unsigned threads = 1) const {
    auto made = factor(options, threads);
    EXPECT_TRUE(bool(made)) << (made ? "" : llvm::toString(made.takeError()));
    auto read = [&](int64_t first, int64_t n, float *out) {
      std::copy_n(weight.begin() + first * columns, n * columns, out);
      return llvm::Error::success();
    };
    auto bytes = roundGptq(*made, format, rows, read, options, threads, "w");
    EXPECT_TRUE(bool(bytes)) << (bytes ? "" : llvm::toString(bytes.takeError()));
    return *bytes;
  }

  /// The weight rounded to nearest, with scales as GPTQ takes them.
  std::vector<uint8_t> nearest(FormatId format, const GptqOptions &options) const {
    std::vector<float> squares(size_t(columns), 0.0f);
    for (int64_t c = 0; c < columns; ++c)
      squares[c] = float(gram[c * columns + c] * (1.0 / double(count)));
    const Codec &codec = codecFor(format);
    const std::vector<float> side = sideOf(format);
    std::vector<uint8_t> out(size_t(llvm::cantFail(bytesFor(format, rows, columns))));
    if (!side.empty())
      std::memcpy(out.data() + out.size() - 4 * side.size(), side.data(), 4 * side.size());
    EncodeOptions encoding;
    encoding.rule = options.mse ? ScaleRule::Mse : ScaleRule::Max;
    encoding.importance = options.mse ? squares.data() : nullptr;
    for (int64_t r = 0; r < rows; ++r) {
      encoding.tensor = {side, r};
      llvm::cantFail(codec.encodeRow(&weight[r * columns], columns, encoding,
                                     out.data() + r * codec.bytesPerRow(columns)));
    }
    return out;
  }

  /// The numbers beside the rows of the weight.
  std::vector<float> sideOf(FormatId format) const {
    if (formatInfo(format).side == SideData::None)
      return {};
    SideObserver observer(format, rows, columns);
    for (int64_t r = 0; r < rows; ++r)
      llvm::cantFail(observer.observe(r, &weight[r * columns]));
    return observer.values();
  }

  std::vector<float> decoded(FormatId format, const std::vector<uint8_t> &bytes) const {
    const Codec &codec = codecFor(format);
    std::vector<float> side(size_t(sideCount(format, rows, columns)));
    if (!side.empty())
      std::memcpy(side.data(), bytes.data() + bytes.size() - 4 * side.size(), 4 * side.size());
    std::vector<float> values(size_t(rows * columns));
    for (int64_t r = 0; r < rows; ++r)
      codec.decodeRow(bytes.data() + r * codec.bytesPerRow(columns), columns, &values[r * columns],
                      {side, r});
    return values;
  }

  /// Sum over rows of (w - q) H (w - q)^T.
  double objective(const std::vector<float> &values) const {
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < columns; ++i) {
        double inner = 0;
        for (int64_t j = 0; j < columns; ++j)
          inner += gram[i * columns + j] * (weight[r * columns + j] - values[r * columns + j]);
        sum += (weight[r * columns + i] - values[r * columns + i]) * inner;
      }
    return sum / double(count);
  }
};

/// The inverse of a symmetric positive matrix [n, n], by Gauss and Jordan.
std::vector<double> inverse(std::vector<double> a, int64_t n) {
  std::vector<double> b(size_t(n * n), 0.0);
  for (int64_t i = 0; i < n; ++i)
    b[i * n + i] = 1;
  for (int64_t p = 0; p < n; ++p) {
    double pivot = a[p * n + p];
    for (int64_t j = 0; j < n; ++j) {
      a[p * n + j] /= pivot;
      b[p * n + j] /= pivot;
    }
    for (int64_t i = 0; i < n; ++i) {
      double factor = i == p ? 0.0 : a[i * n + p];
      for (int64_t j = 0; j < n; ++j) {
        a[i * n + j] -= factor * a[p * n + j];
        b[i * n + j] -= factor * b[p * n + j];
      }
    }
  }
  return b;
}

/// The diagonal of H^-1 at each column, once the columns before it are taken out.
std::vector<double> pivotsOf(std::vector<double> inv, int64_t n) {
  std::vector<double> pivots;
  for (int64_t i = 0; i < n; ++i) {
    pivots.push_back(inv[i * n + i]);
    std::vector<double> column;
    for (int64_t j = 0; j < n; ++j)
      column.push_back(inv[i * n + j]);
    for (int64_t a = 0; a < n; ++a)
      for (int64_t b = 0; b < n; ++b)
        inv[a * n + b] -= column[a] * column[b] / pivots.back();
  }
  return pivots;
}

/// SparseGPT: of w[4], the two with the least w^2 / pivot are lost.
std::vector<bool> lostOf(const double *w, const double *pivots) {
  std::vector<bool> lost(4, false);
  for (int n = 0; n < 2; ++n) {
    int least = -1;
    for (int i = 0; i < 4; ++i)
      if (!lost[i] && (least < 0 || w[i] * w[i] / pivots[i] <= w[least] * w[least] / pivots[least]))
        least = i;
    lost[least] = true;
  }
  return lost;
}

/// The paper's algorithm in f64: take a column out of H^-1, move its error to the others.
std::vector<float> dense(const Problem &problem, FormatId format, const GptqOptions &options) {
  const int64_t n = problem.columns;
  std::vector<double> h(problem.gram);
  for (double &value : h)
    value /= double(problem.count);
  std::vector<int64_t> order;
  for (int64_t i = 0; i < n; ++i)
    order.push_back(i);
  if (options.actOrder)
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return h[a * n + a] > h[b * n + b]; });
  for (int64_t i = 0; i < n; ++i)
    h[i * n + i] *= 1 + options.damp;
  std::vector<double> inv = inverse(h, n);
  std::vector<double> w(problem.weight.begin(), problem.weight.end());
  std::vector<float> result(w.size());
  const Codec &codec = codecFor(format);
  std::vector<uint8_t> grids = problem.nearest(format, options);
  const double highest = (1 << codec.format().elementBits) - 1;
  const std::vector<float> side = problem.sideOf(format);
  std::vector<GridRow> stored(size_t(problem.rows));
  for (int64_t r = 0; r < problem.rows; ++r)
    codec.gridRow(grids.data() + r * codec.bytesPerRow(n), n, stored[r], {side, r});
  const bool sparse = codec.format().family == CodecFamily::Sparse;
  const std::vector<double> pivots = sparse ? pivotsOf(inv, n) : std::vector<double>();
  std::vector<std::vector<bool>> lost(size_t(problem.rows));
  for (int64_t i : order) {
    for (int64_t r = 0; r < problem.rows; ++r) {
      if (sparse && i % 4 == 0)
        lost[r] = lostOf(&w[r * n + i], &pivots[i]);
      const GridRow &row = stored[r];
      double scale = row.scale[i / row.group];
      if (codec.format().isInteger()) {
        double zero = row.hasMin ? -row.min[i / row.group] / scale : codec.format().offset;
        double code = std::clamp(std::nearbyint(w[r * n + i] / scale) + zero, 0.0, highest);
        result[r * n + i] = float(scale * (code - zero));
      } else {
        double v = w[r * n + i] / scale, best = row.values[0];
        for (double number : row.values)
          if (std::abs(number - v) < std::abs(best - v))
            best = number;
        result[r * n + i] = float(scale * best);
      }
      if (sparse && lost[r][i % 4])
        result[r * n + i] = 0;
      double error = (w[r * n + i] - result[r * n + i]) / inv[i * n + i];
      for (int64_t j = 0; j < n; ++j)
        w[r * n + j] -= error * inv[i * n + j];
    }
    std::vector<double> column(size_t(n), 0.0);
    double pivot = inv[i * n + i];
    for (int64_t j = 0; j < n; ++j)
      column[j] = inv[i * n + j];
    for (int64_t a = 0; a < n; ++a)
      for (int64_t b = 0; b < n; ++b)
        inv[a * n + b] -= column[a] * column[b] / pivot;
  }
  return result;
}

FormatId named(llvm::StringRef name) { return llvm::cantFail(parseFormat(name)); }

constexpr const char *formats[] = {"int4_g32", "int4_g64_asym", "int4_g128_asym", "int4",  "int8",
                                   "nf4",      "mxfp4",         "nvfp4",          "fp4_dq"};

/// Formats whose encoder rounds to the scales that it stores.
bool roundsToStored(llvm::StringRef name) { return !name.ends_with("_dq"); }

} // namespace

TEST(Gptq, AgreesWithTheDenseAlgorithm) {
  Problem problem(70, 200, 600, 1); // beyond a tile of rows, a block and a panel of columns
  for (const char *name : formats)
    for (bool actOrder : {true, false})
      for (bool mse : {true, false}) {
        GptqOptions options{0.01, actOrder, mse};
        FormatId format = named(name);
        std::vector<float> expected = dense(problem, format, options);
        std::vector<float> found = problem.decoded(format, problem.solve(format, options));
        int64_t differ = 0;
        for (size_t i = 0; i < found.size(); ++i)
          differ += found[i] != expected[i];
        // A code at a tie turns over with the order of sums, and the codes after it may follow.
        EXPECT_LT(double(differ), 0.01 * double(found.size())) << name << actOrder << mse;
        EXPECT_NEAR(problem.objective(found) / problem.objective(expected), 1.0, 0.01)
            << name << actOrder << mse;
      }
}

TEST(Gptq, SweepsEndWhereNoCodeAloneCanImprove) {
  Problem problem(70, 200, 600, 4);
  const int64_t n = problem.columns;
  for (const char *name : {"int4_g32", "int3_g64_asym", "int4"}) {
    FormatId format = named(name);
    const Codec &codec = codecFor(format);
    GptqOptions options;
    // What the sweeps lower has the damping in it.
    Problem damped = problem;
    for (int64_t i = 0; i < n; ++i)
      damped.gram[i * n + i] *= 1 + options.damp;
    double before = damped.objective(problem.decoded(format, problem.solve(format, options)));
    for (int sweeps : {1, 3, 40}) {
      options.sweeps = sweeps;
      double now = damped.objective(problem.decoded(format, problem.solve(format, options)));
      EXPECT_LT(now, before) << name << ", sweeps " << sweeps;
      before = now;
    }
    const std::vector<uint8_t> bytes = problem.solve(format, options);
    const std::vector<float> values = problem.decoded(format, bytes);
    const int highest = (1 << codec.format().elementBits) - 1;
    int64_t better = 0;
    for (int64_t r = 0; r < problem.rows; ++r) {
      GridRow row;
      codec.gridRow(bytes.data() + r * codec.bytesPerRow(n), n, row, {});
      for (int64_t c = 0; c < n; ++c) {
        double slope = 0; // of the objective, half
        for (int64_t j = 0; j < n; ++j)
          slope += damped.gram[c * n + j] * (double(values[r * n + j]) - problem.weight[r * n + j]);
        for (int by : {-1, 1}) {
          const int code = row.codes[c] + by;
          if (code < 0 || code > highest)
            continue;
          const double step = by * double(row.scale[c / row.group]);
          better += step * step * damped.gram[c * n + c] + 2 * step * slope <
                    -1e-6 * step * step * damped.gram[c * n + c];
        }
      }
    }
    EXPECT_EQ(better, 0) << name;
  }
}

TEST(SparseGpt, AgreesWithTheDenseAlgorithm) {
  Problem problem(70, 200, 600, 1);
  for (const char *name : {"int8_24", "int4_g64_24", "fp8_e4m3_24"}) {
    GptqOptions options{0.01, false, true};
    FormatId format = named(name);
    std::vector<float> expected = dense(problem, format, options);
    std::vector<float> found = problem.decoded(format, problem.solve(format, options));
    int64_t differ = 0;
    for (size_t i = 0; i < found.size(); ++i)
      differ += found[i] != expected[i];
    EXPECT_LT(double(differ), 0.02 * double(found.size())) << name;
    EXPECT_NEAR(problem.objective(found) / problem.objective(expected), 1.0, 0.02) << name;
  }
}

TEST(SparseGpt, KeepsTwoOfFourAndIsFarBelowPruningByMagnitude) {
  Problem problem(40, 152, 400, 2);
  for (const char *name : {"f16_24", "bf16_24", "int8_24", "int4_g64_24", "fp8_e4m3_24"}) {
    GptqOptions options{0.01, false, true};
    FormatId format = named(name);
    std::vector<float> found = problem.decoded(format, problem.solve(format, options));
    for (size_t quad = 0; quad < found.size(); quad += 4)
      EXPECT_LE(std::count_if(&found[quad], &found[quad] + 4, [](float v) { return v != 0; }), 2);
    double nearest = problem.objective(problem.decoded(format, problem.nearest(format, options)));
    EXPECT_LT(problem.objective(found), 0.7 * nearest) << name;
  }
}

TEST(Gptq, IsFarBelowRoundingToNearest) {
  for (unsigned seed : {1u, 2u, 3u}) {
    Problem problem(40, 150, 400, seed);
    for (const char *name : formats) {
      GptqOptions options;
      FormatId format = named(name);
      double solved = problem.objective(problem.decoded(format, problem.solve(format, options)));
      double nearest = problem.objective(problem.decoded(format, problem.nearest(format, options)));
      EXPECT_LT(solved, 0.7 * nearest) << name << ", seed " << seed;
    }
  }
}

TEST(Gptq, IsRoundingToNearestForInputsThatAreIndependent) {
  Problem problem(70, 200, 1, 4);
  std::fill(problem.gram.begin(), problem.gram.end(), 0.0);
  for (int64_t i = 0; i < problem.columns; ++i)
    problem.gram[i * problem.columns + i] = 1 + i % 3;
  for (const char *name : formats)
    for (bool mse : {true, false}) {
      if (!roundsToStored(name))
        continue;
      GptqOptions options{0.01, true, mse};
      EXPECT_EQ(problem.solve(named(name), options), problem.nearest(named(name), options)) << name;
    }
}

TEST(Gptq, RoundsGroupsOfDifferentWidths) {
  Problem problem(70, 160, 400, 7);
  GptqOptions options;
  auto objectiveOf = [&](const char *name) {
    return problem.objective(problem.decoded(named(name), problem.solve(named(name), options)));
  };
  for (const char *name : {"mix3", "mix4_5", "mix6"}) {
    FormatId format = named(name);
    EXPECT_LT(objectiveOf(name),
              0.7 * problem.objective(problem.decoded(format, problem.nearest(format, options))))
        << name;
    EXPECT_EQ(problem.solve(format, options), problem.solve(format, options, 3))
        << name << ": threads matter";
  }
  EXPECT_LT(objectiveOf("mix4_5"), 0.9 * objectiveOf("int4_g32"));
}

TEST(Gptq, SearchesTcqRowsForTheSameObjective) {
  Problem problem(70, 150, 400, 7);
  GptqOptions ordered;
  ordered.actOrder = false;
  ordered.beam = 64;
  GptqOptions narrow = ordered;
  narrow.beam = 2;
  for (const char *name : {"tcq2_4", "tcq4_5"}) {
    FormatId format = named(name);
    std::vector<uint8_t> rows = problem.solve(format, ordered);
    double solved = problem.objective(problem.decoded(format, rows));
    EXPECT_LT(solved,
              0.7 * problem.objective(problem.decoded(format, problem.nearest(format, ordered))));
    EXPECT_LT(solved,
              0.8 * problem.objective(problem.decoded(format, problem.solve(format, narrow))));
    EXPECT_EQ(rows, problem.solve(format, ordered, 3)) << "threads matter";
  }
  // As many bits as integers in groups, and about half their loss.
  EXPECT_LT(
      problem.objective(problem.decoded(named("tcq4_5"), problem.solve(named("tcq4_5"), ordered))),
      0.6 * problem.objective(
                problem.decoded(named("int4_g32"), problem.solve(named("int4_g32"), ordered))));
  // The bits of a row are in the order of its columns.
  auto factor = problem.factor(GptqOptions());
  auto read = [](int64_t, int64_t, float *) { return llvm::Error::success(); };
  auto refused = roundGptq(*factor, named("tcq4"), 1, read, GptqOptions(), 1, "w");
  EXPECT_FALSE(bool(refused));
  llvm::consumeError(refused.takeError());
}

TEST(Gptq, RoundsToNearestWhereNothingEnters) {
  Problem problem(20, 96, 1, 5);
  std::fill(problem.gram.begin(), problem.gram.end(), 0.0);
  GptqOptions options;
  options.mse = false;
  EXPECT_EQ(problem.solve(named("int4_g32"), options), problem.nearest(named("int4_g32"), options));
}

TEST(Gptq, TakesWeightsThatAreZeroAndFewerRowsThanColumns) {
  Problem problem(3, 130, 5, 6);
  std::fill_n(problem.weight.begin(), 130, 0.0f);
  for (const char *name : {"int4_g64", "int4_g64_asym"}) {
    std::vector<float> values = problem.decoded(named(name), problem.solve(named(name), {}));
    for (int64_t c = 0; c < 130; ++c)
      EXPECT_EQ(values[c], 0.0f);
    EXPECT_TRUE(
        std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }));
  }
}

TEST(Gptq, GivesTheSameBytesOnAnyNumberOfThreads) {
  Problem problem(200, 150, 300, 7);
  EXPECT_EQ(problem.solve(named("int4_g64"), {}, 1), problem.solve(named("int4_g64"), {}, 3));
}

TEST(Gptq, TakesColumnsOfLargeMeanSquareFirst) {
  Problem problem(1, 40, 100, 8);
  auto factor = problem.factor({});
  ASSERT_TRUE(bool(factor));
  for (int64_t i = 1; i < 40; ++i)
    EXPECT_GE(factor->meanSquare()[factor->columnAt(i - 1)],
              factor->meanSquare()[factor->columnAt(i)]);
  auto plain = problem.factor({0.01, false, true});
  ASSERT_TRUE(bool(plain));
  for (int64_t i = 0; i < 40; ++i)
    EXPECT_EQ(plain->columnAt(i), i);
}

TEST(Gptq, FeedsErrorsAmongUsualColumnsBesideMassiveOnes) {
  // Beside a column of a thousand times their size the others' feedback stays what it was.
  Problem usual(8, 24, 200, 11);
  Problem massive = usual;
  for (int64_t i = 0; i < 24; ++i) {
    massive.gram[i * 24] *= 1e3;
    massive.gram[i] *= 1e3;
  }
  GptqOptions ordered{0.01, /*actOrder=*/false, true};
  auto before = usual.factor(ordered), after = massive.factor(ordered);
  ASSERT_TRUE(bool(before) && bool(after));
  for (int64_t j = 2; j < 24; ++j)
    for (int64_t i = 1; i < j; ++i)
      EXPECT_NEAR(after->shares(j)[i], before->shares(j)[i], 1e-4) << j << " " << i;
}

TEST(Gptq, RefusesMomentsThatCannotBe) {
  Problem problem(1, 2, 1, 9);
  problem.gram = {1, 2, 2, 1};
  auto indefinite = problem.factor({});
  ASSERT_FALSE(bool(indefinite));
  EXPECT_NE(llvm::toString(indefinite.takeError()).find("raise damp"), std::string::npos);
  problem.gram[3] = std::numeric_limits<double>::infinity();
  auto infinite = problem.factor({});
  ASSERT_FALSE(bool(infinite));
  EXPECT_NE(llvm::toString(infinite.takeError()).find("site s"), std::string::npos);
}

TEST(Gptq, ChoosesCodesWhereScalesStayAsTheyAre) {
  for (const char *name : {"int4_g128", "int8", "fp8_e4m3", "nvfp4", "nf4"})
    EXPECT_TRUE(canRoundGptq(named(name))) << name;
  for (const char *name : {"f16", "fp8_e4m3_token", "q4_0", "q4_K", "int8_token"})
    EXPECT_FALSE(canRoundGptq(named(name))) << name;
}
