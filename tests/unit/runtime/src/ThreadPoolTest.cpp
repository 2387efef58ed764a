//===- ThreadPoolTest.cpp - every task once, whoever calls ----------------===//
#include "runtime/src/ThreadPool.h"

#include <gtest/gtest.h>
#include <thread>

using namespace qplan;

namespace {
struct Counts {
  explicit Counts(int64_t count) : seen(count) {}

  static void add(void *arg, int64_t index) { ++static_cast<Counts *>(arg)->seen[index]; }

  bool allAre(int value) const {
    for (const auto &count : seen)
      if (count.load() != value)
        return false;
    return true;
  }

  std::vector<std::atomic<int>> seen;
};
} // namespace

static std::unique_ptr<ThreadPool> makePool(int threads, int spin = 50) {
  std::unique_ptr<ThreadPool> pool;
  EXPECT_FALSE(ThreadPool::create(threads, spin, false, pool).failed());
  return pool;
}

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (int threads : {1, 2, 3, 8}) {
    auto pool = makePool(threads);
    EXPECT_EQ(pool->threads(), threads);
    for (int64_t count : {0, 1, 2, 3, 7, 64, 1000}) {
      Counts counts(count);
      pool->run(count, Counts::add, &counts);
      EXPECT_TRUE(counts.allAre(1)) << count << " tasks on " << threads;
    }
  }
}

TEST(ThreadPool, RunsManyLoopsInARowWithAndWithoutSpinning) {
  for (int spin : {0, 50}) {
    auto pool = makePool(2, spin);
    Counts counts(3);
    for (int i = 0; i < 2000; ++i)
      pool->run(3, Counts::add, &counts);
    EXPECT_TRUE(counts.allAre(2000));
  }
}

TEST(ThreadPool, WakesWorkersThatFellAsleep) {
  auto pool = makePool(2, 1);
  Counts counts(4);
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    pool->run(4, Counts::add, &counts);
  }
  EXPECT_TRUE(counts.allAre(20));
}

TEST(ThreadPool, RunsWithPinnedWorkers) {
  std::unique_ptr<ThreadPool> pool;
  ASSERT_FALSE(ThreadPool::create(3, 50, /*pin=*/true, pool).failed());
  Counts counts(64);
  pool->run(64, Counts::add, &counts);
  EXPECT_TRUE(counts.allAre(1));
}

TEST(ThreadPool, AllowsNestedLoops) {
  auto pool = makePool(2);
  struct Nest {
    ThreadPool *pool;
    Counts counts{8};
  } nest{pool.get()};
  pool->run(
      5,
      [](void *arg, int64_t) {
        auto *nest = static_cast<Nest *>(arg);
        nest->pool->run(8, Counts::add, &nest->counts);
      },
      &nest);
  EXPECT_TRUE(nest.counts.allAre(5));
}

TEST(ThreadPool, AllowsCallersOnSeveralThreads) {
  auto pool = makePool(2);
  Counts counts(16);
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      for (int j = 0; j < 500; ++j)
        pool->run(16, Counts::add, &counts);
    });
  for (std::thread &caller : callers)
    caller.join();
  EXPECT_TRUE(counts.allAre(4 * 500));
}
