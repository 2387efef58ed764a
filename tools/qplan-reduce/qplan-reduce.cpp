//===- qplan-reduce.cpp - shrink IR that shows a defect -------------------===//

#include "tools/qplan-opt/Registration.h"

#include <mlir/IR/MLIRContext.h>
#include <mlir/Tools/mlir-reduce/MlirReduceMain.h>

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  qplan::registerDialects(registry);
  qplan::registerPasses();
  mlir::MLIRContext context(registry);
  return mlir::failed(mlir::mlirReduceMain(argc, argv, context));
}
