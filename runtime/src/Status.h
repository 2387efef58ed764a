//===- Status.h - how calls of the runtime fail ---------------------------===//
//
// A status of abi.h with one line of text. The library is built without
// exceptions; functions that can fail return a Status and write their result
// through a reference. The C functions copy the text to the caller's buffer.
//===----------------------------------------------------------------------===//
#ifndef QPLAN_RUNTIME_SRC_STATUS_H
#define QPLAN_RUNTIME_SRC_STATUS_H

#include "qplan/abi.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace qplan {

/// Done (code 0), or a code of abi.h and a message that says what was found, what
/// was expected and what to do.
struct [[nodiscard]] Status {
  int code = QPLAN_OK;
  std::string message;

  bool failed() const { return code != QPLAN_OK; }

  /// Writes the message to `buffer` [size], zero-terminated, control characters
  /// replaced, cut before an incomplete UTF-8 sequence; returns the code.
  int report(char *buffer, size_t size) const;
};

/// A failure with a message in printf's form.
[[gnu::format(printf, 2, 3)]] Status fail(int code, const char *format, ...);

/// `text` in single quotes for a message: at most 80 bytes of it, the rest as "...".
std::string quote(std::string_view text);

/// The text of an errno value, whatever thread asks.
std::string systemError(int number);

} // namespace qplan

#endif // QPLAN_RUNTIME_SRC_STATUS_H
