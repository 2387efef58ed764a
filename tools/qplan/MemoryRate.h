//===- MemoryRate.h - what this machine's memory gives ----------*- C++ -*-===//
//
// The yardstick of decoding: the rate at which the threads that ran a plan read plain
// memory, and what the process holds of it.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_MEMORYRATE_H
#define QPLAN_TOOLS_QPLAN_MEMORYRATE_H

#include "tools/qplan/LoadedPlan.h"

namespace qplan {

/// Bytes a second, in units of 1e9, of a loop on the plan's threads that reads a
/// buffer larger than the caches; the best of several rounds. 0 when there is no memory for it.
double measureReadRate(const LoadedPlan &plan);

/// Bytes of a "VmHWM:"-like line of /proc/self/status; 0 where there is none.
uint64_t processBytes(const char *field);

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_MEMORYRATE_H
