//===- StoredRows.h - rows that lie in a file in another order --*- C++ -*-===//
//
// What other tools store is the same numbers as one of our formats, in another
// order of bytes: along columns, in words, with scales in tensors of their own.
// A StoredRows puts one row together when it is asked for, so that no tensor is
// ever held whole and its codes and scales stay what they were, bit for bit.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_IMPORT_STOREDROWS_H
#define QPLAN_IR_IMPORT_STOREDROWS_H

#include <cstdint>
#include <vector>

namespace qplan {

/// The rows of one matrix in the format that its TensorInfo names. Immutable; may be read from
/// several threads; borrows the checkpoint's mappings.
class StoredRows {
public:
  virtual ~StoredRows() = default;
  /// Writes the stored bytes of row `row`, 0 <= row < rows of the tensor, to `out`:
  /// codecFor(format).bytesPerRow(columns) of them. Cannot fail: shapes were checked.
  virtual void read(int64_t row, uint8_t *out) const = 0;
  /// The numbers beside the rows, sideCount of the format.
  virtual std::vector<float> side() const { return {}; }
};

} // namespace qplan
#endif // QPLAN_IR_IMPORT_STOREDROWS_H
