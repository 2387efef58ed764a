//===- OutputError.h - what rounding weights does to outputs -----*- C++ -*-===//
//
// The mean square error of a linear's outputs when its weights change by dW is
// tr(dW H dW^T) with H = mean x x^T: exact, without running anything. Tiles of 64
// weight rows lie transposed, so that a column of them is a few vectors. Results
// depend neither on the number of threads nor on the width of vectors.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_MOMENTS_OUTPUTERROR_H
#define QPLAN_PASSES_MOMENTS_OUTPUTERROR_H

#include "passes/moments/MomentMethod.h"

namespace qplan {

/// Weight rows of a tile.
inline constexpr int64_t errorTileRows = 64;

/// H in the form in which errors are summed.
class OutputError {
public:
  explicit OutputError(const InputMoments &moments);

  int64_t columns() const { return size; }
  /// Sum over the rows of a tile of dw H dw^T; `change` is dW transposed, [columns, 64].
  double of(const float *change) const;
  /// The same for each row r with the columns [first, first + count) alone: added to sums[r].
  void addBlock(const float *change, int64_t first, int64_t count, float *sums) const;
  /// Mean square of column `j`.
  float meanSquare(int64_t j) const { return moments[size_t(j * size + j)]; }

private:
  int64_t size;
  std::vector<float> moments; ///< H [columns, columns]
};

/// rows[count, columns] transposed to out[columns, 64], zeros after `count`.
void transposeTile(const float *rows, int64_t count, int64_t columns, float *out);

/// Calls tile(index, first row, rows) for tiles of `rows` rows from several threads; the error
/// of the first tile at fault.
llvm::Error forEachTile(int64_t rows, unsigned threads,
                        const std::function<llvm::Error(int64_t, int64_t, int64_t)> &tile);

} // namespace qplan

#endif // QPLAN_PASSES_MOMENTS_OUTPUTERROR_H
