//===- Pattern.cpp - the "pattern" objects of tokenizer.json --------------===//
//
// A pattern is a text or a regular expression; which, its only key says.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/Pattern.h"

namespace qplan::text {

std::optional<Regex> parsePattern(const Field &field) {
  field.onlyKeys({"String", "Regex"});
  bool isRegex = field.isObject() && field.at("Regex").present();
  Field source = field.at(isRegex ? "Regex" : "String");
  std::string text = source.string();
  Result<Regex> regex = isRegex ? Regex::compile(text) : Regex::literal(text);
  if (!regex) {
    source.fail(regex.failure().message);
    return std::nullopt;
  }
  return std::move(*regex);
}

} // namespace qplan::text
