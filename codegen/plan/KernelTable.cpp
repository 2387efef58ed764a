//===- KernelTable.cpp - what the compiler knows of each kernel -----------===//
//
// Parses the rows of Kernels.inc once. What a row does not say is decided here:
// which parameters hold the bits of a double, and which vary between launches
// that should share their code.
//
//===----------------------------------------------------------------------===//
#include "codegen/plan/KernelTable.h"
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <llvm/ADT/STLExtras.h>

namespace qplan::plan {
namespace {

struct Row {
  const char *name;
  unsigned buffers;
  unsigned weights;
  const char *parameters;
};

constexpr Row rows[] = {
#define QPLAN_KERNEL(name, buffers, weights, parameters) {#name, buffers, weights, parameters},
#include "runtime/kernels/Kernels.inc"
#undef QPLAN_KERNEL
};

bool isFloat(llvm::StringRef kernel, llvm::StringRef name) {
  if (llvm::is_contained({"eps", "weightOffset", "alpha", "multiplier", "staticScale", "softcap", "threshold",
                          "value"}, name))
    return true;
  // In the linears `scale` is the type of the weights' scales, an enumeration.
  return name == "scale" && llvm::is_contained({"rope_table", "attention", "attention_merge", "binary"}, kernel);
}

bool isAtRunTime(llvm::StringRef kernel, llvm::StringRef name) {
  return name == "layer" || (kernel == "observe" && name == "offset");
}

std::vector<KernelSignature> buildTable() {
  std::vector<KernelSignature> table;
  for (const Row &row : rows) {
    KernelSignature kernel{row.name, row.buffers, row.weights, {}};
    llvm::SmallVector<llvm::StringRef> names;
    llvm::StringRef(row.parameters).split(names, ',', -1, /*KeepEmpty=*/false);
    for (llvm::StringRef name : names) {
      name = name.trim();
      kernel.parameters.push_back(
          {name, isFloat(kernel.name, name), isAtRunTime(kernel.name, name)});
    }
    table.push_back(std::move(kernel));
  }
  return table;
}

} // namespace

llvm::ArrayRef<KernelSignature> kernelTable() {
  static const std::vector<KernelSignature> table = buildTable();
  return table;
}

const KernelSignature *findKernel(llvm::StringRef name) {
  auto found = llvm::find_if(kernelTable(), [&](const auto &kernel) { return kernel.name == name; });
  return found == kernelTable().end() ? nullptr : found;
}

std::string describe(const KernelSignature &kernel) {
  std::vector<std::string> names;
  for (const KernelParameter &parameter : kernel.parameters)
    names.push_back(parameter.name.str() + (parameter.isFloat ? " (f64)" : ""));
  return fmt::format("{}({} buffer{}, {} weight{}; {})", kernel.name.str(), kernel.buffers,
                     kernel.buffers == 1 ? "" : "s", kernel.weights,
                     kernel.weights == 1 ? "" : "s", fmt::join(names, ", "));
}

} // namespace qplan::plan
