//===- HeaderWriter.h - writes model.h --------------------------*- C++ -*-===//
//
// model.h is what a C or C++ program includes to link model.o: the query function
// under the model's name and the sizes as macros, over qplan/abi.h and nothing else.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_PACKAGE_HEADERWRITER_H
#define QPLAN_CODEGEN_PACKAGE_HEADERWRITER_H

#include <cstdint>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <string>

namespace qplan {

/// What model.h states; the same values as the emitted qplan_model_v1.
struct ModelHeader {
  std::string name;        ///< symbol prefix
  std::string producer;    ///< "qplan 0.1.0"
  std::string target;      ///< "x86_64-linux:znver5"
  std::string cpuFeatures; ///< "avx2,fma"
  std::string kvFormat;    ///< "f16"
  int64_t vocabulary = 0;
  int64_t context = 0;
  int64_t maxTokens = 0;
  int64_t kvPageTokens = 0;
  uint64_t kvPageBytes = 0;
  uint64_t weightBytes = 0;
  uint64_t arenaBytesFixed = 0;
  uint64_t arenaBytesPerToken = 0;
};

/// Wrong usage unless `name` is a C identifier of at most 64 characters that does
/// not begin with an underscore and is not "qplan" (whose symbols are ours).
llvm::Error checkModelName(llvm::StringRef name);

/// The text of model.h, valid C11 and C++17 without warnings.
llvm::Expected<std::string> writeModelHeader(const ModelHeader &model);

} // namespace qplan
#endif // QPLAN_CODEGEN_PACKAGE_HEADERWRITER_H
