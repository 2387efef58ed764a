//===- Gptq.h - rounding that feeds errors forward --------------*- C++ -*-===//
//
// GPTQ (Frantar et al., arXiv:2210.17323): with H = mean x x^T of the rows x that
// enter a linear, codes of a weight row are chosen column by column, and what each
// column lost is made up for by the columns still to come, so that (w - q) H (w - q)^T
// becomes small. Sweeps of coordinate descent make it smaller: each code in turn becomes the best
// one for what all others are (QuantEase, Behdin et al., arXiv:2309.01885). Scales are those of the
// unchanged weights ("static groups"), so columns may be taken in any order and nothing but the
// format's own rows is stored. Results depend neither on the number of threads nor on the width of
// vectors.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_GPTQ_GPTQ_H
#define QPLAN_PASSES_GPTQ_GPTQ_H

#include "ir/Formats.h"

#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/STLFunctionalExtras.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <string>
#include <vector>

namespace qplan {

/// The parameters of the method, by their names in treatments.
struct GptqOptions {
  double damp = 0.1;    ///< share of each element of H's diagonal that is added to it; > 0: of 0.01
                        ///< to 0.3 the best on text that was not seen, with 16 thousand rows
  bool actOrder = true; ///< columns of large mean square first, not from left to right
  bool mse = true;      ///< scales by the weighted search of @mse, not from the largest magnitude
  int sweeps = 0;       ///< times that every code is chosen anew, given all others; not of tcq rows
                        ///< and sparse ones
  int beam = 128;       ///< candidates that the search of a tcq row keeps, 1 to 512
};

/// What an input's H says about rounding: shared by all sites that read the input.
class GptqFactor {
public:
  /// `gram`: sum of x x^T [columns, columns], f64, both triangles, of `count` rows x. Columns
  /// that were always 0 are rounded to nearest. `subject` is what errors call the input.
  /// Errors (input): NaN or infinity; too little damping for f64.
  static llvm::Expected<GptqFactor> create(llvm::ArrayRef<double> gram, int64_t columns,
                                           uint64_t count, const GptqOptions &options,
                                           unsigned threads, llvm::StringRef subject);

  int64_t columns() const { return int64_t(order.size()); }
  /// Column that is rounded as number `step`.
  int64_t columnAt(int64_t step) const { return order[size_t(step)]; }
  /// Mean square of each column [columns].
  const std::vector<float> &meanSquare() const { return diagonal; }
  /// For step j, the shares [j] of the errors of steps i < j to take off its weight.
  const float *shares(int64_t j) const { return feedback.data() + j * columns(); }
  /// For step j, the row of H, damped, in the order of steps [columns]; none without sweeps.
  const float *momentsOf(int64_t j) const { return moments.data() + j * columns(); }
  /// For each step, the weight [columns] of its squared error in (w - q) H (w - q)^T, once
  /// errors are fed forward.
  const std::vector<float> &errorWeights() const { return pivots; }

private:
  std::vector<int32_t> order;
  std::vector<float> diagonal, feedback, pivots, moments;
};

/// Reads rows [first, first + count) into out[count, columns]. Called from several threads.
using GptqRows = llvm::function_ref<llvm::Error(int64_t first, int64_t count, float *out)>;

/// Whether `format` has codes that roundGptq can choose: those whose scales stay as they are
/// stored when codes change (Codec::storesCodes), the bits of tcq rows, and the places of sparse
/// rows. For the last two the factor's steps must be in the order of columns.
bool canRoundGptq(FormatId format);

/// The `rows` rows of a weight in storage of `format` (canRoundGptq), one after the other, then the
/// numbers beside them (SideData). Minifloats and tables: to the nearest, as roundToElement.
/// Of sparse formats the two columns of four that cost most to lose are kept when the first of the
/// four is reached: those of the largest w^2 * errorWeights (SparseGPT, Frantar and Alistarh,
/// arXiv:2301.00774); what is lost is fed forward like rounding.
/// `subject` is what errors call the weight. Errors: those of `read` and of the encoder.
llvm::Expected<std::vector<uint8_t>> roundGptq(const GptqFactor &factor, FormatId format,
                                               int64_t rows, GptqRows read,
                                               const GptqOptions &options, unsigned threads,
                                               llvm::StringRef subject);

} // namespace qplan

#endif // QPLAN_PASSES_GPTQ_GPTQ_H
