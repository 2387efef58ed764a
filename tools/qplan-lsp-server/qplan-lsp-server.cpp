//===- qplan-lsp-server.cpp - editor support for IR dumps -----------------===//

#include "tools/qplan-opt/Registration.h"

#include <mlir/Tools/mlir-lsp-server/MlirLspServerMain.h>

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  qplan::registerDialects(registry);
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}
