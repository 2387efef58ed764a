//===- WeightStore.h - reads weights through their transforms ---*- C++ -*-===//
//
// Turns a WeightRef into numbers, a tile at a time: memory use depends on the
// tile asked for, never on the tensor. Dequantization is the codec's, exact; a
// transform that only moves whole blocks keeps the stored bytes readable too,
// so that a GGUF weight can be packed without being rounded twice.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_WEIGHTS_WEIGHTSTORE_H
#define QPLAN_IR_WEIGHTS_WEIGHTSTORE_H

#include "ir/codecs/Codec.h"
#include "ir/import/Checkpoint.h"
#include "ir/weights/BlobStore.h"
#include "ir/weights/WeightRef.h"

#include <memory>
#include <mutex>
#include <optional>

namespace qplan {

class WeightNode;

/// A reference that was resolved: names exist, shapes fit. Cheap to copy; all members
/// may be called from several threads; lives no longer than the checkpoint and blobs.
class WeightView {
public:
  /// Shape after all transforms, row-major.
  llvm::ArrayRef<int64_t> shape() const;
  /// All dimensions but the last, multiplied; 1 for a vector.
  int64_t rows() const;
  /// The last dimension; 1 for a scalar.
  int64_t columns() const;
  /// Format of the stored rows when the transforms leave rows (or whole blocks of them)
  /// intact, so that nativeRow() works; none when values are computed.
  std::optional<FormatId> nativeFormat() const;
  /// Format in which the underlying tensor is stored, whatever the transforms do; of
  /// concatenated parts the first one's.
  FormatId storedFormat() const;
  /// Dequantizes rows first <= r < first + count into out[count, columns()], f32.
  /// Errors: range outside the weight (Defect).
  llvm::Error readRows(int64_t first, int64_t count, float *out) const;
  /// Tile [firstRow, +rows) x [firstColumn, +columns) into out, whose rows are
  /// `stride` floats apart. Aligned or not, any tile is exact.
  llvm::Error readTile(int64_t firstRow, int64_t rows, int64_t firstColumn, int64_t columns,
                       float *out, int64_t stride) const;
  /// The whole weight, for vectors and tests.
  llvm::Expected<std::vector<float>> readAll() const;
  /// Stored bytes of row `row`: bytes of `columns()` elements in nativeFormat(), in the
  /// mapped file, of any alignment, or in `scratch`. Error (Defect) without a native format.
  llvm::Expected<llvm::ArrayRef<uint8_t>> nativeRow(int64_t row,
                                                    std::vector<uint8_t> &scratch) const;
  /// What decoding nativeRow(row) needs of the numbers beside its tensor; owned by the view.
  TensorSide nativeSide(int64_t row) const;
  /// Error naming the tensor, row and column of the first NaN or infinity; streams.
  llvm::Error checkFinite() const;
  /// The reference's canonical text, for messages.
  const std::string &text() const { return name; }
  /// Where a row comes from, for messages about values.
  struct Place {
    llvm::StringRef subject; ///< file and tensor (and what is done to it); owned by the view
    int64_t row;             ///< counted in `subject`, after its transforms
  };
  /// Place of row `row`, which is one of the view's: of rows put below each other, the
  /// tensor that the row is in.
  Place placeOf(int64_t row) const;
  /// First rows of the tensors that are put below each other, ascending from 0: numbers beside
  /// the rows (SideData) belong to one of them each.
  std::vector<int64_t> partRows() const;

private:
  friend class WeightStore;
  struct Part {
    int64_t firstRow;
    std::string subject;
  };
  std::shared_ptr<const WeightNode> node;
  std::string name;
  std::vector<Part> parts; ///< by firstRow; the first is row 0's
};

/// Resolves references against a checkpoint and a blob store, neither of which it owns.
/// Thread safe.
class WeightStore {
public:
  WeightStore(const Checkpoint &checkpoint, BlobStore &blobs)
      : checkpoint(checkpoint), blobStore(blobs) {}

  /// Resolves `ref`, checking names, shapes and ranges; errors name the tensor, the
  /// transform, what was found and what it needs.
  llvm::Expected<WeightView> open(const WeightRef &ref);
  /// The same from text.
  llvm::Expected<WeightView> open(llvm::StringRef text);

  /// Shorthands of open() followed by the member of WeightView.
  llvm::Expected<std::vector<int64_t>> shapeOf(const WeightRef &ref);
  llvm::Expected<std::optional<FormatId>> formatOf(const WeightRef &ref);
  llvm::Error readRows(const WeightRef &ref, int64_t first, int64_t count, float *out);
  llvm::Expected<std::vector<float>> readAll(const WeightRef &ref);
  llvm::Expected<std::vector<uint8_t>> readNativeRow(const WeightRef &ref, int64_t row);

  const Checkpoint &source() const { return checkpoint; }
  BlobStore &blobs() { return blobStore; }

private:
  llvm::Expected<std::shared_ptr<const WeightNode>> resolve(const WeightRef &ref);
  llvm::Expected<std::shared_ptr<const WeightNode>> leaf(const WeightRef &ref);
  /// Appends the parts of `ref`, whose rows begin at `row`, and moves `row` past them.
  llvm::Error listParts(const WeightRef &ref, int64_t &row, std::vector<WeightView::Part> &parts);
  const Checkpoint &checkpoint;
  BlobStore &blobStore;
};

} // namespace qplan
#endif // QPLAN_IR_WEIGHTS_WEIGHTSTORE_H
