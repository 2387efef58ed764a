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

/// Sum of [words] words: as little work for each byte as a reader can do.
QPLAN_WIDE uint64_t sumWords(const uint64_t *data, int64_t words) {
  uint64_t lane[32] = {};
  for (int64_t at = 0; at + 32 <= words; at += 32)
    for (int i = 0; i < 32; ++i)
      lane[i] += data[at + i];
  uint64_t sum = 0;
  for (uint64_t part : lane)
    sum += part;
  return sum;
}

/// Four times the last cache, at least 256 MB, at most a quarter of the memory.
uint64_t bufferBytes() {
  long cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  uint64_t wanted = std::max<uint64_t>(256ull << 20, cache > 0 ? 4 * uint64_t(cache) : 0);
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
  auto *words = static_cast<uint64_t *>(memory);
  std::vector<uint64_t> sums(size_t(slices), 0);
  plan.parallel(slices, [&](int64_t i) {
    std::memset(words + uint64_t(i) * (slice / 8), int(i + 1), slice);
  });
  double best = 0;
  for (int round = 0; round < 6; ++round) {
    Stopwatch watch;
    plan.parallel(slices, [&](int64_t i) {
      sums[size_t(i)] += sumWords(words + uint64_t(i) * (slice / 8), int64_t(slice / 8));
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
