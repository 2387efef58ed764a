//===- WeightRef.h - a weight by name and what is done to it ----*- C++ -*-===//
//
// The IR never holds weights: it holds a reference, the name of a stored tensor
// and the transforms that lead from it to the operand, as text in an attribute:
//
//   model.layers.0.self_attn.q_proj.weight|unpermute_rope(9)|slice_rows(0,64)
//   concat_rows(a.weight;b.weight|transpose)|multiply_constant(0.125)
//   blob:9f2c...|scale_columns(17ab...)
//
// Names are escaped as %XX where they would read as syntax. Printing a parsed
// reference gives one canonical text, so equal references compare as text.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_WEIGHTS_WEIGHTREF_H
#define QPLAN_IR_WEIGHTS_WEIGHTREF_H

#include <cstdint>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <string>
#include <vector>

namespace qplan {

/// One step from the stored tensor to the operand. Shapes are row-major; "rows" are the
/// first dimension of a matrix, "columns" the last. On a vector [n], the row transforms
/// act on its elements (so a bias takes the same transforms as its weight).
struct WeightTransform {
  enum class Kind {
    SliceRows,        ///< slice_rows(begin,end): rows begin <= r < end
    SliceColumns,     ///< slice_columns(begin,end)
    Transpose,        ///< transpose: matrices only
    UnpermuteRope,    ///< unpermute_rope(heads): GGUF's adjacent-pair row order -> halves (llama
                      ///< family)
    AddConstant,      ///< add_constant(x): every element + x, in f32
    MultiplyConstant, ///< multiply_constant(x): every element * x, in f32
    ScaleColumns,     ///< scale_columns(blob): column c * blob[c], in f32
    ScaleRows,        ///< scale_rows(blob): row r * blob[r], in f32
    RotateColumns,    ///< rotate_columns(block): each row as qp.rotate does, in f32
    RotateRows,       ///< rotate_rows(block): each column as qp.rotate does rows, in f32
    SelectExpert,     ///< select_expert(index): [E, rows, cols] -> [rows, cols]
    Reshape           ///< reshape(d0,d1,...): same elements in the same order
  };
  Kind kind = Kind::Transpose;
  /// Slice: {begin, end}; UnpermuteRope: {heads}; rotations: {block};
  /// SelectExpert: {index}; Reshape: dimensions.
  std::vector<int64_t> integers;
  /// AddConstant, MultiplyConstant.
  double constant = 0;
  /// ScaleColumns, ScaleRows: name of a blob in the BlobStore.
  std::string blob;

  static WeightTransform sliceRows(int64_t begin, int64_t end);
  static WeightTransform sliceColumns(int64_t begin, int64_t end);
  static WeightTransform transpose();
  static WeightTransform unpermuteRope(int64_t heads);
  static WeightTransform addConstant(double value);
  static WeightTransform multiplyConstant(double value);
  static WeightTransform scaleColumns(std::string blob);
  static WeightTransform scaleRows(std::string blob);
  static WeightTransform rotateColumns(int64_t block);
  static WeightTransform rotateRows(int64_t block);
  static WeightTransform selectExpert(int64_t index);
  static WeightTransform reshape(std::vector<int64_t> dimensions);
  bool operator==(const WeightTransform &other) const = default;
};

/// A tensor of the checkpoint (or a blob, or the rows of several references one below
/// the other) with transforms applied first to last. Plain value.
struct WeightRef {
  /// Name in the checkpoint, or "blob:NAME"; empty when `parts` is used.
  std::string tensor;
  /// Concatenated along rows when not empty; all have the same columns.
  std::vector<WeightRef> parts;
  std::vector<WeightTransform> transforms;

  WeightRef() = default;
  explicit WeightRef(std::string tensor) : tensor(std::move(tensor)) {}
  /// Rows of `parts`, one below the other.
  static WeightRef concatRows(std::vector<WeightRef> parts);
  /// The contents of a blob.
  static WeightRef fromBlob(llvm::StringRef blobName);
  /// This reference with one more transform.
  WeightRef with(WeightTransform transform) const;

  /// The canonical text.
  std::string text() const;
  /// Reads `text`; errors (InvalidInput) quote the text, the place and what was expected.
  static llvm::Expected<WeightRef> parse(llvm::StringRef text);
  bool operator==(const WeightRef &other) const = default;
};

} // namespace qplan
#endif // QPLAN_IR_WEIGHTS_WEIGHTREF_H
