//===- Checkpoint.h - what the compiler sees of a checkpoint ----*- C++ -*-===//
//
// One interface over a Hugging Face folder and a GGUF file: named tensors that
// lie in mapped files, the configuration, and the files beside them. Every size
// and offset was checked against the file before a TensorInfo exists.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_IMPORT_CHECKPOINT_H
#define QPLAN_IR_IMPORT_CHECKPOINT_H

#include "ir/Formats.h"
#include "ir/import/StoredRows.h"

#include <cstdint>
#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringMap.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace qplan {

class Gguf;

/// Where a checkpoint comes from; decides tensor names and conventions.
enum class CheckpointKind { HuggingFace, Gguf };

/// What a quantized checkpoint says of the rows that a weight is multiplied with.
struct StoredInput {
  std::optional<FormatId> format; ///< activations are rounded to it; none: they are not
  double scale = 0;               ///< static scale of a per-tensor format; 0: none is stored
  std::string factors;            ///< tensor [columns] that they are multiplied with first; or ""
};

/// One stored tensor. The bytes lie in a mapping that the Checkpoint owns and
/// may have any alignment: read them with memcpy or through a codec.
struct TensorInfo {
  std::string name;
  /// The container's own word for the storage: "BF16", "I64", "Q4_0", ...
  std::string storage;
  /// The format of one row; none for storage that holds no weights (integers,
  /// booleans, bare fp8 codes, ...), which the weight store refuses to read.
  std::optional<FormatId> format;
  /// Row-major, Hugging Face order: a linear weight is [out, in]. Empty: a scalar.
  std::vector<int64_t> shape;
  /// Bytes of the whole tensor, at `data`.
  uint64_t bytes = 0;
  const uint8_t *data = nullptr;
  /// Path of the file that holds it, and the distance of `data` from its beginning.
  std::string file;
  uint64_t offset = 0;
  /// Makes the rows where they do not lie in the file as `format` stores them; `data` is null
  /// then, and `offset` that of the tensor with the codes.
  std::shared_ptr<const StoredRows> rows;
  /// Of a linear's weight in a checkpoint that says how activations are quantized.
  StoredInput input;

  /// Product of the shape; 1 for a scalar. Cannot overflow: readers checked.
  uint64_t elements() const;
  /// "[64, 256]", for messages.
  std::string shapeText() const;
};

/// An open checkpoint. Owns its mappings; pointers into it live as long as it does.
/// All const members may be called from several threads.
class Checkpoint {
public:
  virtual ~Checkpoint();
  CheckpointKind kind() const { return origin; }

  /// The tensor called `name`, or null.
  const TensorInfo *find(llvm::StringRef name) const;
  /// The tensor called `name`, or an error that names the checkpoint and the nearest tensor names.
  llvm::Expected<const TensorInfo *> get(llvm::StringRef name) const;
  /// Every tensor: files in order, within a file by offset.
  llvm::ArrayRef<TensorInfo> tensors() const { return all; }

  /// config.json of a Hugging Face folder, as it was written; null for GGUF.
  const nlohmann::json &config() const { return configuration; }
  /// Metadata of a GGUF file (of the first one when split); null for a folder.
  virtual const Gguf *gguf() const { return nullptr; }

  /// The path the user gave.
  const std::string &path() const { return location; }
  /// 64 hexadecimal digits over headers, configuration, sizes and a bounded sample of
  /// the tensors' bytes: tells checkpoints apart without reading them whole. The same
  /// files in another folder hash alike.
  const std::string &contentHash() const { return hash; }
  /// Licence text of the checkpoint if it carries one (LICENSE file, `license:` of the
  /// model card, general.license of a GGUF), else empty.
  const std::string &license() const { return licenseText; }
  /// Path of a file of that name that belongs to the checkpoint ("tokenizer.json",
  /// "generation_config.json", ...); empty when there is none. Always empty for GGUF.
  std::string companionFile(llvm::StringRef fileName) const;
  /// Path of tokenizer.json; empty when there is none.
  std::string tokenizerJsonPath() const { return companionFile("tokenizer.json"); }
  /// Oddities that do not stop the import, one sentence each (tensors that no index lists, ...).
  llvm::ArrayRef<std::string> warnings() const { return notes; }

protected:
  Checkpoint(CheckpointKind origin, std::string location)
      : origin(origin), location(std::move(location)) {}
  /// Adds a tensor; an error names both files when the name is taken.
  llvm::Error add(TensorInfo tensor);
  /// Puts `tensors` in the place of all that were added.
  llvm::Error replaceAll(std::vector<TensorInfo> tensors);
  /// Computes contentHash() from `headers` (raw header bytes of each file, in order)
  /// and the tensors added so far.
  void computeHash(llvm::ArrayRef<llvm::ArrayRef<uint8_t>> headers);

  nlohmann::json configuration;
  std::string licenseText;
  std::vector<std::string> notes;

private:
  CheckpointKind origin;
  std::string location;
  std::string hash;
  std::vector<TensorInfo> all;
  llvm::StringMap<size_t> byName;
};

/// Opens a Hugging Face folder or a GGUF file (for a split one, its first part),
/// recognised by content. Errors (InvalidInput) say what was found instead: a missing
/// path, a folder without config.json, a bare safetensors file, ONNX, anything else.
llvm::Expected<std::unique_ptr<Checkpoint>> openCheckpoint(llvm::StringRef path);

} // namespace qplan
#endif // QPLAN_IR_IMPORT_CHECKPOINT_H
