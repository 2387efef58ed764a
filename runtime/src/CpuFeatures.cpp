//===- CpuFeatures.cpp - what this machine can execute --------------------===//
//
// x86-64: one table of CPUID bits with the register state that each needs from the
// operating system (XCR0). AArch64: bits of the auxiliary vector.
//===----------------------------------------------------------------------===//
#include "runtime/src/CpuFeatures.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <sched.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

using namespace qplan;

#if defined(__x86_64__)

namespace {
enum Register { Eax, Ebx, Ecx, Edx };
enum State { Base, Ymm, Zmm, Tile };

/// One feature: CPUID(leaf, subleaf), the bit, and the registers it works on.
struct FeatureBit {
  const char *name;
  uint32_t leaf, subleaf;
  Register reg;
  int bit;
  State state;
};
} // namespace

static constexpr uint32_t extended = 0x80000001u;
static constexpr FeatureBit featureBits[] = {
    {"x87", 1, 0, Edx, 0, Base},
    {"cx8", 1, 0, Edx, 8, Base},
    {"cmov", 1, 0, Edx, 15, Base},
    {"mmx", 1, 0, Edx, 23, Base},
    {"fxsr", 1, 0, Edx, 24, Base},
    {"sse", 1, 0, Edx, 25, Base},
    {"sse2", 1, 0, Edx, 26, Base},
    {"sse3", 1, 0, Ecx, 0, Base},
    {"pclmul", 1, 0, Ecx, 1, Base},
    {"ssse3", 1, 0, Ecx, 9, Base},
    {"fma", 1, 0, Ecx, 12, Ymm},
    {"cx16", 1, 0, Ecx, 13, Base},
    {"sse4.1", 1, 0, Ecx, 19, Base},
    {"sse4.2", 1, 0, Ecx, 20, Base},
    {"crc32", 1, 0, Ecx, 20, Base},
    {"movbe", 1, 0, Ecx, 22, Base},
    {"popcnt", 1, 0, Ecx, 23, Base},
    {"aes", 1, 0, Ecx, 25, Base},
    {"xsave", 1, 0, Ecx, 27, Base},
    {"avx", 1, 0, Ecx, 28, Ymm},
    {"f16c", 1, 0, Ecx, 29, Ymm},
    {"rdrnd", 1, 0, Ecx, 30, Base},
    {"fsgsbase", 7, 0, Ebx, 0, Base},
    {"bmi", 7, 0, Ebx, 3, Base},
    {"avx2", 7, 0, Ebx, 5, Ymm},
    {"bmi2", 7, 0, Ebx, 8, Base},
    {"invpcid", 7, 0, Ebx, 10, Base},
    {"avx512f", 7, 0, Ebx, 16, Zmm},
    {"avx512dq", 7, 0, Ebx, 17, Zmm},
    {"rdseed", 7, 0, Ebx, 18, Base},
    {"adx", 7, 0, Ebx, 19, Base},
    {"avx512ifma", 7, 0, Ebx, 21, Zmm},
    {"clflushopt", 7, 0, Ebx, 23, Base},
    {"clwb", 7, 0, Ebx, 24, Base},
    {"avx512cd", 7, 0, Ebx, 28, Zmm},
    {"sha", 7, 0, Ebx, 29, Base},
    {"avx512bw", 7, 0, Ebx, 30, Zmm},
    {"avx512vl", 7, 0, Ebx, 31, Zmm},
    {"avx512vbmi", 7, 0, Ecx, 1, Zmm},
    {"pku", 7, 0, Ecx, 4, Base},
    {"waitpkg", 7, 0, Ecx, 5, Base},
    {"avx512vbmi2", 7, 0, Ecx, 6, Zmm},
    {"shstk", 7, 0, Ecx, 7, Base},
    {"gfni", 7, 0, Ecx, 8, Base},
    {"vaes", 7, 0, Ecx, 9, Ymm},
    {"vpclmulqdq", 7, 0, Ecx, 10, Ymm},
    {"avx512vnni", 7, 0, Ecx, 11, Zmm},
    {"avx512bitalg", 7, 0, Ecx, 12, Zmm},
    {"avx512vpopcntdq", 7, 0, Ecx, 14, Zmm},
    {"rdpid", 7, 0, Ecx, 22, Base},
    {"cldemote", 7, 0, Ecx, 25, Base},
    {"movdiri", 7, 0, Ecx, 27, Base},
    {"movdir64b", 7, 0, Ecx, 28, Base},
    {"enqcmd", 7, 0, Ecx, 29, Base},
    {"avx512vp2intersect", 7, 0, Edx, 8, Zmm},
    {"serialize", 7, 0, Edx, 14, Base},
    {"amx-bf16", 7, 0, Edx, 22, Tile},
    {"avx512fp16", 7, 0, Edx, 23, Zmm},
    {"amx-tile", 7, 0, Edx, 24, Tile},
    {"amx-int8", 7, 0, Edx, 25, Tile},
    {"sha512", 7, 1, Eax, 0, Ymm},
    {"sm3", 7, 1, Eax, 1, Ymm},
    {"sm4", 7, 1, Eax, 2, Ymm},
    {"avxvnni", 7, 1, Eax, 4, Ymm},
    {"avx512bf16", 7, 1, Eax, 5, Zmm},
    {"cmpccxadd", 7, 1, Eax, 7, Base},
    {"amx-fp16", 7, 1, Eax, 21, Tile},
    {"avxifma", 7, 1, Eax, 23, Ymm},
    {"avxvnniint8", 7, 1, Edx, 4, Ymm},
    {"avxneconvert", 7, 1, Edx, 5, Ymm},
    {"amx-complex", 7, 1, Edx, 8, Tile},
    {"avxvnniint16", 7, 1, Edx, 10, Ymm},
    {"prefetchi", 7, 1, Edx, 14, Base},
    {"xsaveopt", 13, 1, Eax, 0, Base},
    {"xsavec", 13, 1, Eax, 1, Base},
    {"xsaves", 13, 1, Eax, 3, Base},
    {"sahf", extended, 0, Ecx, 0, Base},
    {"lzcnt", extended, 0, Ecx, 5, Base},
    {"sse4a", extended, 0, Ecx, 6, Base},
    {"prfchw", extended, 0, Ecx, 8, Base},
    {"xop", extended, 0, Ecx, 11, Ymm},
    {"fma4", extended, 0, Ecx, 16, Ymm},
    {"tbm", extended, 0, Ecx, 21, Base},
    {"mwaitx", extended, 0, Ecx, 29, Base},
    {"64bit", extended, 0, Edx, 29, Base},
    {"clzero", 0x80000008u, 0, Ebx, 0, Base},
    {"rdpru", 0x80000008u, 0, Ebx, 4, Base},
    {"wbnoinvd", 0x80000008u, 0, Ebx, 9, Base},
};

/// CPUID bit of a row; false when the processor has no such leaf.
static bool cpuidBit(uint32_t leaf, uint32_t subleaf, Register reg, int bit) {
  uint32_t regs[4] = {};
  if (!__get_cpuid_count(leaf, subleaf, &regs[Eax], &regs[Ebx], &regs[Ecx], &regs[Edx]))
    return false;
  return regs[reg] >> bit & 1;
}

/// XCR0: the register states that the operating system saves.
static uint64_t enabledStates() {
  if (!cpuidBit(1, 0, Ecx, 27)) // OSXSAVE: without it xgetbv faults
    return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

/// Linux hands out the tile registers (8 KB a thread) only to those who ask.
static bool requestTiles() {
  constexpr long requestPermission = 0x1023, tileData = 18;
  static const bool granted = syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
  return granted;
}

static bool stateUsable(State state) {
  static const uint64_t enabled = enabledStates();
  constexpr uint64_t ymm = 0x6, zmm = 0xE6, tile = 0x60000;
  switch (state) {
  case Base:
    return true;
  case Ymm:
    return (enabled & ymm) == ymm;
  case Zmm:
    return (enabled & zmm) == zmm;
  case Tile:
    return (enabled & tile) == tile && requestTiles();
  }
  return false;
}

bool qplan::hasCpuFeature(std::string_view name) {
  for (const FeatureBit &row : featureBits)
    if (name == row.name)
      return cpuidBit(row.leaf, row.subleaf, row.reg, row.bit) && stateUsable(row.state);
  return false;
}

std::string_view qplan::hostArchitecture() { return "x86_64"; }

#elif defined(__aarch64__)

namespace {
/// One feature: the entry of the auxiliary vector and the bit in it.
struct FeatureBit {
  const char *name;
  unsigned long entry;
  int bit;
};
} // namespace

static constexpr FeatureBit featureBits[] = {
    {"fp-armv8", AT_HWCAP, 0},   {"neon", AT_HWCAP, 1},     {"aes", AT_HWCAP, 3},
    {"sha2", AT_HWCAP, 6},       {"crc", AT_HWCAP, 7},      {"lse", AT_HWCAP, 8},
    {"fullfp16", AT_HWCAP, 10},  {"rdm", AT_HWCAP, 12},     {"jsconv", AT_HWCAP, 13},
    {"complxnum", AT_HWCAP, 14}, {"rcpc", AT_HWCAP, 15},    {"ccpp", AT_HWCAP, 16},
    {"sha3", AT_HWCAP, 17},      {"sm4", AT_HWCAP, 19},     {"dotprod", AT_HWCAP, 20},
    {"sve", AT_HWCAP, 22},       {"fp16fml", AT_HWCAP, 23}, {"dit", AT_HWCAP, 24},
    {"rcpc-immo", AT_HWCAP, 26}, {"flagm", AT_HWCAP, 27},   {"ssbs", AT_HWCAP, 28},
    {"sb", AT_HWCAP, 29},        {"pauth", AT_HWCAP, 30},   {"ccdp", AT_HWCAP2, 0},
    {"sve2", AT_HWCAP2, 1},      {"altnzcv", AT_HWCAP2, 7}, {"fptoint", AT_HWCAP2, 8},
    {"i8mm", AT_HWCAP2, 13},     {"bf16", AT_HWCAP2, 14},   {"rand", AT_HWCAP2, 16},
    {"bti", AT_HWCAP2, 17},
};

bool qplan::hasCpuFeature(std::string_view name) {
  for (const FeatureBit &row : featureBits)
    if (name == row.name)
      return getauxval(row.entry) >> row.bit & 1;
  return false;
}

std::string_view qplan::hostArchitecture() { return "aarch64"; }

#else
#error "qplan_rt knows x86-64 and AArch64"
#endif

std::vector<std::string> qplan::missingCpuFeatures(std::string_view list) {
  std::vector<std::string> missing;
  while (!list.empty()) {
    size_t comma = std::min(list.find(','), list.size());
    std::string_view name = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    while (!name.empty() && (name.front() == ' ' || name.front() == '+'))
      name.remove_prefix(1);
    while (!name.empty() && name.back() == ' ')
      name.remove_suffix(1);
    if (!name.empty() && !hasCpuFeature(name))
      missing.emplace_back(name);
  }
  return missing;
}

std::vector<int> qplan::allowedCores() {
  std::vector<int> cores;
  // The mask of a large machine needs more than the 1024 bits of cpu_set_t.
  for (int bits = 1024; bits <= 1 << 16 && cores.empty(); bits *= 4) {
    cpu_set_t *set = CPU_ALLOC(bits);
    if (!set)
      break;
    size_t bytes = CPU_ALLOC_SIZE(bits);
    CPU_ZERO_S(bytes, set);
    if (sched_getaffinity(0, bytes, set) == 0)
      for (int core = 0; core < bits; ++core)
        if (CPU_ISSET_S(core, bytes, set))
          cores.push_back(core);
    CPU_FREE(set);
  }
  if (cores.empty())
    cores.push_back(0);
  return cores;
}

/// Cores' worth of time that the control group of this process may use, rounded up;
/// 0 when it has no limit.
static int quotaCores() {
  FILE *file = std::fopen("/sys/fs/cgroup/cpu.max", "re");
  if (!file)
    return 0;
  long long quota = 0, period = 0;
  int fields = std::fscanf(file, "%lld %lld", &quota, &period); // "max 100000" reads 0 fields
  std::fclose(file);
  if (fields != 2 || quota <= 0 || period <= 0)
    return 0;
  return static_cast<int>(std::min<long long>((quota + period - 1) / period, 1 << 16));
}

int qplan::usableCoreCount() {
  int cores = static_cast<int>(allowedCores().size());
  int quota = quotaCores();
  return quota > 0 ? std::min(cores, quota) : cores;
}
