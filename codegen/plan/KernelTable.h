//===- KernelTable.h - what the compiler knows of each kernel ---*- C++ -*-===//
//
// The rows of runtime/kernels/Kernels.inc as data: which kernels exist, how many
// buffers and weights each takes and the names of its parameters. Launches are
// verified against it and code generation lays out parameter arrays by it.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_PLAN_KERNELTABLE_H
#define QPLAN_CODEGEN_PLAN_KERNELTABLE_H

#include <cstdint>
#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/SmallVector.h>
#include <llvm/ADT/StringRef.h>
#include <string>

namespace qplan::plan {

/// One parameter of a kernel, in the order of its `params` array.
struct KernelParameter {
  llvm::StringRef name;
  /// Read by the kernel as the bits of a double: the attribute must be f64.
  bool isFloat = false;
  /// Differs between launches that should share one function (the number of a
  /// layer): passed at run time instead of being specialised.
  bool atRunTime = false;
};

/// One row of Kernels.inc.
struct KernelSignature {
  llvm::StringRef name;
  unsigned buffers = 0;
  unsigned weights = 0;
  llvm::SmallVector<KernelParameter, 16> parameters;
};

/// All kernels in the order of Kernels.inc. The table lives for ever.
llvm::ArrayRef<KernelSignature> kernelTable();

/// The row of `name`, or null.
const KernelSignature *findKernel(llvm::StringRef name);

/// "rms_norm(2 buffers, 1 weight; K, eps, ...)" for messages.
std::string describe(const KernelSignature &kernel);

} // namespace qplan::plan
#endif // QPLAN_CODEGEN_PLAN_KERNELTABLE_H
