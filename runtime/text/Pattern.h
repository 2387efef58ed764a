//===- Pattern.h - the "pattern" objects of tokenizer.json ------*- C++ -*-===//
//
// {"String": "x"} or {"Regex": "x"}, as Split and Replace hold them.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_PATTERN_H
#define QPLAN_TEXT_PATTERN_H

#include "runtime/text/JsonReader.h"
#include "runtime/text/Regex.h"
#include <optional>

namespace qplan::text {

/// The pattern that `field` holds; nothing after a mistake, which the reader keeps.
std::optional<Regex> parsePattern(const Field &field);

} // namespace qplan::text
#endif // QPLAN_TEXT_PATTERN_H
