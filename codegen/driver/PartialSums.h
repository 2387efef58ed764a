//===- PartialSums.h - a calibration that was interrupted --------*- C++ -*-===//
//
// While a calibration runs, what its observers hold is kept beside the statistics file,
// after every window, so that a run that is interrupted goes on where it was: the sums are
// the same to the bit.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_PARTIALSUMS_H
#define QPLAN_CODEGEN_DRIVER_PARTIALSUMS_H

#include "passes/search/Statistics.h"

#include <llvm/ADT/ArrayRef.h>

namespace qplan {

class PartialSums {
public:
  /// Beside the statistics file `path` (empty: nothing is kept), for a run of `key`.
  PartialSums(llvm::StringRef path, const StatisticsKey &key);

  /// Fills the observers' memory as it was left and returns how many windows it holds; 0, and
  /// memory as it was, where there is no file, or one of another run, or a damaged one.
  uint64_t load(llvm::MutableArrayRef<uint8_t> memory) const;
  /// Keeps `memory`, which holds `windows` windows. Errors: disk (machine).
  llvm::Error store(llvm::ArrayRef<uint8_t> memory, uint64_t windows) const;
  /// Forgets what was kept.
  void remove() const;

private:
  std::string header(uint64_t windows) const;
  std::string path, run;
};

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_PARTIALSUMS_H
