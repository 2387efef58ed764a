//===- JinjaLexer.cpp - chat templates as tokens --------------------------===//
//
// White space is decided here: '-' beside a tag eats everything up to the next
// character, a block tag eats the newline behind it and the blanks that indent it,
// '+' keeps them, and one newline at the template's end does not count.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/JinjaProgram.h"
#include "runtime/text/Unicode.h"
#include <cctype>

namespace qplan::text::jinja {

namespace {

bool isSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

class Lexer {
public:
  explicit Lexer(std::string_view text) {
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\r') {
        source += '\n';
        i += i + 1 < text.size() && text[i + 1] == '\n';
      } else {
        source += text[i];
      }
    }
    if (source.ends_with('\n'))
      source.pop_back();
  }

  Result<std::vector<Token>> run() {
    while (position < source.size() && error.empty())
      textThenTag();
    if (!error.empty())
      return inputFailure("line " + std::to_string(line) + ": " + error);
    tokens.push_back({Token::Kind::End, "", line});
    return std::move(tokens);
  }

private:
  char at(size_t i) const { return i < source.size() ? source[i] : '\0'; }

  void add(Token::Kind kind, std::string text) { tokens.push_back({kind, std::move(text), line}); }

  void advance(size_t end) {
    for (; position < end; ++position)
      line += source[position] == '\n';
  }

  /// Text up to the next tag, and the tag.
  void textThenTag() {
    size_t tag = position;
    while (
        tag < source.size() &&
        !(source[tag] == '{' && (at(tag + 1) == '{' || at(tag + 1) == '%' || at(tag + 1) == '#')))
      ++tag;
    std::string text = source.substr(position, tag - position);
    if (tag < source.size()) {
      char control = at(tag + 2);
      if (control == '-')
        while (!text.empty() && isSpace(text.back()))
          text.pop_back();
      else if (source[tag + 1] != '{' && control != '+')
        stripIndent(text, position == 0 || source[position - 1] == '\n');
    }
    if (!text.empty())
      add(Token::Kind::Text, std::move(text));
    advance(tag);
    if (position >= source.size())
      return;
    char kind = source[position + 1];
    advance(position + 2 + (at(position + 2) == '-' || at(position + 2) == '+'));
    if (kind == '#')
      comment();
    else
      inside(kind == '{' ? "}}" : "%}");
  }

  /// Drops the blanks between the last line's begin and the tag.
  static void stripIndent(std::string &text, bool startsLine) {
    size_t end = text.size();
    while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t'))
      --end;
    if (end > 0 ? text[end - 1] == '\n' : startsLine)
      text.resize(end);
  }

  void comment() {
    size_t end = source.find("#}", position);
    if (end == std::string::npos) {
      error = "a comment is not closed";
      return;
    }
    char control = source[end - 1];
    advance(end + 2);
    behindTag(control, true);
  }

  /// White space behind a tag.
  void behindTag(char control, bool isBlock) {
    if (control == '-') {
      size_t end = position;
      while (end < source.size() && isSpace(source[end]))
        ++end;
      advance(end);
    } else if (isBlock && control != '+' && at(position) == '\n') {
      advance(position + 1);
    }
  }

  void inside(std::string_view closing) {
    bool isBlock = closing[0] == '%';
    add(isBlock ? Token::Kind::BlockBegin : Token::Kind::OutputBegin, "");
    int braces = 0;
    while (error.empty()) {
      while (position < source.size() && isSpace(source[position]))
        advance(position + 1);
      if (position >= source.size()) {
        error = "a tag is not closed";
        return;
      }
      char c = at(position);
      bool control = (c == '-' || c == '+') && source.compare(position + 1, 2, closing) == 0;
      if (braces == 0 && (control || source.compare(position, 2, closing) == 0)) {
        add(isBlock ? Token::Kind::BlockEnd : Token::Kind::OutputEnd, "");
        advance(position + 2 + control);
        return behindTag(control ? c : '\0', isBlock);
      }
      braces += c == '{';
      braces -= c == '}' && braces > 0;
      token(c);
    }
  }

  void token(char c) {
    unsigned char byte = c;
    if (c == '\'' || c == '"')
      return string(c);
    if (std::isdigit(byte))
      return number();
    if (std::isalpha(byte) || c == '_') {
      size_t end = position;
      while (std::isalnum(static_cast<unsigned char>(at(end))) || at(end) == '_')
        ++end;
      add(Token::Kind::Name, source.substr(position, end - position));
      return advance(end);
    }
    for (std::string_view op : {"==", "!=", "<=", ">=", "//", "**"})
      if (source.compare(position, 2, op) == 0) {
        add(Token::Kind::Operator, std::string(op));
        return advance(position + 2);
      }
    if (std::string_view("+-*/%~<>=()[]{}.,:|").find(c) == std::string_view::npos) {
      error = std::string("unexpected character '") + c + "'";
      return;
    }
    add(Token::Kind::Operator, std::string(1, c));
    advance(position + 1);
  }

  void number() {
    size_t end = position;
    while (std::isdigit(static_cast<unsigned char>(at(end))))
      ++end;
    bool real = at(end) == '.' && std::isdigit(static_cast<unsigned char>(at(end + 1)));
    if (real)
      for (++end; std::isdigit(static_cast<unsigned char>(at(end)));)
        ++end;
    if (end - position > 18) {
      error = "a number has too many digits";
      return;
    }
    add(real ? Token::Kind::Float : Token::Kind::Int, source.substr(position, end - position));
    advance(end);
  }

  void string(char quote) {
    std::string text;
    size_t i = position + 1;
    for (; i < source.size() && source[i] != quote; ++i) {
      if (source[i] != '\\') {
        text += source[i];
        continue;
      }
      if (++i < source.size())
        escape(i, text);
    }
    if (i >= source.size()) {
      error = "a string is not closed";
      return;
    }
    add(Token::Kind::String, repairUtf8(text));
    advance(i + 1);
  }

  /// Appends what the escape at source[i] stands for; leaves i at its last byte.
  void escape(size_t &i, std::string &text) {
    static constexpr std::string_view letters = "ntrbfv0", meanings("\n\t\r\b\f\v\0", 7);
    char c = source[i];
    size_t known = letters.find(c);
    if (known != std::string_view::npos) {
      text += meanings[known];
    } else if (c == 'u' || c == 'x') {
      size_t digits = c == 'u' ? 4 : 2;
      char32_t value = 0;
      for (size_t n = 0; n < digits; ++n) {
        unsigned char digit = at(++i);
        if (!std::isxdigit(digit)) {
          error = "an escape in a string lacks hexadecimal digits";
          return;
        }
        value = value * 16 + (std::isdigit(digit) ? digit - '0' : (digit | 32) - 'a' + 10);
      }
      appendCharacter(text, value);
    } else if (c == '\\' || c == '\'' || c == '"') {
      text += c;
    } else if (c != '\n') { // unknown escapes stay as they are
      text += '\\';
      text += c;
    }
  }

  std::string source;
  size_t position = 0;
  int line = 1;
  std::vector<Token> tokens;
  std::string error;
};

} // namespace

Result<std::vector<Token>> tokenize(std::string_view source) { return Lexer(source).run(); }

} // namespace qplan::text::jinja
