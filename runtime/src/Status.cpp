//===- Status.cpp - how calls of the runtime fail -------------------------===//
//
// Formats failures. Names from files end up in messages, so the last step makes
// one printable line of whatever came in.
//===----------------------------------------------------------------------===//
#include "runtime/src/Status.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <system_error>

using namespace qplan;

/// Largest length <= limit at which `text` can be cut without halving a character.
static size_t cutLength(std::string_view text, size_t limit) {
  if (text.size() <= limit)
    return text.size();
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0) == 0x80)
    --limit;
  return limit;
}

int Status::report(char *buffer, size_t size) const {
  if (!buffer || size == 0)
    return code;
  size_t length = cutLength(message, size - 1);
  for (size_t i = 0; i < length; ++i) {
    unsigned char c = static_cast<unsigned char>(message[i]);
    buffer[i] = c < 0x20 || c == 0x7F ? '?' : message[i];
  }
  buffer[length] = 0;
  return code;
}

Status qplan::fail(int code, const char *format, ...) {
  va_list list, again;
  va_start(list, format);
  va_copy(again, list);
  int length = std::vsnprintf(nullptr, 0, format, list);
  va_end(list);
  std::string text(length > 0 ? length : 0, 0);
  if (length > 0)
    std::vsnprintf(text.data(), text.size() + 1, format, again);
  va_end(again);
  return {code, std::move(text)};
}

std::string qplan::quote(std::string_view text) {
  constexpr size_t limit = 80;
  std::string result = "'";
  result += text.substr(0, cutLength(text, limit));
  result += text.size() > limit ? "...'" : "'";
  return result;
}

std::string qplan::systemError(int number) { return std::generic_category().message(number); }
