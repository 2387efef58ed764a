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

} // namespace qplan

#endif // QPLAN_PASSES_MOMENTS_METHODS_H
