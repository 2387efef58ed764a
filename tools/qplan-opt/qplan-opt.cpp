//===- qplan-opt.cpp - run passes over IR dumps ---------------------------===//

#include "tools/qplan-opt/Registration.h"

#include <mlir/Tools/mlir-opt/MlirOptMain.h>

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  qplan::registerDialects(registry);
  qplan::registerPasses();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "qplan-opt: run passes over IR of qplan\n", registry));
}
