//===- Rewriter.h - tensors of other tools as weights of ours ---*- C++ -*-===//
//
// A quantized checkpoint keeps one linear's weight as several tensors: codes,
// scales, zero points, ranges of activations. Reading it means to put, in their
// place, one tensor NAME.weight in a format of ours whose rows are made on
// demand. This file has what the readers of all tools share: looking tensors up
// with checks, finding the format that holds the numbers exactly, and building
// rows. One tool is one file beside this one.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_IMPORT_QUANTIZED_REWRITER_H
#define QPLAN_IR_IMPORT_QUANTIZED_REWRITER_H

#include "ir/import/Checkpoint.h"

#include <functional>
#include <llvm/ADT/StringSet.h>

namespace qplan {

/// Writes the codes of row `row`, [columns] or [groups], one byte each.
using ReadCodes = std::function<void(int64_t row, uint8_t *codes)>;
/// Writes the scales of row `row`, [groups].
using ReadScales = std::function<void(int64_t row, float *scales)>;

/// A matrix of integer or fp8 codes as a tool stores it; the functions borrow the checkpoint.
struct CodedMatrix {
  int64_t rows = 0, columns = 0;
  unsigned bits = 8;       ///< of a code
  int64_t group = 0;       ///< columns of a scale; 0: the whole row
  bool isFloat = false;    ///< codes are f8E4M3FN; else unsigned integers below 2^bits
  ReadCodes codes = {};        ///< [columns]; integers without zero points are q + 2^(bits-1)
  ReadScales scales = {};      ///< [groups]
  ReadCodes zeros = {};        ///< [groups] below 2^bits; empty: 2^(bits-1) everywhere
  bool halfScales = false; ///< every scale is an f16 value
  /// Group of each column where groups are not runs of columns; else empty. [columns]
  std::vector<int32_t> groupOf = {};

  int64_t groups() const { return group ? (columns + group - 1) / group : 1; }
};

/// The tensors of a folder, on their way to be weights.
class Rewriter {
public:
  /// `owner` has the tensors as they are stored; outlives the rewriter.
  Rewriter(const Checkpoint &owner, std::vector<std::string> &notes);

  const Checkpoint &stored() const { return owner; }

  /// Names of the modules that have a tensor MODULE + `suffix`, in the order of the files.
  std::vector<std::string> modulesWith(llvm::StringRef suffix) const;

  /// Tensor MODULE + `suffix`, or null.
  const TensorInfo *find(llvm::StringRef module, llvm::StringRef suffix) const;
  /// The same, of one of the `storages` (all of them: any) and of `shape`, where a dimension of
  /// -1 may be anything above 0. Errors say what was found instead.
  llvm::Expected<const TensorInfo *> need(llvm::StringRef module, llvm::StringRef suffix,
                                          llvm::ArrayRef<llvm::StringRef> storages,
                                          llvm::ArrayRef<int64_t> shape) const;
  /// A tensor of floats with `shape`.
  llvm::Expected<const TensorInfo *> needFloats(llvm::StringRef module, llvm::StringRef suffix,
                                                llvm::ArrayRef<int64_t> shape) const;
  /// The one number of a float tensor of one element; finite and above 0.
  llvm::Expected<double> scalar(const TensorInfo &tensor) const;

  /// MODULE.weight in the format that holds `matrix` exactly, or as f32 values with a note where
  /// none does. `from` is the tensor of the codes, for messages.
  llvm::Error define(llvm::StringRef module, CodedMatrix matrix, const TensorInfo &from,
                     StoredInput input);
  /// Takes tensors that are part of a weight out of what the checkpoint shows.
  void consume(llvm::StringRef module, llvm::ArrayRef<llvm::StringRef> suffixes);
  /// Adds a tensor to what the checkpoint shows.
  void show(TensorInfo tensor) { made.push_back(std::move(tensor)); }
  void note(std::string text) { notes.push_back(std::move(text)); }

  /// What the checkpoint shows from now on.
  std::vector<TensorInfo> take();

private:
  const Checkpoint &owner;
  std::vector<std::string> &notes;
  std::vector<TensorInfo> made;
  llvm::StringSet<> consumed;
};

/// Whether every value of a float tensor is an f16 value; reads it whole.
bool holdsHalves(const TensorInfo &scales);
/// Value `index` of a tensor of f32, f16 or bf16.
float floatAt(const TensorInfo &tensor, int64_t index);
/// n little-endian 32-bit words from word `first` on, `stride` words apart.
void readWords(const TensorInfo &tensor, int64_t first, int64_t stride, int64_t n, uint32_t *out);
/// codes[n] of `bits` bits each from a stream that begins in the lowest bit of words[0].
void splitWords(const uint32_t *words, unsigned bits, int64_t n, uint8_t *codes);
/// One code of such a stream.
uint8_t codeOf(const uint32_t *words, unsigned bits, int64_t index);

} // namespace qplan
#endif // QPLAN_IR_IMPORT_QUANTIZED_REWRITER_H
