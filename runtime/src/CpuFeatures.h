//===- CpuFeatures.h - what this machine can execute ----------------------===//
//
// Answers whether a feature, named as LLVM names it, may be used: the processor
// has it and the operating system saves its registers. Asked before any emitted
// code is loaded, so that a plan for another machine ends in a message and not
// in SIGILL.
//===----------------------------------------------------------------------===//
#ifndef QPLAN_RUNTIME_SRC_CPUFEATURES_H
#define QPLAN_RUNTIME_SRC_CPUFEATURES_H

#include <string>
#include <string_view>
#include <vector>

namespace qplan {

/// True if code that uses the feature ("avx512vnni", "dotprod") runs here. Unknown
/// names are false: what cannot be checked must not be executed. The first question
/// about an AMX feature asks the kernel for the tile registers.
bool hasCpuFeature(std::string_view name);

/// Those names of a comma separated list that this machine lacks, in order. A
/// leading '+' and blanks are skipped; empty names count for nothing.
std::vector<std::string> missingCpuFeatures(std::string_view list);

/// First part of this build's target triple: "x86_64", "aarch64".
std::string_view hostArchitecture();

/// Cores of the affinity mask, ascending; never empty.
std::vector<int> allowedCores();

/// How many threads make sense: the allowed cores, or fewer when the CPU quota of the
/// control group is smaller. >= 1.
int usableCoreCount();

} // namespace qplan

#endif // QPLAN_RUNTIME_SRC_CPUFEATURES_H
