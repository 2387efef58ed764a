//===- PassInputs.cpp - open what the options of a pass name --------------===//
//
// See PassInputs.h.
//
//===----------------------------------------------------------------------===//

#include "passes/PassInputs.h"

using namespace qplan;

llvm::Error qplan::openStatistics(llvm::StringRef path, PassInputs &inputs,
                                  OpenedInputs &opened) {
  if (inputs.statistics || path.empty())
    return llvm::Error::success();
  auto statistics = readStatistics(path);
  if (!statistics)
    return statistics.takeError();
  opened.statistics = std::make_shared<Statistics>(std::move(*statistics));
  inputs.statistics = opened.statistics.get();
  return llvm::Error::success();
}

llvm::Error qplan::openWeights(llvm::StringRef path, llvm::StringRef blobFolder,
                               PassInputs &inputs, OpenedInputs &opened) {
  if (inputs.weights || path.empty())
    return llvm::Error::success();
  auto checkpoint = openCheckpoint(path.str());
  if (!checkpoint)
    return checkpoint.takeError();
  opened.checkpoint = std::move(*checkpoint);
  opened.blobs = blobFolder.empty() ? std::make_shared<BlobStore>()
                                    : std::make_shared<BlobStore>(blobFolder.str());
  opened.weights = std::make_shared<WeightStore>(*opened.checkpoint, *opened.blobs);
  inputs.weights = opened.weights.get();
  return llvm::Error::success();
}
