//===- Failure.h - errors that know their exit status -----------*- C++ -*-===//
//
// Every error that reaches a user is a Failure: a message that names the file,
// tensor, site or option, what was found, what was expected and what to do, and
// the exit status that design.md's table assigns. Library code returns
// llvm::Error / llvm::Expected and builds them with the functions below.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_FAILURE_H
#define QPLAN_IR_FAILURE_H

#include <fmt/format.h>
#include <llvm/Support/Error.h>
#include <string>
#include <system_error>

namespace qplan {

/// Exit status of the tools; the numbers are a promise of the command line.
enum class ExitStatus : int {
  Done = 0,
  InvalidInput = 1,   ///< the checkpoint, text or recipe is at fault
  InvalidUsage = 2,   ///< an option is at fault
  Defect = 3,         ///< qplan is at fault
  MachineFailure = 4, ///< disk, memory, device, missing CPU feature
  Interrupted = 130
};

/// An error with the exit status it asks for.
class Failure : public llvm::ErrorInfo<Failure> {
public:
  static char ID;
  Failure(ExitStatus status, std::string message) : status(status), text(std::move(message)) {}
  ExitStatus exitStatus() const { return status; }
  const std::string &messageText() const { return text; }
  void log(llvm::raw_ostream &os) const override;
  std::error_code convertToErrorCode() const override;

private:
  ExitStatus status;
  std::string text;
};

template <typename... Args>
llvm::Error inputError(fmt::format_string<Args...> format, Args &&...args) {
  return llvm::make_error<Failure>(ExitStatus::InvalidInput,
                                   fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
llvm::Error usageError(fmt::format_string<Args...> format, Args &&...args) {
  return llvm::make_error<Failure>(ExitStatus::InvalidUsage,
                                   fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
llvm::Error defectError(fmt::format_string<Args...> format, Args &&...args) {
  return llvm::make_error<Failure>(ExitStatus::Defect,
                                   fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
llvm::Error machineError(fmt::format_string<Args...> format, Args &&...args) {
  return llvm::make_error<Failure>(ExitStatus::MachineFailure,
                                   fmt::format(format, std::forward<Args>(args)...));
}

/// Prints every message of `error` to stderr, one line each with the prefix
/// "qplan: error: ", and returns the exit status of the first.
ExitStatus reportError(llvm::Error error);

} // namespace qplan
#endif // QPLAN_IR_FAILURE_H
