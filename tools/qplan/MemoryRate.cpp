//===- MemoryRate.cpp - what this machine's memory gives ------------------===//

#include "tools/qplan/MemoryRate.h"

#include "tools/qplan/Output.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__) && defined(__linux__) && !__has_feature(address_sanitizer)
#define QPLAN_WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define QPLAN_WIDE
#endif

namespace qplan {
namespace {

// Spelt out: left to itself the vectoriser makes gathers of such a loop.
typedef uint64_t Words __attribute__((vector_size(64)));

/// Sum of [words] 64-byte words: as little work for each byte as a reader can do. Four
/// streams, because one alone does not keep enough lines in flight.
QPLAN_WIDE uint64_t sumWords(const Words *data, int64_t words) {
  Words sums[4] = {};
  int64_t quarter = words / 4;
  for (int64_t at = 0; at < quarter; ++at)
    for (int i = 0; i < 4; ++i) {
      const Words *from = data + i * quarter + at;
      __builtin_prefetch(from + 32);
      sums[i] += *from;
    }
  Words all = sums[0] + sums[1] + sums[2] + sums[3];
  uint64_t sum = 0;
  for (int i = 0; i < 8; ++i)
    sum += all[i];
  return sum;
}

/// Twice the last cache, at least 256 MB, at most a quarter of the memory.
uint64_t bufferBytes() {
  long cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  uint64_t wanted = std::max<uint64_t>(256ull << 20, cache > 0 ? 2 * uint64_t(cache) : 0);
  uint64_t memory = uint64_t(::sysconf(_SC_PHYS_PAGES)) * uint64_t(::sysconf(_SC_PAGESIZE));
  return std::min(wanted, std::max<uint64_t>(memory / 4, 64ull << 20)) >> 21 << 21;
}

} // namespace

double measureReadRate(const LoadedPlan &plan) {
  uint64_t bytes = bufferBytes();
  void *memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return 0;
  // Small pages would measure the walk of the page tables; weights are mapped the same way.
  ::madvise(memory, bytes, MADV_HUGEPAGE);
  int64_t slices = int64_t(plan.info().threads) * 8;
  uint64_t slice = bytes / uint64_t(slices) / 256 * 256;
  auto *words = static_cast<Words *>(memory);
  auto sliceWords = int64_t(slice / sizeof(Words));
  std::vector<uint64_t> sums(size_t(slices), 0);
  plan.parallel(slices, [&](int64_t i) { std::memset(words + i * sliceWords, int(i + 1), slice); });
  double best = 0;
  Stopwatch all;
  // Several rounds, for other programs disturb them; a slow machine gets fewer.
  for (int round = 0; round < 8 && (round < 2 || all.seconds() < 2); ++round) {
    Stopwatch watch;
    plan.parallel(slices, [&](int64_t i) {
      sums[size_t(i)] += sumWords(words + i * sliceWords, sliceWords);
    });
    best = std::max(best, double(slice) * double(slices) / watch.seconds() / 1e9);
  }
  // The sums are used, so that no compiler drops the loop.
  volatile uint64_t sink = 0;
  for (uint64_t sum : sums)
    sink = sink + sum;
  ::munmap(memory, bytes);
  return best;
}

uint64_t processBytes(const char *field) {
  std::FILE *file = std::fopen("/proc/self/status", "r");
  if (!file)
    return 0;
  char line[256];
  unsigned long long kilobytes = 0;
  size_t length = std::strlen(field);
  while (std::fgets(line, sizeof line, file))
    if (std::strncmp(line, field, length) == 0 && line[length] == ':')
      std::sscanf(line + length + 1, "%llu", &kilobytes);
  std::fclose(file);
  return uint64_t(kilobytes) * 1024;
}

} // namespace qplan
