//===- Bitcode.cpp - the kernels' bitcode, embedded -----------------------===//
//
// The assembler includes the modules that the build made; the table says what each
// needs. The levels and their order are those of CMakeLists.txt.
//
//===----------------------------------------------------------------------===//
#include "runtime/kernels/Bitcode.h"

#include <iterator>

#define QPLAN_EMBED(symbol, file)                                                                  \
  __asm__(".section .rodata,\"a\",@progbits\n"                                                     \
          ".balign 16\n" #symbol ":\n"                                                             \
          ".incbin \"" QPLAN_KERNEL_BITCODE_DIR "/kernels_" file ".bc\"\n" #symbol "_end:\n"       \
          ".byte 0\n.balign 16\n.text\n");                                                         \
  extern "C" const unsigned char symbol[], symbol##_end[];

QPLAN_EMBED(qplan_bc_amx, "amx_x86_64")
QPLAN_EMBED(qplan_bc_avx512vnni, "avx512vnni_x86_64")
QPLAN_EMBED(qplan_bc_avx512, "avx512_x86_64")
QPLAN_EMBED(qplan_bc_avx2, "avx2_x86_64")
QPLAN_EMBED(qplan_bc_portable_x86, "portable_x86_64")
QPLAN_EMBED(qplan_bc_neon, "neon_aarch64")
QPLAN_EMBED(qplan_bc_portable_arm, "portable_aarch64")

static KernelBitcode entry(const char *level, const unsigned char *begin, const unsigned char *end,
                           const char *features, const char *arch, unsigned vectorBits) {
  return {level, begin, static_cast<std::size_t>(end - begin), features, arch, vectorBits};
}

extern "C" const KernelBitcode *qplan_kernel_bitcode(std::size_t *count) {
  static const KernelBitcode levels[] = {
      entry("amx", qplan_bc_amx, qplan_bc_amx_end,
            "+amx-tile,+amx-int8,+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512vnni,+avx2,+fma,"
            "+f16c",
            "x86_64", 512),
      entry("avx512vnni", qplan_bc_avx512vnni, qplan_bc_avx512vnni_end,
            "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512vnni,+avx2,+fma,+f16c", "x86_64", 512),
      entry("avx512", qplan_bc_avx512, qplan_bc_avx512_end,
            "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx2,+fma,+f16c", "x86_64", 512),
      entry("avx2", qplan_bc_avx2, qplan_bc_avx2_end, "+avx2,+fma,+f16c", "x86_64", 256),
      entry("neon", qplan_bc_neon, qplan_bc_neon_end, "+neon,+dotprod", "aarch64", 128),
      entry("portable", qplan_bc_portable_x86, qplan_bc_portable_x86_end, "", "x86_64", 128),
      entry("portable", qplan_bc_portable_arm, qplan_bc_portable_arm_end, "", "aarch64", 128),
  };
  *count = std::size(levels);
  return levels;
}
