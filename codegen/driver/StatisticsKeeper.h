//===- StatisticsKeeper.h - measurements outlive a search -------*- C++ -*-===//
//
// Measuring takes long, so the statistics file is kept up to date while it grows: a
// search that is killed goes on from where it was last written, and one that the user
// interrupts (ctrl-C) writes what it knows first.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_STATISTICSKEEPER_H
#define QPLAN_CODEGEN_DRIVER_STATISTICSKEEPER_H

#include "passes/search/Statistics.h"

#include <chrono>
#include <csignal>

namespace qplan {

/// One lives at a time. While it does, and has a file, the first SIGINT ends the process at the
/// next keep(), a second one at once.
class StatisticsKeeper {
public:
  /// Borrows both; an empty `path`: nothing is kept.
  StatisticsKeeper(const Statistics &statistics, const std::string &path);
  ~StatisticsKeeper();
  StatisticsKeeper(const StatisticsKeeper &) = delete;
  StatisticsKeeper &operator=(const StatisticsKeeper &) = delete;

  /// write(), unless that takes too much of the time since it was last done.
  llvm::Error keep();
  /// Writes the file. After an interruption the error (interrupted) says so.
  llvm::Error write();

private:
  using Clock = std::chrono::steady_clock;
  const Statistics &statistics;
  const std::string &path;
  Clock::time_point written = Clock::now();
  Clock::duration cost{};
  struct sigaction before = {};
};

} // namespace qplan
#endif // QPLAN_CODEGEN_DRIVER_STATISTICSKEEPER_H
