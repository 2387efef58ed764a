//===- Failure.cpp - errors that know their exit status -------------------===//

#include "ir/Failure.h"

#include <llvm/Support/raw_ostream.h>

namespace qplan {

char Failure::ID = 0;

void Failure::log(llvm::raw_ostream &os) const { os << text; }

std::error_code Failure::convertToErrorCode() const { return llvm::inconvertibleErrorCode(); }

ExitStatus reportError(llvm::Error error) {
  ExitStatus first = ExitStatus::Done;
  auto say = [&](llvm::StringRef message, ExitStatus status) {
    llvm::errs() << "qplan: error: " << message << "\n";
    if (first == ExitStatus::Done)
      first = status;
  };
  llvm::handleAllErrors(
      std::move(error), [&](const Failure &f) { say(f.messageText(), f.exitStatus()); },
      // Anything that is not a Failure escaped without a status: a defect of ours.
      [&](const llvm::ErrorInfoBase &e) { say(e.message(), ExitStatus::Defect); });
  return first;
}

} // namespace qplan
