//===- Rotations.cpp - which values of a model are rotated ----------------===//

#include "passes/search/Rotations.h"

#include "ir/Failure.h"

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/SmallVector.h>

using namespace qplan;

/// The names, in the order in which text() joins them.
static constexpr std::pair<const char *, bool Rotations::*> names[] = {
    {"residual", &Rotations::residual}, {"values", &Rotations::values}, {"down", &Rotations::down}};

std::string Rotations::text() const {
  std::string text;
  for (auto [name, flag] : names)
    if (this->*flag)
      text += (text.empty() ? "" : "+") + std::string(name);
  return text;
}

llvm::Expected<Rotations> qplan::parseRotations(llvm::StringRef text) {
  Rotations result;
  if (text.empty())
    return result;
  if (text == "all")
    return Rotations{true, true, true};
  llvm::SmallVector<llvm::StringRef> parts;
  text.split(parts, '+');
  for (llvm::StringRef part : parts) {
    auto found = llvm::find_if(names, [&](const auto &each) { return part == each.first; });
    if (found == std::end(names))
      return usageError("rotations '{}': `{}` is none of residual, values, down (joined with +); "
                        "`all` is every one of them",
                        text.str(), part.str());
    result.*found->second = true;
  }
  return result;
}
