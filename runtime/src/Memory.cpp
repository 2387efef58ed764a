//===- Memory.cpp - aligned memory, scratch buffers and KV pages ----------===//
//
// Blocks of a megabyte and more are mapped: they come zeroed, cost nothing before
// they are touched, and go back to the system when freed.
//===----------------------------------------------------------------------===//
#include "runtime/src/Memory.h"

#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

using namespace qplan;

static constexpr uint64_t mapThreshold = 1 << 20;
static constexpr uint64_t hugePage = 2 << 20;

void *qplan::allocateZeroed(uint64_t bytes) {
  if (bytes >= mapThreshold) {
    void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
      return nullptr;
    if (bytes >= 2 * hugePage)
      madvise(memory, bytes, MADV_HUGEPAGE); // advice: failure changes nothing but speed
    return memory;
  }
  uint64_t rounded = bytes ? (bytes + 63) & ~uint64_t(63) : 64;
  void *memory = std::aligned_alloc(64, rounded);
  if (memory)
    std::memset(memory, 0, rounded);
  return memory;
}

void qplan::freeZeroed(void *memory, uint64_t bytes) {
  if (!memory)
    return;
  if (bytes >= mapThreshold)
    munmap(memory, bytes);
  else
    std::free(memory);
}

bool Buffer::reserve(uint64_t bytes) {
  if (memory && bytes <= capacity)
    return true;
  release();
  memory = static_cast<uint8_t *>(allocateZeroed(bytes));
  if (!memory)
    return false;
  capacity = bytes;
  counter += bytes;
  return true;
}

void Buffer::release() {
  freeZeroed(memory, capacity);
  counter -= capacity;
  memory = nullptr;
  capacity = 0;
}

PagePool::~PagePool() {
  for (void *page : idle)
    freeZeroed(page, pageBytes);
}

void *PagePool::acquire() {
  void *page = nullptr;
  if (allocator.allocate) {
    page = allocator.allocate(allocator.user, pageBytes);
    if (page)
      std::memset(page, 0, pageBytes);
  } else {
    {
      std::lock_guard<std::mutex> lock(mutex);
      if (!idle.empty()) {
        page = idle.back();
        idle.pop_back();
      }
    }
    if (page)
      std::memset(page, 0, pageBytes);
    else
      page = allocateZeroed(pageBytes);
  }
  if (page)
    ++used;
  return page;
}

void PagePool::release(void *page) {
  --used;
  if (allocator.allocate) {
    allocator.release(allocator.user, page, pageBytes);
    return;
  }
  // Enough for a server that ends one sequence and starts the next; more goes back.
  constexpr uint64_t keptBytes = 256 << 20;
  {
    std::lock_guard<std::mutex> lock(mutex);
    if ((idle.size() + 1) * pageBytes <= keptBytes) {
      idle.push_back(page);
      return;
    }
  }
  freeZeroed(page, pageBytes);
}

uint64_t PagePool::idleBytes() {
  std::lock_guard<std::mutex> lock(mutex);
  return idle.size() * pageBytes;
}
