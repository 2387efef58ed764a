//===- MomentPass.h - second moments of inputs, a few at a time --*- C++ -*-===//
//
// Compiler::visitMoments() runs the model in f32 with observers of x x^T, for as many
// inputs at a time as fit a bound on memory, and lets go of the moments before the next.
// They are those of the model as it was, not of one that is rounded up to there.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_MOMENTPASS_H
#define QPLAN_CODEGEN_DRIVER_MOMENTPASS_H

#include "codegen/driver/Calibrator.h"
#include "codegen/driver/ScratchFile.h"
#include "passes/moments/MomentMethod.h"

#include <map>

namespace qplan {

/// A value that sites read, observed under the name of one of them.
struct MomentInput {
  std::string observer;
  int64_t columns = 0;

  /// Of its moments, of which a triangle is observed.
  int64_t bytes() const { return columns * (columns + 1) / 2 * 8; }
};

/// Second moments that will be asked for again, in files without a name.
class MomentStore {
public:
  /// What is known under `key`; the moments are put into `gram`. Absent: nothing.
  std::optional<InputMoments> find(const std::string &key, std::vector<double> &gram) const;
  bool contains(const std::string &key) const { return kept.count(key); }
  /// Keeps `moments`, where there is room. The error (machine): the file cannot be made.
  llvm::Error keep(const std::string &key, const InputMoments &moments);

private:
  struct Kept {
    InputMoments moments; ///< without gram
    ScratchFile triangle; ///< the lower one of gram, row by row
  };
  std::map<std::string, Kept> kept;
  int64_t bytes = 0;
};

/// The moments after the division of the input by `factors` [columns]; kept in `gram`.
InputMoments dividedMoments(const InputMoments &moments, llvm::ArrayRef<float> factors,
                            std::vector<double> &gram);

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_MOMENTPASS_H
