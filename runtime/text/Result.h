//===- Result.h - values or messages for a user -----------------*- C++ -*-===//
//
// The text library throws nothing of its own: what can fail returns a Result or
// a Status. A Failure is a message for a user (which file and field, what was
// found, what was expected) and the status code that the C interface returns.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_RESULT_H
#define QPLAN_TEXT_RESULT_H

#include "qplan/abi.h"
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace qplan::text {

/// Why something could not be done.
struct Failure {
  int32_t code = QPLAN_INVALID_INPUT; ///< a QPLAN_* status of abi.h
  std::string message;                ///< one line, no trailing full stop needed
};

/// A failure whose cause lies in a file or a text.
inline Failure inputFailure(std::string message) {
  return {QPLAN_INVALID_INPUT, std::move(message)};
}
/// A failure whose cause lies in how a function was called.
inline Failure usageFailure(std::string message) {
  return {QPLAN_INVALID_USAGE, std::move(message)};
}

/// Nothing, or a failure. Converts to true when there is a failure, so that
/// callers write `if (Status status = f()) return *status;`.
using Status = std::optional<Failure>;

/// A value of type T, or a failure. Converts to true when it holds a value.
template <typename T>
class [[nodiscard]] Result {
public:
  Result(T value) : storage(std::in_place_index<0>, std::move(value)) {}
  Result(Failure failure) : storage(std::in_place_index<1>, std::move(failure)) {}
  explicit operator bool() const { return storage.index() == 0; }
  T &operator*() { return *std::get_if<0>(&storage); }
  const T &operator*() const { return *std::get_if<0>(&storage); }
  T *operator->() { return std::get_if<0>(&storage); }
  const T *operator->() const { return std::get_if<0>(&storage); }
  /// The failure; only when the Result holds one.
  const Failure &failure() const { return *std::get_if<1>(&storage); }

private:
  std::variant<T, Failure> storage;
};

} // namespace qplan::text
#endif // QPLAN_TEXT_RESULT_H
