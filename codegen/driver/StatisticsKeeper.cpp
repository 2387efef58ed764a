//===- StatisticsKeeper.cpp - measurements outlive a search ---------------===//
//
// See StatisticsKeeper.h.
//
//===----------------------------------------------------------------------===//

#include "codegen/driver/StatisticsKeeper.h"

#include "ir/Failure.h"

#include <unistd.h>

using namespace qplan;

static volatile std::sig_atomic_t interruptions = 0;

static void noteInterruption(int) {
  interruptions = interruptions + 1;
  if (interruptions > 1)
    _exit(int(ExitStatus::Interrupted));
}

StatisticsKeeper::StatisticsKeeper(const Statistics &statistics, const std::string &path)
    : statistics(statistics), path(path) {
  if (path.empty())
    return;
  interruptions = 0;
  struct sigaction action = {};
  action.sa_handler = noteInterruption;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, &before);
}

StatisticsKeeper::~StatisticsKeeper() {
  if (!path.empty())
    sigaction(SIGINT, &before, nullptr);
}

llvm::Error StatisticsKeeper::keep() {
  auto idle = Clock::now() - written;
  return !interruptions && idle < 10 * cost ? llvm::Error::success() : write();
}

llvm::Error StatisticsKeeper::write() {
  if (path.empty())
    return llvm::Error::success();
  auto begin = Clock::now();
  if (auto error = writeStatistics(statistics, path))
    return error;
  written = Clock::now();
  cost = written - begin;
  if (!interruptions)
    return llvm::Error::success();
  return llvm::make_error<Failure>(
      ExitStatus::Interrupted,
      fmt::format("interrupted; what was measured is in {}, and the same command goes on from there",
                  path));
}
