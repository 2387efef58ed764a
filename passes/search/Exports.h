//===- Exports.h - what other engines can hold ------------------*- C++ -*-===//
//
// A search for an export may choose only what the engine that will read it can hold. One
// row of a table is one kind: treatments, sites that it fuses and so must be treated alike.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_EXPORTS_H
#define QPLAN_PASSES_SEARCH_EXPORTS_H

#include "passes/search/Treatment.h"

namespace qplan {

/// One kind of `--for-export`.
struct ExportKind {
  const char *name;
  const char *holds;  ///< plain treatments (no methods), separated by commas
  const char *search; ///< candidates of a search that names none itself
  std::vector<const char *> ties; ///< groups of --group that the engine fuses
  bool ownActivations;            ///< the engine decides how activations are computed

  /// Whether a site can be written as `treatment` says. Methods choose codes and scales, which
  /// every kind can hold; those that leave factors for inputs behind (awq, smoothquant) are
  /// held where the factors can be folded away, which the compiler does or refuses.
  bool canHold(const Treatment &treatment) const;
};

/// The row of `name`. The error (wrong usage) lists the names.
llvm::Expected<const ExportKind *> exportKind(llvm::StringRef name);

/// All rows, for tests and help.
llvm::ArrayRef<ExportKind> exportKinds();

} // namespace qplan
#endif // QPLAN_PASSES_SEARCH_EXPORTS_H
