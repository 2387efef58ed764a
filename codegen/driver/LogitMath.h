//===- LogitMath.h - scores of rows of logits -------------------*- C++ -*-===//
//
// What eval and logits compute from rows of logits. Exponentials are f32 polynomials
// that the compiler vectorises, sums are f64; a row costs a few passes over memory. The order of
// summation is fixed, so that no result depends on threads.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_LOGITMATH_H
#define QPLAN_CODEGEN_DRIVER_LOGITMATH_H

#include <cstdint>

namespace qplan {

/// log(sum(exp(row[i]))) over [count] logits; NaN when one of them is NaN. count >= 1.
double logSumExp(const float *row, int64_t count);

/// Index of the largest logit, the lowest of equals. count >= 1.
int64_t largestLogit(const float *row, int64_t count);

/// KL(softmax(reference) || softmax(row)) in nats, >= 0 but for rounding (about 1e-7).
double klDivergence(const float *reference, const float *row, int64_t count);

} // namespace qplan
#endif // QPLAN_CODEGEN_DRIVER_LOGITMATH_H
