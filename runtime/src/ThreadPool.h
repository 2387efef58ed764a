//===- ThreadPool.h - the fork-join pool behind parallel kernels ----------===//
//
// A decode step is a few hundred parallel loops of some microseconds, so that
// workers spin for a while after each loop before they sleep, and the fork is one
// store. Tasks are claimed one by one from a shared counter: a fast thread takes
// more of them. See ThreadPool.cpp for the protocol.
//===----------------------------------------------------------------------===//
#ifndef QPLAN_RUNTIME_SRC_THREADPOOL_H
#define QPLAN_RUNTIME_SRC_THREADPOOL_H

#include "runtime/src/Status.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <pthread.h>
#include <vector>

namespace qplan {

/// Runs loops on the calling thread and on `threads - 1` workers of its own.
class ThreadPool {
public:
  using Task = void (*)(void *arg, int64_t index);

  /// Starts the workers. `spinMicroseconds`: how long an idle worker spins, 0 = not at
  /// all. `pin`: bind worker i to the i-th allowed core (the caller is left alone).
  static Status create(int threads, int spinMicroseconds, bool pin,
                       std::unique_ptr<ThreadPool> &out);

  /// Ends the workers. No loop may be running.
  ~ThreadPool();

  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  /// Calls task(arg, i) for each i in [0, count) and returns when all are done. A call
  /// while another is running, nested or from another thread, runs its tasks on the
  /// calling thread: the cores are busy already.
  void run(int64_t count, Task task, void *arg);

  int threads() const { return static_cast<int>(workers.size()) + 1; }

private:
  explicit ThreadPool(int spinMicroseconds) : spinNanoseconds(int64_t(spinMicroseconds) * 1000) {}

  static void *workerMain(void *pool);
  void work();
  bool waitForTasks();
  void runClaimed();
  void fork(int64_t first, int64_t count, Task task, void *arg);
  void join();

  // Each group below is written by others than the groups beside it, and has cache
  // lines of its own (two of them: processors prefetch lines in pairs).
  /// Sequence number of the loop << 32 | tasks not claimed yet.
  alignas(128) std::atomic<uint64_t> state{0};
  alignas(128) std::atomic<uint32_t> completed{0}; ///< tasks done; futex of the caller
  std::atomic<uint32_t> callerSleeps{0};
  alignas(128) std::atomic<uint32_t> sleepers{0};
  std::atomic<uint32_t> signal{0}; ///< futex of the workers
  std::atomic<bool> stopping{false};
  alignas(128) Task task = nullptr; ///< the loop; stable while a claimed task is open
  void *arg = nullptr;
  int64_t first = 0;
  uint32_t count = 0;
  std::atomic<bool> busy{false};
  int64_t spinNanoseconds;
  std::vector<pthread_t> workers;
};

} // namespace qplan

#endif // QPLAN_RUNTIME_SRC_THREADPOOL_H
