//===- Rotations.h - which values of a model are rotated --------*- C++ -*-===//
//
// What --rotate takes, and the header line `rotate:` of recipes and statistics. The pass
// qp-rotate says what each rotation does.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_PASSES_SEARCH_ROTATIONS_H
#define QPLAN_PASSES_SEARCH_ROTATIONS_H

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <string>

namespace qplan {

struct Rotations {
  bool residual = false; ///< the residual stream
  bool values = false;   ///< the value heads of attention
  bool down = false;     ///< what enters the last linear of an MLP

  bool any() const { return residual || values || down; }
  /// `residual+values+down`, or fewer; empty without any.
  std::string text() const;
  bool operator==(const Rotations &) const = default;
};

/// Reads names joined with `+`, or `all`; nothing rotates nothing. Errors (usage) quote the name.
llvm::Expected<Rotations> parseRotations(llvm::StringRef text);

} // namespace qplan

#endif // QPLAN_PASSES_SEARCH_ROTATIONS_H
