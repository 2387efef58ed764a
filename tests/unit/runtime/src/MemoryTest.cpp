//===- MemoryTest.cpp - aligned blocks and KV pages -----------------------===//
#include "runtime/src/Memory.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>

using namespace qplan;

static bool isZero(const void *memory, uint64_t bytes) {
  const auto *at = static_cast<const uint8_t *>(memory);
  return std::all_of(at, at + bytes, [](uint8_t byte) { return byte == 0; });
}

TEST(AllocateZeroed, IsZeroedAndAlignedAtAnySize) {
  for (uint64_t bytes : {0ull, 1ull, 64ull, 65ull, 1ull << 20, (5ull << 20) + 3}) {
    void *memory = allocateZeroed(bytes);
    ASSERT_TRUE(memory) << bytes;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0u);
    EXPECT_TRUE(isZero(memory, bytes));
    freeZeroed(memory, bytes);
  }
}

TEST(AllocateZeroed, ReturnsNullForWhatNoMachineHas) {
  EXPECT_EQ(allocateZeroed(1ull << 56), nullptr);
}

TEST(Buffer, CountsItsBytesAndOnlyGrows) {
  std::atomic<uint64_t> counter{0};
  {
    Buffer buffer(counter);
    ASSERT_TRUE(buffer.reserve(100));
    EXPECT_EQ(counter, 100u);
    uint8_t *before = buffer.data();
    ASSERT_TRUE(buffer.reserve(50));
    EXPECT_EQ(buffer.data(), before);
    ASSERT_TRUE(buffer.reserve(3 << 20));
    EXPECT_EQ(counter, 3u << 20);
    EXPECT_FALSE(buffer.reserve(1ull << 56));
    EXPECT_EQ(counter, 0u);
    ASSERT_TRUE(buffer.reserve(10));
  }
  EXPECT_EQ(counter, 0u);
}

TEST(PagePool, ReusesPagesZeroed) {
  PagePool pool(4096, {nullptr, nullptr, nullptr});
  void *page = pool.acquire();
  ASSERT_TRUE(page);
  std::memset(page, 0xFF, 4096);
  EXPECT_EQ(pool.usedBytes(), 4096u);
  pool.release(page);
  EXPECT_EQ(pool.usedBytes(), 0u);
  EXPECT_EQ(pool.idleBytes(), 4096u);
  void *again = pool.acquire();
  EXPECT_EQ(again, page);
  EXPECT_TRUE(isZero(again, 4096));
  EXPECT_EQ(pool.idleBytes(), 0u);
  pool.release(again);
}

TEST(PagePool, GivesLargePagesBackToTheSystem) {
  constexpr uint64_t bytes = 300ull << 20; // never touched, so that it costs no memory
  PagePool pool(bytes, {nullptr, nullptr, nullptr});
  pool.release(pool.acquire());
  EXPECT_EQ(pool.idleBytes(), 0u);
}
