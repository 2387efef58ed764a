//===- ThreadPool.cpp - the fork-join pool behind parallel kernels --------===//
//
// Protocol. `state` holds a sequence number and the number of unclaimed tasks; a
// thread claims one by a compare-and-swap that lowers it. The caller publishes a
// loop by one store of `state` and takes part in it; it returns when `completed`
// has reached the count. The fields of the loop are read only after a claim: from
// then until the claimer has counted its task as completed, the loop cannot end,
// so they cannot change. A worker that comes late finds nothing to claim and has
// cost nobody anything; the caller never waits for a thread that holds no task.
//
// Sleeping. A worker announces itself in `sleepers`, looks once more for tasks,
// then waits on `signal`; the caller publishes, then looks at `sleepers`. Both
// orders are sequentially consistent, so that one of the two sees the other.
//===----------------------------------------------------------------------===//
#include "runtime/src/ThreadPool.h"

#include "runtime/src/CpuFeatures.h"

#include <algorithm>
#include <climits>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

using namespace qplan;

static void futexWait(std::atomic<uint32_t> &word, uint32_t expected) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

static void futexWake(std::atomic<uint32_t> &word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

static void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ volatile("isb"); // on AArch64 `yield` is a no-op, isb waits about as long as x86's pause
#endif
}

static int64_t nanoseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t(now.tv_sec) * 1000000000 + now.tv_nsec;
}

/// Spins until `done()` or until `limit` nanoseconds are over; returns done().
template <typename Predicate>
static bool spinUntil(Predicate done, int64_t limit) {
  if (done())
    return true;
  if (limit <= 0)
    return false;
  int64_t end = nanoseconds() + limit;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done())
        return true;
      relax();
    }
  } while (nanoseconds() < end);
  return done();
}

static uint32_t unclaimed(uint64_t state) { return static_cast<uint32_t>(state); }

Status ThreadPool::create(int threads, int spinMicroseconds, bool pin,
                          std::unique_ptr<ThreadPool> &out) {
  std::vector<int> cores = allowedCores();
  // With more threads than cores a spinning thread only keeps another one from its work.
  int spin = threads > usableCoreCount() ? 0 : spinMicroseconds;
  std::unique_ptr<ThreadPool> pool(new ThreadPool(spin));
  pool->workers.reserve(threads - 1);
  for (int i = 1; i < threads; ++i) {
    pthread_t thread;
    if (int error = pthread_create(&thread, nullptr, workerMain, pool.get()))
      return fail(QPLAN_MACHINE_FAILURE, "cannot start thread %d of %d: %s; ask for fewer threads",
                  i + 1, threads, systemError(error).c_str());
    pool->workers.push_back(thread);
    if (pin && i < static_cast<int>(cores.size()) && cores[i] < CPU_SETSIZE) {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(cores[i], &set);
      pthread_setaffinity_np(thread, sizeof(set), &set);
    }
  }
  out = std::move(pool);
  return {};
}

ThreadPool::~ThreadPool() {
  stopping.store(true);
  signal.fetch_add(1);
  futexWake(signal);
  for (pthread_t worker : workers)
    pthread_join(worker, nullptr);
}

void *ThreadPool::workerMain(void *pool) {
  static_cast<ThreadPool *>(pool)->work();
  return nullptr;
}

void ThreadPool::work() {
  while (waitForTasks())
    runClaimed();
}

/// Returns true when there may be a task to claim, false when the pool ends.
bool ThreadPool::waitForTasks() {
  auto wanted = [this] {
    return unclaimed(state.load(std::memory_order_relaxed)) > 0 ||
           stopping.load(std::memory_order_relaxed);
  };
  while (!spinUntil(wanted, spinNanoseconds)) {
    uint32_t seen = signal.load();
    sleepers.fetch_add(1);
    if (unclaimed(state.load()) == 0 && !stopping.load())
      futexWait(signal, seen);
    sleepers.fetch_sub(1);
  }
  return !stopping.load();
}

/// Claims and runs tasks until none is left, then counts them as completed.
void ThreadPool::runClaimed() {
  uint32_t done = 0, all = 0;
  uint64_t current = state.load(std::memory_order_acquire);
  while (unclaimed(current) > 0) {
    if (!state.compare_exchange_weak(current, current - 1, std::memory_order_acq_rel,
                                     std::memory_order_acquire))
      continue;
    all = count;
    task(arg, first + (all - unclaimed(current)));
    ++done;
    current = state.load(std::memory_order_acquire);
  }
  // Nothing of the loop may be touched after this addition: the caller may return from it and
  // start the next one. The futex words belong to the pool, which outlives its workers.
  if (done && completed.fetch_add(done) + done == all && callerSleeps.load())
    futexWake(completed);
}

void ThreadPool::fork(int64_t newFirst, int64_t newCount, Task newTask, void *newArg) {
  task = newTask;
  arg = newArg;
  first = newFirst;
  count = static_cast<uint32_t>(newCount);
  completed.store(0, std::memory_order_relaxed);
  uint64_t sequence = (state.load(std::memory_order_relaxed) >> 32) + 1;
  state.store(sequence << 32 | count); // publishes the fields above
  if (sleepers.load() > 0) {
    signal.fetch_add(1);
    futexWake(signal);
  }
}

void ThreadPool::join() {
  uint32_t all = count;
  auto finished = [&] { return completed.load(std::memory_order_acquire) == all; };
  constexpr int64_t patience = 50000; // nanoseconds; a kernel's slowest part rarely lags more
  if (spinUntil(finished, spinNanoseconds ? patience : 0))
    return;
  callerSleeps.store(1);
  for (uint32_t seen; (seen = completed.load()) != all;)
    futexWait(completed, seen);
  callerSleeps.store(0);
}

void ThreadPool::run(int64_t total, Task newTask, void *newArg) {
  if (total <= 1 || workers.empty() || busy.exchange(true, std::memory_order_acquire)) {
    for (int64_t i = 0; i < total; ++i)
      newTask(newArg, i);
    return;
  }
  constexpr int64_t most = 1 << 30; // what fits the counter in `state`
  for (int64_t start = 0; start < total; start += most) {
    fork(start, std::min(most, total - start), newTask, newArg);
    runClaimed();
    join();
  }
  busy.store(false, std::memory_order_release);
}
