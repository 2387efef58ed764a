//===- MomentMethods.cpp - the table of methods over second moments -------===//
//
// Add a method: its file, its function in Methods.h, its row here.
//
//===----------------------------------------------------------------------===//

#include "ir/Failure.h"
#include "passes/moments/Methods.h"

using namespace qplan;

llvm::Expected<std::vector<float>> MomentMethod::factors(const InputMoments &,
                                                         llvm::ArrayRef<MomentWeight>,
                                                         const FactorRule &, unsigned) const {
  return std::vector<float>();
}

llvm::Expected<std::unique_ptr<MomentRounder>>
MomentMethod::rounder(const InputMoments &moments, const Treatment &treatment, unsigned) const {
  return defectError("{}: {} chooses no codes", moments.subject, printTreatment(treatment));
}

const MomentMethod *qplan::momentMethod(const Treatment &treatment) {
  struct Row {
    Method method;
    std::unique_ptr<MomentMethod> made;
  };
  static const std::vector<Row> rows = [] {
    std::vector<Row> made;
    made.push_back({Method::Gptq, makeGptqMethod()});
    made.push_back({Method::SparseGpt, makeSparseGptMethod()});
    made.push_back({Method::Awq, makeAwqMethod(/*scales=*/true)});
    made.push_back({Method::AwqClip, makeAwqMethod(/*scales=*/false)});
    made.push_back({Method::SmoothQuant, makeSmoothMethod()});
    made.push_back({Method::Preshift, makePreshiftMethod()});
    return made;
  }();
  for (const Row &row : rows)
    if (row.method == treatment.method && row.made->handles(treatment))
      return row.made.get();
  return nullptr;
}
