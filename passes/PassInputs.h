//===- PassInputs.h - what passes read besides the IR ------------*- C++ -*-===//
//
// The driver hands passes a weight store and statistics that it has open already. A
// pass that qplan-opt runs alone, to go on from a dump, names files in its options
// instead; they are opened here.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_PASSINPUTS_H
#define QPLAN_PASSES_PASSINPUTS_H

#include "ir/weights/WeightStore.h"
#include "passes/Passes.h"

#include <memory>

namespace qplan {

/// What the options of one pass opened; copied with the pass.
struct OpenedInputs {
  std::shared_ptr<Checkpoint> checkpoint;
  std::shared_ptr<BlobStore> blobs;
  std::shared_ptr<WeightStore> weights;
  std::shared_ptr<Statistics> statistics;
};

/// Reads the statistics file at `path` into `inputs`, unless `path` is empty or the
/// driver gave statistics. Errors: those of readStatistics.
llvm::Error openStatistics(llvm::StringRef path, PassInputs &inputs, OpenedInputs &opened);

/// Opens the checkpoint at `path`, with constants that methods make in the folder
/// `blobFolder` (memory where it is empty), unless `path` is empty or the driver gave
/// a weight store. Errors: those of openCheckpoint.
llvm::Error openWeights(llvm::StringRef path, llvm::StringRef blobFolder, PassInputs &inputs,
                        OpenedInputs &opened);

} // namespace qplan

#endif // QPLAN_PASSES_PASSINPUTS_H
