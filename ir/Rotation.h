//===- Rotation.h - Hadamard rotations of blocks ----------------*- C++ -*-===//
//
// What qp.rotate and the transforms rotate_columns and rotate_rows compute: values in
// blocks of 2^k, each block times Sylvester's Hadamard matrix over the root of its size.
// The matrix is symmetric and orthogonal: a rotation is its own inverse. log2(block)
// rounds of sums and differences, in f32.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_ROTATION_H
#define QPLAN_IR_ROTATION_H

#include <cmath>
#include <cstdint>

namespace qplan {

/// Whether blocks of that many values can be rotated.
inline bool isRotationBlock(int64_t block) {
  return block >= 2 && block <= (int64_t(1) << 20) && (block & (block - 1)) == 0;
}

/// Rotates the `rows` rows (a rotation block) of a[rows, columns] among each other, column by
/// column.
inline void rotateColumn(float *a, int64_t rows, int64_t columns) {
  for (int64_t half = 1; half < rows; half *= 2)
    for (int64_t first = 0; first < rows; first += 2 * half)
      for (int64_t r = first; r < first + half; ++r) {
        float *x = a + r * columns, *y = x + half * columns;
        for (int64_t c = 0; c < columns; ++c) {
          const float sum = x[c] + y[c], difference = x[c] - y[c];
          x[c] = sum;
          y[c] = difference;
        }
      }
  const float scale = 1.0f / std::sqrt(float(rows));
  for (int64_t i = 0; i < rows * columns; ++i)
    a[i] *= scale;
}

/// Rotates each `block` values of x[columns], which they divide.
inline void rotateRow(float *x, int64_t columns, int64_t block) {
  for (int64_t begin = 0; begin < columns; begin += block)
    rotateColumn(x + begin, block, 1);
}

} // namespace qplan

#endif // QPLAN_IR_ROTATION_H
