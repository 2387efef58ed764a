//===- Rotations.cpp - which values of a model are rotated ----------------===//

#include "passes/search/Rotations.h"

#include "ir/Failure.h"

#include <llvm/ADT/SmallVector.h>

using namespace qplan;

std::string Rotations::text() const {
  std::string text;
  for (auto [chosen, name] : {std::pair(residual, "residual"), {values, "values"}, {down, "down"}})
    if (chosen)
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
    bool *flag = part == "residual" ? &result.residual
                 : part == "values" ? &result.values
                 : part == "down"   ? &result.down
                                    : nullptr;
    if (!flag)
      return usageError("rotations '{}': `{}` is none of residual, values, down (joined with +); "
                        "`all` is every one of them",
                        text.str(), part.str());
    *flag = true;
  }
  return result;
}
