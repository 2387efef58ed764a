//===- Levels.cpp - the native builds of the kernels ----------------------===//
//
// Collects the kernels of every level that was built and that this machine can
// run. The tests of kernels run on each of them.
//
//===----------------------------------------------------------------------===//
#include "KernelTest.h"

#ifdef QPLAN_HAS_amx
#include <sys/syscall.h>
#include <unistd.h>
#endif

#ifdef QPLAN_HAS_amx
#define QPLAN_LEVEL amx
#include "Levels.inc"
#endif
#ifdef QPLAN_HAS_avx512vnni
#define QPLAN_LEVEL avx512vnni
#include "Levels.inc"
#endif
#ifdef QPLAN_HAS_avx512
#define QPLAN_LEVEL avx512
#include "Levels.inc"
#endif
#ifdef QPLAN_HAS_avx2
#define QPLAN_LEVEL avx2
#include "Levels.inc"
#endif
#ifdef QPLAN_HAS_neon
#define QPLAN_LEVEL neon
#include "Levels.inc"
#endif
#ifdef QPLAN_HAS_portable
#define QPLAN_LEVEL portable
#include "Levels.inc"
#endif

#ifdef QPLAN_HAS_amx
/// The processor has tile registers, and the system gives them to this process.
static bool hasTiles() {
  constexpr long requestPermission = 0x1023, tileData = 18;
  return __builtin_cpu_supports("amx-int8") && __builtin_cpu_supports("avx512vnni") &&
         __builtin_cpu_supports("x86-64-v4") &&
         syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
}
#endif

const std::vector<Level> &kernelLevels() {
  static const std::vector<Level> levels = [] {
    std::vector<Level> found;
#ifdef QPLAN_HAS_amx
    if (hasTiles())
      found.push_back({"amx", table_amx});
#endif
#ifdef QPLAN_HAS_avx512vnni
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("x86-64-v4"))
      found.push_back({"avx512vnni", table_avx512vnni});
#endif
#ifdef QPLAN_HAS_avx512
    if (__builtin_cpu_supports("x86-64-v4"))
      found.push_back({"avx512", table_avx512});
#endif
#ifdef QPLAN_HAS_avx2
    if (__builtin_cpu_supports("x86-64-v3"))
      found.push_back({"avx2", table_avx2});
#endif
#ifdef QPLAN_HAS_neon
    found.push_back({"neon", table_neon});
#endif
#ifdef QPLAN_HAS_portable
    found.push_back({"portable", table_portable});
#endif
    return found;
  }();
  return levels;
}
