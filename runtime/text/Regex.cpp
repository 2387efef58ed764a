//===- Regex.cpp - the regular expressions of tokenizers ------------------===//
//
// The translation walks a pattern once, outside and inside character classes. It
// rewrites what the two engines read differently (\w, \h, lone braces, set
// operators, inline flags) and leaves the rest to ICU's own parser.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/Regex.h"
#include "runtime/text/Unicode.h"
#include <cstring>

namespace qplan::text {

namespace {

/// Steps of backtracking that one text may cost, in ICU's units of 10,000, and
/// the bytes that the backtracking stack may take.
constexpr int32_t baseTimeLimit = 5000;
constexpr int32_t stackLimit = 128 << 20;

/// Oniguruma's \w lacks the two joiners that ICU's has.
constexpr std::string_view wordClass = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

class Translator {
public:
  explicit Translator(std::string_view pattern) : pattern(pattern) {}

  Result<std::string> run() {
    while (position < pattern.size() && error.empty())
      outside();
    if (!error.empty())
      return inputFailure(error + " in the pattern '" + std::string(pattern) + "'");
    return std::move(out);
  }

private:
  char peek(size_t ahead = 0) const {
    return position + ahead < pattern.size() ? pattern[position + ahead] : '\0';
  }

  void outside() {
    char c = peek();
    if (c == '\\')
      return escape(false);
    if (c == '[')
      return characterClass();
    if (c == '(' && peek(1) == '?')
      return group();
    if (c == '{')
      return brace();
    out += c;
    ++position;
  }

  /// A backslash and what it escapes.
  void escape(bool inClass) {
    char c = peek(1);
    if (c == '\0') {
      error = "a backslash ends the pattern";
      return;
    }
    position += 2;
    std::string set;
    switch (c) {
    case 'w':
      set = wordClass;
      break;
    case 'h':
      set = "0-9a-fA-F";
      break;
    case 'W':
    case 'H':
      out += c == 'W' ? "[^" + std::string(wordClass) + "]" : "[^0-9a-fA-F]";
      return;
    case 'K':
    case 'g':
    case 'k':
    case 'y':
    case 'Y':
    case 'O':
    case 'C':
    case 'M':
      error = std::string("\\") + c + " is not supported";
      return;
    default:
      out += '\\';
      out += c;
      if (c == 'p' || c == 'P' || c == 'x')
        copyBraces();
      return;
    }
    out += inClass ? set : "[" + set + "]";
  }

  /// "(?...": lookaround and non-capturing groups pass, inline flags are checked,
  /// because m and s mean different things in the two syntaxes.
  void group() {
    size_t flags = position + 2;
    while (flags < pattern.size() &&
           (std::isalpha(static_cast<unsigned char>(pattern[flags])) || pattern[flags] == '-')) {
      if (pattern[flags] != 'i' && pattern[flags] != '-') {
        error = std::string("the inline flag '") + pattern[flags] + "' is not supported";
        return;
      }
      ++flags;
    }
    out += pattern.substr(position, flags - position);
    position = flags;
  }

  /// A brace is a quantifier or, to Oniguruma, itself.
  void brace() {
    size_t end = position + 1;
    while (end < pattern.size() &&
           (std::isdigit(static_cast<unsigned char>(pattern[end])) || pattern[end] == ','))
      ++end;
    bool quantifier = end < pattern.size() && pattern[end] == '}' && end > position + 1 &&
                      pattern.substr(position + 1, end - position - 1) != ",";
    if (!quantifier) {
      out += "\\{";
      ++position;
      return;
    }
    if (end + 1 < pattern.size() && pattern[end + 1] == '+') {
      error = "a '+' behind a counted repetition is not supported";
      return;
    }
    if (pattern[position + 1] == ',') // {,n} counts from zero
      out += "{0";
    else
      out += "{";
    out += pattern.substr(position + 1, end - position);
    position = end + 1;
  }

  void characterClass() {
    if (++depth > 50) {
      error = "character classes nest too deeply";
      return;
    }
    out += '[';
    ++position;
    if (peek() == '^') {
      out += '^';
      ++position;
    }
    bool first = true;
    while (error.empty()) {
      if (position >= pattern.size()) {
        error = "a character class is not closed";
        return;
      }
      char c = peek();
      if (c == ']' && !first) {
        out += ']';
        ++position;
        --depth;
        return;
      }
      classMember(c, first);
      first = false;
    }
  }

  /// One member of a class. Punctuation is escaped, for ICU reads more of it as
  /// operators than Oniguruma does; '-' stays when it makes a range.
  void classMember(char c, bool first) {
    if (c == '\\') {
      char kind = peek(1);
      escape(true);
      afterSet = std::strchr("wWhHsSdDpPRX", kind) != nullptr && kind != '\0';
      return;
    }
    if (c == '[') {
      if (peek(1) == ':')
        return copyPosixClass();
      characterClass();
      afterSet = true;
      return;
    }
    if (c == '&' && peek(1) == '&') {
      out += "&&";
      position += 2;
      afterSet = true;
      return;
    }
    bool range = c == '-' && !first && !afterSet && peek(1) != ']' && peek(1) != '[' &&
                 !(peek(1) == '\\' && peek(2) != '\0' && std::strchr("wWhHsSdDpP", peek(2)));
    afterSet = false;
    if (c > 0 && !range && std::ispunct(static_cast<unsigned char>(c)))
      out += '\\';
    out += c;
    ++position;
  }

  /// What stands in braces behind \p or \x.
  void copyBraces() {
    if (peek() != '{')
      return;
    size_t end = pattern.find('}', position);
    if (end == std::string_view::npos) {
      error = "a brace is not closed";
      return;
    }
    out += pattern.substr(position, end + 1 - position);
    position = end + 1;
  }

  void copyPosixClass() {
    size_t end = pattern.find(":]", position + 2);
    if (end == std::string_view::npos) {
      error = "a POSIX class is not closed";
      return;
    }
    out += pattern.substr(position, end + 2 - position);
    position = end + 2;
    afterSet = true;
  }

  std::string_view pattern;
  size_t position = 0;
  int depth = 0;
  bool afterSet = false; ///< the last member of the class was a set, not a character
  std::string out;
  std::string error;
};

/// Appends [begin, end) to `spans` unless it is empty.
void appendSpan(std::vector<Span> &spans, size_t begin, size_t end, bool matched) {
  if (begin != end || matched)
    spans.push_back({begin, end, matched});
}

} // namespace

Result<std::string> translateOniguruma(std::string_view pattern) {
  return Translator(pattern).run();
}

Result<Regex> Regex::compile(std::string_view source) {
  Result<std::string> translated = translateOniguruma(source);
  if (!translated)
    return translated.failure();
  UErrorCode code = U_ZERO_ERROR;
  UParseError where{};
  // Oniguruma's '^' and '$' see every line, and only '\n' ends one.
  uint32_t flags = UREGEX_MULTILINE | UREGEX_UNIX_LINES;
  Regex regex;
  regex.pattern.reset(
      icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(icu::StringPiece(
                                     translated->data(), int32_t(translated->size()))),
                                 flags, where, code));
  if (U_FAILURE(code))
    return inputFailure("the pattern '" + std::string(source) + "' cannot be compiled (" +
                        u_errorName(code) + ")");
  return regex;
}

Result<Regex> Regex::literal(std::string_view text) {
  if (text.empty())
    return inputFailure("an empty text is no pattern");
  Regex regex;
  regex.literalText = text;
  return regex;
}

Regex::Matcher::Matcher(const Regex &regex) : literalText(regex.literalText) {
  UErrorCode code = U_ZERO_ERROR;
  if (regex.pattern)
    matcher.reset(regex.pattern->matcher(code));
}

Status Regex::Matcher::cutLiteral(std::string_view text, std::vector<Span> &spans) const {
  size_t begin = 0;
  for (size_t at; (at = text.find(literalText, begin)) != std::string_view::npos;) {
    appendSpan(spans, begin, at, false);
    begin = at + literalText.size();
    appendSpan(spans, at, begin, true);
  }
  appendSpan(spans, begin, text.size(), false);
  return std::nullopt;
}

Status Regex::Matcher::cut(std::string_view text, std::vector<Span> &spans) {
  spans.clear();
  if (!literalText.empty())
    return cutLiteral(text, spans);
  UErrorCode code = U_ZERO_ERROR;
  wide = icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), int32_t(text.size())));
  matcher->reset(wide);
  matcher->setTimeLimit(baseTimeLimit + wide.length() / 16, code);
  matcher->setStackLimit(stackLimit, code);

  // Matches come in order, so one walk converts all UTF-16 offsets to bytes.
  size_t byte = 0;
  int32_t unit = 0;
  auto byteAt = [&](int32_t target) {
    while (unit < target) {
      unsigned char lead = text[byte];
      byte += lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
      unit += lead < 0xF0 ? 1 : 2;
    }
    return byte;
  };
  size_t previous = 0;
  while (matcher->find(code)) {
    size_t begin = byteAt(matcher->start(code));
    size_t end = byteAt(matcher->end(code));
    appendSpan(spans, previous, begin, false);
    appendSpan(spans, begin, end, true);
    previous = end;
  }
  if (U_FAILURE(code))
    return inputFailure(std::string("a pattern of the tokenizer takes too much time or memory on "
                                    "this text (") +
                        u_errorName(code) + ")");
  appendSpan(spans, previous, text.size(), false);
  return std::nullopt;
}

} // namespace qplan::text
