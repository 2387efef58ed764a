//===- MomentMethod.h - methods over what enters a site ---------*- C++ -*-===//
//
// A method that changes weights by knowing their inputs is one file here and one row
// of the table in MomentMethods.cpp. It is shown one input at a time: the second
// moments of its rows and the weights that read it. It may give factors that move
// size between the columns of the input and those of the weights, and the rows of
// each weight in storage of its format. Running the model, holding moments within a
// bound of memory, folding factors and keeping results is the driver's
// (codegen/driver/RoundSites.cpp). No MLIR in here.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_MOMENTS_MOMENTMETHOD_H
#define QPLAN_PASSES_MOMENTS_MOMENTMETHOD_H

#include "passes/search/Treatment.h"

#include <functional>
#include <memory>

namespace qplan {

/// What is known of the rows x that enter the weights of one input.
struct InputMoments {
  std::string subject;             ///< what errors call the input: "site NAME"
  int64_t columns = 0;
  uint64_t count = 0;              ///< rows
  llvm::ArrayRef<double> gram;     ///< sum of x x^T [columns, columns], both triangles; finite
  std::vector<float> absMax;       ///< largest |x| of each column
  std::vector<float> meanAbs;      ///< mean |x| of each column

  /// The mean square of column `j`.
  double meanSquare(int64_t j) const {
    return gram[size_t(j * columns + j)] / double(count ? count : 1);
  }
};

/// A weight that reads the input, [rows, columns] in f32.
struct MomentWeight {
  Treatment treatment;
  int64_t rows = 0;
  std::string subject; ///< what errors call it
  /// Reads rows [first, first + count) into out[count, columns], with the factors that
  /// were chosen. May be called from several threads.
  std::function<llvm::Error(int64_t first, int64_t count, float *out)> read;
};

/// Makes `factors` [columns] such as the model can take them: where the division is put into
/// a producer that serves several columns with one number, theirs become equal.
using FactorRule = std::function<void(std::vector<float> &factors)>;

/// Chooses stored rows for the weights of one input that have one treatment.
class MomentRounder {
public:
  virtual ~MomentRounder() = default;
  /// All rows of `weight`, one after the other, in storage of its treatment's format.
  virtual llvm::Expected<std::vector<uint8_t>> round(const MomentWeight &weight) const = 0;
};

class MomentMethod {
public:
  virtual ~MomentMethod() = default;

  /// Whether `treatment`, of this method, needs second moments.
  virtual bool handles(const Treatment &treatment) const { return true; }

  /// Nothing when weights of `treatment` can be chosen; else why not and what to do, to
  /// follow "site NAME: ".
  virtual llvm::Error check(const Treatment &treatment) const = 0;

  /// Factors s [columns] > 0: weights are multiplied by s column by column, and the input is
  /// divided. Empty: none. `weights` have one method and equal parameters.
  virtual llvm::Expected<std::vector<float>> factors(const InputMoments &moments,
                                                     llvm::ArrayRef<MomentWeight> weights,
                                                     const FactorRule &legal,
                                                     unsigned threads) const;

  /// Whether rows of `treatment` are chosen here; else its codec rounds them when they
  /// are packed.
  virtual bool rounds(const Treatment &treatment) const = 0;

  /// What chooses the rows for `treatment`, of which rounds() holds. Borrows `moments`, which are
  /// those of the input after its division.
  virtual llvm::Expected<std::unique_ptr<MomentRounder>>
  rounder(const InputMoments &moments, const Treatment &treatment, unsigned threads) const;
};

/// What runs the method of `treatment`; null where it needs no second moments.
const MomentMethod *momentMethod(const Treatment &treatment);

} // namespace qplan

#endif // QPLAN_PASSES_MOMENTS_MOMENTMETHOD_H
