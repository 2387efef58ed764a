//===- FactorSearch.h - which factors for the columns of an input -*- C++ -*-===//
//
// Multiplying weight columns by s and dividing the input by s leaves a linear as it is,
// and changes what rounding does to it. Candidates of a few families of one parameter are
// tried, and the one is taken with the least mean square error of the outputs, over all
// weights that read the input:
//
//   AWQ (arXiv:2306.00978)           s = x^alpha / w^(1 - alpha)  or  x^alpha
//     x: mean |x| of a column; w: mean over rows of |w| as a share of its group's largest
//   SmoothQuant (arXiv:2211.10438)   s = a^alpha / w^(1 - alpha)  or  a^alpha
//     a: largest |x| of a column; w: largest |w| of a column
//   LLM-FP4 (arXiv:2310.16836)       s = 2^max(0, m + round(log2(a / largest a)))
//     the channels of the highest m binades become equally large
//
// The error of weights is tr(dW H dW^T); of weights of more than 1024 rows, that many, in
// tiles that lie evenly, stand for all. That of the activations' rounding, where they are
// rounded, is estimated from the columns' moments and added.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_MOMENTS_FACTORSEARCH_H
#define QPLAN_PASSES_MOMENTS_FACTORSEARCH_H

#include "ir/codecs/Codec.h"
#include "passes/moments/OutputError.h"

namespace qplan {

/// What a search looks at.
struct FactorProblem {
  const InputMoments &moments;
  llvm::ArrayRef<MomentWeight> weights; ///< at least one
  const FactorRule &legal;
  ScaleRule rule; ///< how weights will be rounded (Mse: weighted by H's diagonal)
  unsigned threads;
};

/// AWQ's factors [columns], for the activation format of the first weight's treatment; empty where
/// none are best. Errors: those of reading and encoding weights.
llvm::Expected<std::vector<float>> awqFactors(const FactorProblem &problem);

/// SmoothQuant's factors; as above.
llvm::Expected<std::vector<float>> smoothFactors(const FactorProblem &problem);

/// LLM-FP4's factors for the m <= `most` that is best; as above.
llvm::Expected<std::vector<float>> binadeFactors(const FactorProblem &problem, int most);

} // namespace qplan

#endif // QPLAN_PASSES_MOMENTS_FACTORSEARCH_H
