//===- PlanWriter.h - makes the ops of a plan --------------------*- C++ -*-===//
//
// Buffers, weights and launches by name, with the conventions of the kernels:
// buffers are whole cache lines a token, float parameters are f64, weights that
// agree in everything are one symbol.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_LOWER_PLANWRITER_H
#define QPLAN_CODEGEN_LOWER_PLANWRITER_H

#include "codegen/plan/PlanOps.h"
#include "ir/Formats.h"

#include <llvm/ADT/StringMap.h>
#include <mlir/IR/Builders.h>
#include <mlir/IR/BuiltinOps.h>

namespace qplan {

/// A parameter of a launch: a whole number, or a float.
struct Param {
  llvm::StringRef name;
  mlir::Attribute value;
};

/// A stored weight as launches name it, with the parameters that kernels take.
struct StoredMatrix {
  std::string symbol;
  int64_t rows = 0, columns = 0; ///< of one expert
  int64_t element = 0, group = 0, scale = 0, hasMin = 0, offset = 0;
};

/// What is stored: rows of `source` in `format`.
struct MatrixSpec {
  std::string source;          ///< weight reference
  FormatId format = FormatId::F32;
  std::string method;          ///< how scales are chosen; empty: from the largest magnitude
  std::string emulate;         ///< rounded to this format first and stored in `format`
  int64_t rows = 0, columns = 0;
  int64_t experts = 1;
  llvm::SmallVector<std::string> sites;
  llvm::SmallVector<int64_t> siteRows; ///< rows of each site
};

class PlanWriter {
public:
  PlanWriter(mlir::ModuleOp module, llvm::StringRef name,
             llvm::ArrayRef<mlir::NamedAttribute> attributes);

  mlir::OpBuilder &ops() { return builder; }
  plan::ProgramOp program() { return programOp; }

  /// A buffer of `bytes` a token (rounded up to cache lines) and `fixed` bytes.
  std::string buffer(int64_t bytesPerToken, int64_t fixed = 0);

  /// A matrix in the panel16 packing.
  StoredMatrix matrix(const MatrixSpec &spec, mlir::Location location);
  /// `rows` x `columns` f32 values, row-major, read from a weight reference.
  std::string vector(llvm::StringRef source, int64_t columns, mlir::Location location,
                     int64_t rows = 1);
  /// f32 values known here.
  std::string constant(llvm::ArrayRef<double> values, mlir::Location location);

  Param whole(llvm::StringRef name, int64_t value);
  Param real(llvm::StringRef name, double value);

  /// `reads` and `writes` are indices into `buffers`.
  void launch(llvm::StringRef kernel, llvm::ArrayRef<std::string> buffers,
              llvm::ArrayRef<std::string> weights, llvm::ArrayRef<Param> params,
              llvm::ArrayRef<int64_t> reads, llvm::ArrayRef<int64_t> writes,
              mlir::Location location, mlir::ArrayAttr sites = {});

private:
  std::string addWeight(llvm::StringRef source, llvm::StringRef format, llvm::StringRef packing,
                        int64_t rows, int64_t columns, int64_t bytes,
                        llvm::ArrayRef<mlir::NamedAttribute> details, mlir::Location location,
                        llvm::ArrayRef<std::string> sites = {});

  mlir::OpBuilder builder;      ///< at the end of the program: launches
  mlir::OpBuilder declarations; ///< before the first launch: weights and buffers
  plan::ProgramOp programOp;
  llvm::StringMap<std::string> known; ///< weights by everything that decides their bytes
  unsigned buffers = 0, weights = 0;
};

} // namespace qplan

#endif // QPLAN_CODEGEN_LOWER_PLANWRITER_H
