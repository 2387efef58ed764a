//===- JinjaText.h - methods of texts in chat templates ---------*- C++ -*-===//
//
// Python's string methods, as far as chat templates call them.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_JINJATEXT_H
#define QPLAN_TEXT_JINJATEXT_H

#include "runtime/text/JinjaProgram.h"

namespace qplan::text::jinja {

bool isTextMethod(std::string_view name);
/// text.name(arguments); also "indent", which is a filter only.
Result<Value> callTextMethod(std::string_view name, const std::string &text,
                             const Arguments &arguments);
size_t characterCount(const std::string &text);
std::vector<std::string> splitCharacters(const std::string &text);
/// The number that a text begins with, or 0.
double parseReal(const std::string &text);

} // namespace qplan::text::jinja
#endif // QPLAN_TEXT_JINJATEXT_H
