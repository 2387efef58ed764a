//===- Methods.h - the methods over second moments --------------*- C++ -*-===//
//
// Private to passes/moments: one function a method; MomentMethods.cpp lists them.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_MOMENTS_METHODS_H
#define QPLAN_PASSES_MOMENTS_METHODS_H

#include "passes/moments/MomentMethod.h"

namespace qplan {

std::unique_ptr<MomentMethod> makeGptqMethod();
std::unique_ptr<MomentMethod> makeSparseGptMethod();
/// AWQ: with factors, or ranges alone.
std::unique_ptr<MomentMethod> makeAwqMethod(bool scales);
std::unique_ptr<MomentMethod> makeSmoothMethod();
std::unique_ptr<MomentMethod> makePreshiftMethod();

/// Chooses ranges of groups by the error of the outputs: what `awq_clip` and `awq{clip=1}` store.
std::unique_ptr<MomentRounder> makeClipRounder(const InputMoments &moments, unsigned threads);

} // namespace qplan

#endif // QPLAN_PASSES_MOMENTS_METHODS_H
