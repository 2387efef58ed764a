//===- WeightRounding.cpp - how a weight's scales are chosen --------------===//
//
// See WeightRounding.h.
//
//===----------------------------------------------------------------------===//

#include "ir/weights/WeightRounding.h"

#include "ir/Failure.h"

#include <cmath>

using namespace qplan;

std::string qplan::imatrixMethod(llvm::StringRef blob) { return "imatrix(" + blob.str() + ")"; }

llvm::Expected<WeightRounding> qplan::parseRounding(llvm::StringRef method, int64_t columns,
                                                    BlobStore &blobs) {
  WeightRounding rounding;
  if (method.empty() || method == "max")
    return rounding;
  rounding.rule = ScaleRule::Mse;
  if (method == "mse")
    return rounding;
  llvm::StringRef blob = method;
  if (!blob.consume_front("imatrix(") || !blob.consume_back(")"))
    return inputError("the method `{}` of a weight is none of max, mse, imatrix(BLOB)",
                      method.take_front(80).str());
  auto importance = blobs.floats(blob);
  if (!importance)
    return importance.takeError();
  if (int64_t(importance->size()) != columns)
    return inputError("blob {}: the importance of {} columns, for a weight of {}", blob.str(),
                      importance->size(), columns);
  for (size_t j = 0; j < importance->size(); ++j)
    if (float value = (*importance)[j]; !std::isfinite(value) || value < 0)
      return inputError("blob {}: the importance of column {} is {}, expected a finite number >= 0",
                        blob.str(), j, value);
  rounding.importance = std::move(*importance);
  return rounding;
}
