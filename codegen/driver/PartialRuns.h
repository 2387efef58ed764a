//===- PartialRuns.h - what a changed weight does to the logits --*- C++ -*-===//
//
// Keeps, for some windows of text, what is alive at the launches of the unchanged model
// where runs can be entered (LivePass.h), and its logits. A run of the changed model
// begins at the first launch that the change touches; its result is that of a whole run
// to the bit.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_PARTIALRUNS_H
#define QPLAN_CODEGEN_DRIVER_PARTIALRUNS_H

#include "codegen/driver/LivePass.h"

namespace qplan {

/// Changes one row of what a launch reads, for that launch alone.
struct RowChange {
  int64_t launch = 0;
  std::function<llvm::Error(float *row, int64_t columns)> change;
};

class PartialRuns {
public:
  /// Runs `windows` (of one length, not empty) through `live` as it is. Runs can be entered where
  /// one of `entries` is first read. Errors: those of LivePass and of scratch files.
  static llvm::Expected<std::unique_ptr<PartialRuns>>
  create(LiveModel &live, std::vector<std::vector<int32_t>> windows,
         llvm::ArrayRef<plan::WeightOp> entries);

  LivePass &pass() { return *live; }

  /// Mean KL divergence from the logits of the unchanged model, where what launches before
  /// `first`, at which create()'s are read or 0, compute is as it was. Launches of `changes` may be any.
  llvm::Expected<double> divergence(int64_t first, llvm::ArrayRef<RowChange> changes = {});

  /// The logits of the last window of the last divergence(), [tokens, vocabulary].
  const std::vector<float> &logits() const { return changed; }

private:
  PartialRuns(LiveModel &model, std::vector<std::vector<int32_t>> windows)
      : model(model), windows(std::move(windows)) {}
  llvm::Error record();
  llvm::Error runWindow(size_t window, int64_t from, llvm::ArrayRef<RowChange> changes,
                        bool keep);
  llvm::Error runLaunch(const RowChange &change);

  LiveModel &model;
  const std::vector<std::vector<int32_t>> windows;
  std::unique_ptr<LivePass> live;
  std::map<int64_t, uint64_t> entries; ///< launch to the place of its state in a window's part
  uint64_t windowBytes = 0;
  ScratchFile states;                       ///< [windows, windowBytes]
  ScratchFile baseline;                     ///< logits, f32 [windows, tokens, vocabulary]
  std::vector<float> changed, rows;
};

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_PARTIALRUNS_H
