//===- Unicode.h - UTF-8 and character classes ------------------*- C++ -*-===//
//
// Everything between bytes and characters: repairing invalid UTF-8, walking and
// appending characters, the classes that tokenizers ask for, and the four normal
// forms. Classes come from ICU; their names say which definition is meant where
// tools disagree (what is a "word" character, what is white space).
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_UNICODE_H
#define QPLAN_TEXT_UNICODE_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace qplan::text {

/// The replacement character, U+FFFD, as UTF-8.
inline constexpr std::string_view replacementCharacter = "\xEF\xBF\xBD";

/// How the bytes at the start of a string read as one character.
struct Utf8Step {
  enum Kind { Valid, Invalid, Incomplete } kind;
  /// Valid: bytes of the character. Invalid: bytes that one U+FFFD replaces (the
  /// maximal subpart of the Unicode standard, as Python's errors="replace").
  /// Incomplete: all bytes, a proper beginning of a character.
  size_t bytes;
};

/// Reads one character from non-empty `bytes`.
Utf8Step stepUtf8(std::string_view bytes);

/// `bytes` with every invalid sequence replaced by U+FFFD.
std::string repairUtf8(std::string_view bytes);
bool isValidUtf8(std::string_view bytes);

/// The character at `position` of valid UTF-8; moves `position` behind it.
char32_t nextCharacter(std::string_view text, size_t &position);
/// The last character of non-empty valid UTF-8.
char32_t lastCharacter(std::string_view text);
void appendCharacter(std::string &text, char32_t character);
/// Number of characters of valid UTF-8.
size_t countCharacters(std::string_view text);

bool isWhiteSpace(char32_t c); ///< property White_Space
bool isNumeric(char32_t c);    ///< categories Nd, Nl, No
/// ASCII punctuation (symbols such as '$' included) or a category P* of Unicode 8,
/// the version of the reference's tables.
bool isPunctuation(char32_t c);
/// Alphabetic, marks, Nd, Pc and the two joiners: UTS 18's word characters.
bool isWord(char32_t c);
bool isCombiningMark(char32_t c); ///< categories Mn, Mc, Me of Unicode 9 (likewise)
/// Lower case of one character, without context: up to two characters.
void appendLowerCase(std::string &text, char32_t c);

enum class NormalForm { NFC, NFD, NFKC, NFKD };
/// Valid UTF-8 in the given normal form.
std::string normalForm(std::string_view text, NormalForm form);

} // namespace qplan::text
#endif // QPLAN_TEXT_UNICODE_H
