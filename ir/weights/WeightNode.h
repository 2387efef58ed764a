//===- WeightNode.h - steps of a resolved weight ----------------*- C++ -*-===//
//
// A resolved reference is a chain of nodes, each of which can produce any tile of
// itself by asking its input for tiles. Scratch memory is bounded by a tile of
// 64 Ki floats or one row; nothing is cached, so nodes are immutable and shared.
// Arguments were checked by WeightStore: nodes cannot fail.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_WEIGHTS_WEIGHTNODE_H
#define QPLAN_IR_WEIGHTS_WEIGHTNODE_H

#include "ir/codecs/Codec.h"
#include "ir/import/StoredRows.h"

#include <cstdint>
#include <llvm/ADT/ArrayRef.h>
#include <memory>
#include <optional>
#include <vector>

namespace qplan {

/// A weight as a matrix: rows() x columns(), where a vector [n] is 1 x n and leading
/// dimensions of higher ranks are merged.
class WeightNode {
public:
  using Ptr = std::shared_ptr<const WeightNode>;
  explicit WeightNode(std::vector<int64_t> shape);
  virtual ~WeightNode();

  const std::vector<int64_t> &shape() const { return dimensions; }
  int64_t rows() const { return rowCount; }
  int64_t columns() const { return columnCount; }
  bool isVector() const { return dimensions.size() <= 1; }
  int64_t elements() const { return rowCount * columnCount; }

  /// Writes the tile [r0, r0+nr) x [c0, c0+nc), which lies inside, to `out` with `stride`
  /// floats from row to row.
  virtual void readTile(int64_t r0, int64_t nr, int64_t c0, int64_t nc, float *out,
                        int64_t stride) const = 0;
  /// Format of the rows when nativeRow() has them; none when values are computed.
  virtual std::optional<FormatId> nativeFormat() const { return std::nullopt; }
  /// Stored bytes of one row, in mapped memory or in `scratch`; only with a native format.
  virtual llvm::ArrayRef<uint8_t> nativeRow(int64_t row, std::vector<uint8_t> &scratch) const {
    return {};
  }
  /// What decoding nativeRow(row) needs of the numbers beside its tensor.
  virtual TensorSide nativeSide(int64_t row) const { return {}; }
  /// Format of the tensor at the bottom.
  virtual FormatId storedFormat() const = 0;

private:
  std::vector<int64_t> dimensions;
  int64_t rowCount, columnCount;
};

/// Rows of a stored tensor, one after another at `data`, which outlives the node and needs no
/// alignment, then (FormatInfo::side) the f32 numbers beside them; where `rows` is not null it
/// makes both, and `data` is not read.
WeightNode::Ptr makeLeaf(std::vector<int64_t> shape, FormatId format, const uint8_t *data,
                         std::shared_ptr<const StoredRows> rows = nullptr);
/// The sub-matrix with `rows` rows from `row` and `columns` columns from `column`; `shape`
/// has as many rows and columns.
WeightNode::Ptr makeSlice(WeightNode::Ptr input, std::vector<int64_t> shape, int64_t row,
                          int64_t column);
/// Columns become rows; `input` is no vector.
WeightNode::Ptr makeTranspose(WeightNode::Ptr input);
/// GGUF's adjacent-pair order of `heads` heads' rows (of a vector: elements) -> halves.
WeightNode::Ptr makeUnpermuteRope(WeightNode::Ptr input, int64_t heads);
/// Every element + summand, in f32.
WeightNode::Ptr makeAddConstant(WeightNode::Ptr input, float summand);
/// Every element * factor, in f32.
WeightNode::Ptr makeMultiplyConstant(WeightNode::Ptr input, float factor);
/// Each row (or each column) times its entry of `factors`.
WeightNode::Ptr makeScale(WeightNode::Ptr input, std::vector<float> factors, bool isByRow);
/// Each `block` rows among each other (or columns of a row), which they divide: ir/Rotation.h.
WeightNode::Ptr makeRotate(WeightNode::Ptr input, int64_t block, bool isByRow);
/// The same elements in the same order under another shape.
WeightNode::Ptr makeReshape(WeightNode::Ptr input, std::vector<int64_t> shape);
/// Rows of several nodes (of vectors: elements), one after another; at least one part.
WeightNode::Ptr makeConcat(std::vector<WeightNode::Ptr> parts);

} // namespace qplan
#endif // QPLAN_IR_WEIGHTS_WEIGHTNODE_H
