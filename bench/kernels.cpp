//===- kernels.cpp - speed of the kernels beside the machine's limits -----===//
//
// Specialised kernels (constant params, as in emitted code) at the shapes of a
// 135M-parameter model, on one thread and on all, beside two limits measured in the
// same run: reading memory, and dot products from registers. Weights of a decode
// are taken from a pool larger than the caches, as in a real step.
//
//   bench_kernels [threads]
//
//===----------------------------------------------------------------------===//
#include "runtime/kernels/kernels.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

extern "C" {
struct QkBenchShape {
  const char *name;
  int64_t N, K;
  int quantized; // linear_q8, else linear_f32
  const int64_t *params;
  void (*run)(const qplan_args_v1 *, uint8_t *const *, const uint8_t *const *, int64_t, int64_t);
};
extern const QkBenchShape qkBenchShapes[];
extern const int64_t qkBenchShapeCount;
struct QkBenchCache {
  const char *name;
  int64_t vectorBytes;
  void (*run)(const qplan_args_v1 *, uint8_t *const *, const uint8_t *const *, int64_t, int64_t);
};
extern const QkBenchCache qkBenchCaches[];
extern const int64_t qkBenchCacheCount;
int64_t qk_bench_panel_bytes(const QkBenchShape *shape);
/// Multiply-adds done by one call; registers only.
double qk_bench_dot_peak(int64_t rounds);
double qk_bench_fma_peak(int64_t rounds);
float qk_bench_read(const uint8_t *from, int64_t bytes);
}

using Clock = std::chrono::steady_clock;

static double secondsOf(const std::function<void()> &work) {
  auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The shortest of several runs of `work` on `threads` threads, in seconds; all
/// start together.
static double measure(int threads, int repeats, const std::function<void(int)> &work) {
  std::vector<double> times;
  std::atomic<int> arrived{0}, phase{0};
  auto wait = [&](int round) {
    if (++arrived == threads * (round + 1))
      phase = round + 1;
    while (phase <= round)
      ;
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t)
    others.emplace_back([&, t] {
      for (int r = 0; r < repeats; ++r) {
        wait(2 * r);
        work(t);
        wait(2 * r + 1);
      }
    });
  for (int r = 0; r < repeats; ++r) {
    wait(2 * r);
    times.push_back(secondsOf([&] {
      work(0);
      wait(2 * r + 1);
    }));
  }
  for (std::thread &thread : others)
    thread.join();
  return *std::min_element(times.begin(), times.end());
}

struct Aligned {
  uint8_t *data;
  explicit Aligned(size_t bytes)
      : data(static_cast<uint8_t *>(std::aligned_alloc(64, (bytes + 63) / 64 * 64))) {
    for (size_t i = 0; i < bytes; ++i)
      data[i] = static_cast<uint8_t>(i * 2654435761u >> 13) & 0x03 |
                0x38; // normal positive numbers in every format
  }
  ~Aligned() { std::free(data); }
  Aligned(const Aligned &) = delete;
};

static const size_t poolBytes = size_t{192} << 20;

/// Reads the pool on all threads: the limit of a decode, measured beside it, as the
/// rate changes with what else the machine does.
static double readRate(int threads, Aligned &pool) {
  size_t share = poolBytes / static_cast<size_t>(threads);
  std::atomic<float> sink{0};
  double seconds = measure(threads, 5, [&](int t) {
    sink = qk_bench_read(pool.data + static_cast<size_t>(t) * share, static_cast<int64_t>(share));
  });
  return static_cast<double>(poolBytes) / seconds / 1e9;
}

static void benchLinear(const QkBenchShape &shape, int64_t rows, int threads, Aligned &pool) {
  size_t bytes = static_cast<size_t>((shape.N + 15) / 16 * qk_bench_panel_bytes(&shape));
  size_t copies = rows == 1 ? std::max<size_t>(1, poolBytes / bytes) : 1;
  Aligned x(static_cast<size_t>(rows * (shape.K + 64) * 4)),
      scales(static_cast<size_t>(rows * shape.K)), sums(static_cast<size_t>(rows * shape.K)),
      out(static_cast<size_t>(rows * shape.N * 4));
  qplan_args_v1 args{};
  args.tokens = rows;
  uint8_t *q8[] = {x.data, scales.data, sums.data, out.data, nullptr};
  uint8_t *f32[] = {x.data, out.data, nullptr};
  double seconds = measure(threads, 15, [&](int thread) {
    for (size_t copy = 0; copy < copies; ++copy) {
      const uint8_t *weights[] = {pool.data + copy * bytes, nullptr};
      shape.run(&args, shape.quantized ? q8 : f32, weights, thread, threads);
    }
  });
  double operations =
      2.0 * static_cast<double>(shape.N * shape.K * rows) * static_cast<double>(copies);
  double rate = static_cast<double>(bytes * copies) / seconds / 1e9;
  std::printf("%-22s rows %4ld threads %d  %8.1f us  %6.1f GB/s  %7.1f GOPS", shape.name,
              static_cast<long>(rows), threads, seconds * 1e6 / static_cast<double>(copies), rate,
              operations / seconds / 1e9);
  if (rows == 1)
    std::printf("  %3.0f %% of reading", 100 * rate / readRate(threads, pool));
  std::printf("\n");
}

static void benchAttention(const QkBenchCache &kind, int64_t past, int64_t rows, int threads) {
  const int64_t pageTokens = 64, kvHeads = 3, layers = 1;
  int64_t pages = (past + rows + pageTokens - 1) / pageTokens;
  size_t pageBytes = static_cast<size_t>(layers * 2 * kvHeads * pageTokens * kind.vectorBytes);
  Aligned cache(pageBytes * static_cast<size_t>(pages)), q(static_cast<size_t>(rows * 960 * 4)),
      out(static_cast<size_t>(rows * 576 * 4));
  std::vector<void *> pointers;
  for (int64_t p = 0; p < pages; ++p)
    pointers.push_back(cache.data + static_cast<size_t>(p) * pageBytes);
  qplan_sequence_v1 sequence = {0, rows, past, pointers.data()};
  qplan_args_v1 args{};
  args.tokens = rows;
  args.sequences = 1;
  args.sequence = &sequence;
  uint8_t *buffers[] = {q.data, out.data};
  Aligned scales(6 * 4);
  const uint8_t *weights[] = {scales.data};
  int64_t parts = rows == 1 ? kvHeads : 8 * threads;
  double seconds = measure(threads, 41, [&](int thread) {
    for (int64_t part = thread; part < parts; part += threads)
      kind.run(&args, buffers, weights, part, parts);
  });
  double bytes = static_cast<double>(pageBytes / pageTokens) * static_cast<double>(past + rows);
  std::printf("attention %-5s 9/3 heads of 64 rows %4ld past %5ld threads %d %8.1f us %6.2f GB/s\n",
              kind.name, static_cast<long>(rows), static_cast<long>(past), threads, seconds * 1e6,
              bytes / seconds / 1e9);
}

/// Kernels that use AMX run only in a process that asked for the tile registers;
/// elsewhere the question is answered with an error that does not matter.
static void askForTiles() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long requestPermission = 0x1023, tileData = 18;
  syscall(SYS_arch_prctl, requestPermission, tileData);
#endif
}

int main(int argc, char **argv) {
  askForTiles();
  int all = argc > 1 ? std::atoi(argv[1]) : static_cast<int>(std::thread::hardware_concurrency());
  const char *only = argc > 2 ? argv[2] : "";
  Aligned pool(poolBytes + (size_t(1) << 20));
  for (int threads = 1; threads <= all; threads += all > 1 ? all - 1 : 1) {
    std::atomic<double> done{0};
    double dot = measure(threads, 15, [&](int) { done = qk_bench_dot_peak(500000); });
    double dots = done;
    double fma = measure(threads, 15, [&](int) { done = qk_bench_fma_peak(500000); });
    double fmas = done;
    std::printf("limits, %d threads: read %.1f GB/s, int8 dot %.0f GOPS, f32 fma %.0f GFLOPS\n",
                threads, readRate(threads, pool), 2 * dots * threads / dot / 1e9,
                2 * fmas * threads / fma / 1e9);
    for (int64_t i = 0; i < qkBenchShapeCount; ++i)
      for (int64_t rows : {1, 4, 16, 512})
        if (std::strstr(qkBenchShapes[i].name, only))
          benchLinear(qkBenchShapes[i], rows, threads, pool);
    if (!*only || std::strstr("attention", only)) {
      for (int64_t i = 0; i < qkBenchCacheCount; ++i) {
        benchAttention(qkBenchCaches[i], 0, 512, threads);
        benchAttention(qkBenchCaches[i], 1000, 1, threads);
        benchAttention(qkBenchCaches[i], 32000, 1, threads);
      }
    }
  }
}
