//===- Regex.h - the regular expressions of tokenizers ----------*- C++ -*-===//
//
// Tokenizer files hold patterns written for Oniguruma (Ruby syntax, Unicode
// classes). They are translated to ICU's syntax, where the same letters sometimes
// mean something else, and matched on UTF-16 copies; ranges come back as bytes of
// the UTF-8 text. What cannot be translated faithfully is refused.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_REGEX_H
#define QPLAN_TEXT_REGEX_H

#include "runtime/text/Result.h"
#include <memory>
#include <string>
#include <string_view>
#include <unicode/regex.h>
#include <vector>

namespace qplan::text {

/// A range of bytes, [begin, end), and whether a pattern matched it.
struct Span {
  size_t begin = 0;
  size_t end = 0;
  bool matched = false;
};

/// `pattern` in ICU's syntax, or why it has none with the same meaning.
Result<std::string> translateOniguruma(std::string_view pattern);

/// A compiled pattern. Copies share it; matching is const and thread-safe.
class Regex {
public:
  /// Compiles a pattern in Oniguruma's syntax.
  static Result<Regex> compile(std::string_view pattern);
  /// Compiles a pattern that matches exactly `text`, which must not be empty.
  static Result<Regex> literal(std::string_view text);

  /// One thread's use of a pattern; cheap to use again on many texts.
  class Matcher {
  public:
    explicit Matcher(const Regex &regex);
    /// Cuts non-empty valid UTF-8 into matches and what lies between them: no
    /// gaps, in order. Fails when a pattern needs more time or memory than any
    /// sensible one does.
    Status cut(std::string_view text, std::vector<Span> &spans);

  private:
    Status cutLiteral(std::string_view text, std::vector<Span> &spans) const;
    std::unique_ptr<icu::RegexMatcher> matcher;
    std::string literalText;
    icu::UnicodeString wide;
  };

private:
  std::shared_ptr<icu::RegexPattern> pattern;
  std::string literalText;
};

} // namespace qplan::text
#endif // QPLAN_TEXT_REGEX_H
