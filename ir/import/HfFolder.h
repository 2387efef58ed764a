//===- HfFolder.h - a Hugging Face folder as a checkpoint -------*- C++ -*-===//
//
// Decides which files of a folder are the model (the index's shards, else
// model.safetensors), has tensors that other tools quantized read as weights
// (quantized/), and refuses other weight containers.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_IMPORT_HFFOLDER_H
#define QPLAN_IR_IMPORT_HFFOLDER_H

#include "ir/import/Checkpoint.h"

#include <map>
#include <string>

namespace qplan {

/// Opens the folder `path`, which has a config.json. Errors (InvalidInput) name the
/// file, and the tensor where one is at fault.
llvm::Expected<std::unique_ptr<Checkpoint>> openHfFolder(llvm::StringRef path);

/// The weight_map of a model.safetensors.index.json: tensor name -> shard file name.
/// Errors: not the expected structure, a file name that leaves the folder.
llvm::Expected<std::map<std::string, std::string>> readShardIndex(const nlohmann::json &index,
                                                                  llvm::StringRef file);

} // namespace qplan
#endif // QPLAN_IR_IMPORT_HFFOLDER_H
