//===- Memory.h - aligned memory, scratch buffers and KV pages ------------===//
//
// The large allocations of the runtime. None of them throws: sizes come from plans,
// and running out of memory is a status. Large blocks come straight from the kernel,
// on huge pages where it grants them.
//===----------------------------------------------------------------------===//
#ifndef QPLAN_RUNTIME_SRC_MEMORY_H
#define QPLAN_RUNTIME_SRC_MEMORY_H

#include "qplan/runtime.h"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace qplan {

/// Zeroed memory at a 64-byte aligned address, or null. Free with the same size.
void *allocateZeroed(uint64_t bytes);
void freeZeroed(void *memory, uint64_t bytes);

/// A block that only grows; growing loses its contents. Its bytes are added to a counter
/// of the model.
class Buffer {
public:
  explicit Buffer(std::atomic<uint64_t> &counter) : counter(counter) {}
  ~Buffer() { release(); }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;

  /// Makes at least `bytes` available; false when there is no memory.
  bool reserve(uint64_t bytes);
  void release();

  uint8_t *data() const { return memory; }

private:
  std::atomic<uint64_t> &counter;
  uint8_t *memory = nullptr;
  uint64_t capacity = 0;
};

/// KV pages of one model, from the caller's allocator or from a pool of our own that
/// keeps some returned pages. Every page comes out zeroed, so that what a masked lane
/// reads beyond a sequence's end is never NaN. Thread-safe.
class PagePool {
public:
  PagePool(uint64_t pageBytes, const qplan_kv_allocator &allocator)
      : pageBytes(pageBytes), allocator(allocator) {}
  ~PagePool();

  /// One page, or null.
  void *acquire();
  void release(void *page);

  uint64_t usedBytes() const { return used.load() * pageBytes; }
  uint64_t idleBytes();
  uint64_t bytesOfPage() const { return pageBytes; }

private:
  const uint64_t pageBytes;
  const qplan_kv_allocator allocator;
  std::atomic<uint64_t> used{0};
  std::mutex mutex; ///< guards `idle`
  std::vector<void *> idle;
};

} // namespace qplan

#endif // QPLAN_RUNTIME_SRC_MEMORY_H
