//===- Bitcode.h - the kernels' bitcode, embedded ---------------*- C++ -*-===//
//
// The compiler links the kernels of one instruction-set level into the module it
// emits and specialises them there. Each level is one bitcode module that holds
// qk_<name> and qk_<name>_tasks for every row of Kernels.inc.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_RUNTIME_KERNELS_BITCODE_H
#define QPLAN_RUNTIME_KERNELS_BITCODE_H

#include <cstddef>

/// One level. All strings are static.
///
/// Before optimisation the user must give every function of the module the
/// attributes "target-cpu", "target-features", and, where `vectorBits` is 512,
/// "prefer-vector-width"="512" and "min-legal-vector-width"="512" (several CPU
/// models prefer 256 bits otherwise, which halves the throughput).
struct KernelBitcode {
  const char *level;         ///< "amx", "avx512vnni", "avx512", "avx2", "neon", "portable"
  const unsigned char *data; ///< bitcode, `size` bytes, 16-byte aligned
  std::size_t size;
  const char *features; ///< LLVM features that the target must have: "+avx2,+fma" or ""
  const char *arch;     ///< the architecture of the triple: "x86_64" or "aarch64"
  unsigned vectorBits;  ///< width of its vector registers: 128, 256 or 512
};

/// All levels, best first: the first one whose `arch` fits and whose `features`
/// the target has is the one to use. The array is static.
extern "C" const KernelBitcode *qplan_kernel_bitcode(std::size_t *count);

#endif // QPLAN_RUNTIME_KERNELS_BITCODE_H
