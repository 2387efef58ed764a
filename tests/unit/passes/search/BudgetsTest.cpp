//===- BudgetsTest.cpp - constraints in any mix ---------------------------===//

#include "passes/search/Budgets.h"

#include <gtest/gtest.h>
#include <random>

using namespace qplan;

namespace {

/// Three groups of 1000 weights, three candidates of 4, 5 and 8 bits; times, if any, prefer
/// the middle one.
SearchFront front(bool times = false) {
  SearchFront front;
  front.modelHash = "0123456789abcdef";
  front.statisticsHash = "fedcba9876543210";
  front.scopes = {"layers"};
  front.candidates = {"int4_g32_asym", "int5_g64", "int8"};
  for (int g = 0; g < 3; ++g) {
    FrontGroup group;
    group.name = "layers." + std::to_string(g) + ".mlp.down";
    group.sites = {group.name};
    group.elements = 1000;
    double sensitivity = 1 + g;
    for (double bits : {4.0, 5.0, 8.0}) {
      FrontCell cell;
      cell.bits = bits * 1000;
      cell.modeloptBits = (bits == 5 ? 8 : bits) * 1000;
      cell.kl = 0.01 * sensitivity * std::pow(4.0, 4 - bits);
      if (times)
        cell.decodeMs = bits == 5 ? 0.1 : bits == 4 ? 0.2 : 0.3;
      group.cells.push_back(cell);
    }
    front.groups.push_back(group);
  }
  if (times)
    front.baseDecodeMs = 1;
  return front;
}

/// The same with 100 tokens in one of three caches.
SearchFront cachedFront(bool times = false) {
  SearchFront some = front(times);
  some.context = 100;
  some.caches = {
      {"f16", 0.0001, 16, {}}, {"fp8_e4m3_tensor", 0.002, 8, {}}, {"nvfp4", 0.05, 5, {}}};
  if (times)
    for (FrontCache &cache : some.caches)
      cache.decodeMs = cache.bytesPerToken * 0.02;
  return some;
}

std::string failure(const SearchFront &front, const Budgets &budgets) {
  auto point = chooseWithin(front, budgets);
  EXPECT_FALSE(bool(point));
  return point ? std::string() : llvm::toString(point.takeError());
}

FrontPoint chosen(const SearchFront &front, const Budgets &budgets) {
  auto point = chooseWithin(front, budgets);
  EXPECT_TRUE(bool(point)) << (point ? "" : llvm::toString(point.takeError()));
  return point ? *point : FrontPoint();
}

using Choice = std::vector<uint32_t>;

} // namespace

TEST(Budgets, TakesTheLeastDamageWithinASize) {
  EXPECT_EQ(chosen(front(), {.effectiveBits = 4.0}).choice, Choice({0, 0, 0}));
  EXPECT_EQ(chosen(front(), {.effectiveBits = 4.67}).choice, Choice({0, 1, 1}));
  EXPECT_EQ(chosen(front(), {.weightBytes = 1750}).choice, Choice({0, 1, 1}));
  EXPECT_EQ(chosen(front(), {.effectiveBits = 8.0, .weightBytes = 1750}).choice, Choice({0, 1, 1}));
  EXPECT_EQ(chosen(front(), {.modeloptBits = 7.9}).choice, Choice({0, 2, 2}));
}

TEST(Budgets, TakesTheSmallestWithinADamage) {
  FrontPoint point = chosen(front(), {.maxKl = 0.04});
  EXPECT_LE(point.kl, 0.04);
  EXPECT_EQ(point.choice, Choice({0, 0, 1}));
  EXPECT_EQ(chosen(front(), {.maxKl = 0.06}).choice, Choice({0, 0, 0}));
  // A size is given and times are known: the fastest.
  FrontPoint fast = chosen(front(true), {.effectiveBits = 5.0, .maxKl = 0.06});
  EXPECT_EQ(fast.choice, Choice({1, 1, 1}));
  EXPECT_NEAR(*fast.decodeMs, 1.3, 1e-9);
}

TEST(Budgets, KeepsSeveralAtOnce) {
  FrontPoint point = chosen(front(true), {.effectiveBits = 7.0, .decodeMs = 1.5});
  EXPECT_LE(point.bits, 7.0);
  EXPECT_LE(*point.decodeMs, 1.5 + 1e-6);
  EXPECT_EQ(point.choice, Choice({1, 1, 2}));
}

TEST(Budgets, CountsTheLaunchesOfMixesInTheTime) {
  SearchFront some = front(true);
  some.fused = {{0, 1, 2}};
  some.splitMs = 0.05;
  // {1, 1, 2} would take 1.5 ms in one launch.
  EXPECT_EQ(chosen(some, {.effectiveBits = 7.0, .decodeMs = 1.5}).choice, Choice({1, 1, 1}));
  FrontPoint point = chosen(some, {.effectiveBits = 7.0, .decodeMs = 1.55});
  EXPECT_EQ(point.choice, Choice({1, 1, 2}));
  EXPECT_NEAR(*point.decodeMs, 1.55, 1e-9);
  EXPECT_TRUE(keepsWithin(some, point, {.decodeMs = 1.55}));
  EXPECT_FALSE(keepsWithin(some, point, {.decodeMs = 1.54}));
  EXPECT_NE(failure(some, {.decodeMs = 1.2}).find("at least 1.300 ms"), std::string::npos);
}

TEST(Budgets, ChoosesTheCacheWithTheTreatments) {
  // 1500 bytes of weights at least, 3000 at most; caches of 1600, 800 and 500 bytes.
  FrontPoint point = chosen(cachedFront(), {.memoryBytes = 3100});
  EXPECT_EQ(point.cache, 1u);
  EXPECT_EQ(point.choice, Choice({1, 1, 2})); // 2250 + 800
  EXPECT_EQ(chosen(cachedFront(), {.memoryBytes = 4600}).cache, 0u);
  EXPECT_EQ(chosen(cachedFront(), {.memoryBytes = 2000}).cache, 2u);
  EXPECT_EQ(chosen(cachedFront(), {.effectiveBits = 4, .memoryBytes = 4600}).choice,
            Choice({0, 0, 0}));
  // The least memory within a divergence, of which the cache takes its part.
  FrontPoint least = chosen(cachedFront(), {.maxKl = 0.0625});
  EXPECT_EQ(least.choice, Choice({0, 0, 0}));
  EXPECT_EQ(least.cache, 1u);
  EXPECT_LE(least.kl, 0.0625);
  EXPECT_EQ(chosen(cachedFront(true), {.decodeMs = 1.3 + 0.16}).cache, 1u);
  auto recipe = searchRecipe(cachedFront(), point, {.memoryBytes = 3100});
  ASSERT_TRUE(bool(recipe));
  EXPECT_EQ(recipe->header.kvCache, "fp8_e4m3_tensor");
  EXPECT_EQ(recipe->header.totals.back().second, "3050");
}

TEST(Budgets, OfCachesAreExact) {
  std::mt19937 random(7);
  auto uniform = [&] { return std::generate_canonical<double, 32>(random); };
  for (int trial = 0; trial < 200; ++trial) {
    SearchFront some = cachedFront(true);
    for (FrontGroup &group : some.groups)
      for (FrontCell &cell : group.cells)
        cell = {std::floor(4000 + 4000 * uniform()), {}, uniform(), uniform(), true};
    for (FrontCache &cache : some.caches)
      cache = {cache.format, uniform(), std::floor(1 + 20 * uniform()), uniform()};
    Budgets budgets{.memoryBytes = 1500 + int64_t(3000 * uniform())};
    if (trial % 3 == 1)
      budgets.decodeMs = 1 + 3 * uniform();
    if (trial % 3 == 2)
      budgets.maxKl = 0.5 + 2 * uniform();
    const bool byTime = budgets.maxKl.has_value(); // times are known
    auto value = [&](const FrontPoint &p) { return byTime ? *p.decodeMs : p.kl; };
    std::optional<double> best;
    for (uint32_t i = 0; i < 81; ++i) {
      FrontPoint point = some.pointOf({i % 3, i / 3 % 3, i / 9 % 3}, i / 27);
      bool fits = some.memoryBytes(point) <= double(*budgets.memoryBytes) &&
                  (!budgets.decodeMs || *point.decodeMs <= *budgets.decodeMs) &&
                  (!budgets.maxKl || point.kl <= *budgets.maxKl);
      EXPECT_EQ(fits, keepsWithin(some, point, budgets));
      if (fits && (!best || value(point) < *best))
        best = value(point);
    }
    auto found = chooseWithin(some, budgets);
    ASSERT_EQ(bool(found), best.has_value()) << trial;
    if (found)
      EXPECT_NEAR(value(*found), *best, 1e-9) << trial;
    else
      llvm::consumeError(found.takeError());
  }
}

TEST(Budgets, SayWhatCachesNeed) {
  EXPECT_EQ(failure(cachedFront(), {.effectiveBits = 5}),
            "--effective-bits 5: no budget counts the cache, whose format is to be chosen; add "
            "--memory-bytes, --decode-ms or --max-kl, or choose it with --kv-cache FORMAT");
  EXPECT_NE(failure(front(), {.memoryBytes = 5000}).find("did not weigh the cache"),
            std::string::npos);
  EXPECT_EQ(failure(cachedFront(), {.memoryBytes = 1999}),
            "--memory-bytes 1999: these treatments need at least 2000 bytes (int4_g32_asym "
            "everywhere, the cache in nvfp4); raise the budget or add a smaller treatment");
  EXPECT_NE(failure(cachedFront(true),
                    {.effectiveBits = 5, .modeloptBits = 6, .memoryBytes = 5000, .decodeMs = 9})
                .find("--effective-bits 5, --effective-bits-modelopt 6, --memory-bytes 5000, "
                      "--decode-ms 9 are more budgets than can be kept at once (3)"),
            std::string::npos);
  // One cache is no choice: any budget does.
  SearchFront one = cachedFront();
  one.caches.resize(1);
  EXPECT_EQ(chosen(one, {.effectiveBits = 4}).cache, 0u);
}

TEST(Budgets, LeavesOutWhatIsNotAllowed) {
  SearchFront some = front();
  some.groups[0].cells[0].allowed = false;
  EXPECT_EQ(chosen(some, {.effectiveBits = 4.4}).choice, Choice({1, 0, 0}));
  for (FrontCell &cell : some.groups[1].cells)
    cell.allowed = false;
  EXPECT_NE(failure(some, {.effectiveBits = 8}).find("none of the treatments fits"),
            std::string::npos);
}

TEST(Budgets, SaysWhatCanBeReached) {
  EXPECT_EQ(failure(front(), {.effectiveBits = 3.0}),
            "--effective-bits 3: these treatments need at least 4.0000 bits a weight "
            "(int4_g32_asym everywhere); raise the budget or add a smaller treatment");
  EXPECT_EQ(failure(front(), {.weightBytes = 1000}),
            "--weight-bytes 1000: these treatments need at least 1500 bytes (int4_g32_asym "
            "everywhere); raise the budget or add a smaller treatment");
  EXPECT_NE(failure(front(true), {.decodeMs = 0.5}).find("at least 1.300 ms (int5_g64 everywhere)"),
            std::string::npos);
  EXPECT_NE(failure(front(), {.maxKl = 1e-6}).find("add a more exact treatment"),
            std::string::npos);
  std::string both = failure(front(), {.effectiveBits = 4.5, .maxKl = 0.001});
  EXPECT_NE(both.find("contradict each other"), std::string::npos) << both;
  EXPECT_NE(both.find("with --max-kl 0.001 at least 8.0000 bits a weight"), std::string::npos)
      << both;
}

TEST(Budgets, NeedsTimesAndModelOptsSizes) {
  EXPECT_NE(failure(front(), {.decodeMs = 2}).find("no decode times"), std::string::npos);
  SearchFront some = front();
  some.groups[2].cells[1].modeloptBits.reset();
  EXPECT_NE(failure(some, {.modeloptBits = 5}).find("int5_g64 has no size by ModelOpt's count"),
            std::string::npos);
}

TEST(Budgets, ReadsBytes) {
  auto value = [](llvm::StringRef text) {
    auto bytes = parseByteCount("--weight-bytes", text);
    if (bytes)
      return *bytes;
    llvm::consumeError(bytes.takeError());
    return int64_t(-1);
  };
  EXPECT_EQ(value("300M"), 300'000'000);
  EXPECT_EQ(value("1.5Gi"), 1'610'612'736);
  EXPECT_EQ(value("17"), 17);
  for (const char *wrong : {"", "M", "-3", "3T", "1e9", "0", "nan", "999999999999G"})
    EXPECT_EQ(value(wrong), -1) << wrong;
}

TEST(Budgets, TradesSizeForDamage) {
  for (bool times : {false, true}) {
    auto points = tradeOffs(front(times), 100);
    ASSERT_TRUE(bool(points));
    EXPECT_EQ(points->front().choice, Choice({0, 0, 0}));
    EXPECT_EQ(points->back().choice, Choice({2, 2, 2}));
    for (size_t i = 1; i < points->size(); ++i) {
      EXPECT_GE((*points)[i].bits, (*points)[i - 1].bits);
      if (!times) {
        EXPECT_LT((*points)[i].kl, (*points)[i - 1].kl);
      }
    }
  }
  SearchFront cached = cachedFront();
  auto together = tradeOffs(cached, 100);
  ASSERT_TRUE(bool(together));
  EXPECT_EQ(together->front().cache, 2u);
  EXPECT_EQ(together->back().cache, 0u);
  for (size_t i = 1; i < together->size(); ++i) {
    EXPECT_GT(cached.memoryBytes((*together)[i]), cached.memoryBytes((*together)[i - 1]));
    EXPECT_LT((*together)[i].kl, (*together)[i - 1].kl);
  }
  auto few = tradeOffs(front(), 3);
  ASSERT_TRUE(bool(few));
  EXPECT_EQ(few->size(), 3u);
}

TEST(Budgets, WritesARecipe) {
  SearchFront some = front();
  Budgets budgets{.effectiveBits = 4.67};
  auto recipe = searchRecipe(some, chosen(some, budgets), budgets);
  ASSERT_TRUE(bool(recipe));
  EXPECT_EQ(printRecipe(*recipe), "qplan-recipe 1\n"
                                  "model: 0123456789abcdef\n"
                                  "sites: layers\n"
                                  "constraints: effective-bits=4.67\n"
                                  "statistics: fedcba9876543210\n"
                                  "totals: effective-bits=4.6667, predicted-kl=0.022500\n"
                                  "\n"
                                  "layers.0.mlp.down = int4_g32_asym\n"
                                  "layers.1.mlp.down = int5_g64\n"
                                  "layers.2.mlp.down = int5_g64\n");
}
