//===- Unicode.cpp - UTF-8 and character classes --------------------------===//
//
// UTF-8 is decoded by hand, because the exact extent of an invalid sequence
// decides how many replacement characters a text gets; everything that needs
// tables is ICU's.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/Unicode.h"
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>

namespace qplan::text {

namespace {

/// Length of the character that `lead` begins, 0 if none does, and the range
/// that its second byte must lie in (narrowed for overlong forms, surrogates and
/// values above U+10FFFF).
size_t sequenceLength(unsigned char lead, unsigned char &low, unsigned char &high) {
  low = 0x80;
  high = 0xBF;
  if (lead < 0x80)
    return 1;
  if (lead < 0xC2)
    return 0;
  if (lead < 0xE0)
    return 2;
  if (lead < 0xF0) {
    low = lead == 0xE0 ? 0xA0 : 0x80;
    high = lead == 0xED ? 0x9F : 0xBF;
    return 3;
  }
  if (lead < 0xF5) {
    low = lead == 0xF0 ? 0x90 : 0x80;
    high = lead == 0xF4 ? 0x8F : 0xBF;
    return 4;
  }
  return 0;
}

bool inCategories(char32_t c, uint32_t mask) { return (U_GET_GC_MASK(UChar32(c)) & mask) != 0; }

/// Major version of the Unicode standard that has `c` since.
int ageOf(char32_t c) {
  UVersionInfo version;
  u_charAge(UChar32(c), version);
  return version[0];
}

const icu::Normalizer2 *normalizerFor(NormalForm form) {
  UErrorCode code = U_ZERO_ERROR;
  switch (form) {
  case NormalForm::NFC:
    return icu::Normalizer2::getNFCInstance(code);
  case NormalForm::NFD:
    return icu::Normalizer2::getNFDInstance(code);
  case NormalForm::NFKC:
    return icu::Normalizer2::getNFKCInstance(code);
  case NormalForm::NFKD:
    return icu::Normalizer2::getNFKDInstance(code);
  }
  return nullptr;
}

} // namespace

Utf8Step stepUtf8(std::string_view bytes) {
  unsigned char low, high;
  size_t length = sequenceLength(bytes[0], low, high);
  if (length == 0)
    return {Utf8Step::Invalid, 1};
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size())
      return {Utf8Step::Incomplete, i};
    unsigned char byte = bytes[i];
    if (byte < low || byte > high)
      return {Utf8Step::Invalid, i};
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8Step::Valid, length};
}

bool isValidUtf8(std::string_view bytes) {
  while (!bytes.empty()) {
    Utf8Step step = stepUtf8(bytes);
    if (step.kind != Utf8Step::Valid)
      return false;
    bytes.remove_prefix(step.bytes);
  }
  return true;
}

std::string repairUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    Utf8Step step = stepUtf8(bytes);
    text += step.kind == Utf8Step::Valid ? bytes.substr(0, step.bytes) : replacementCharacter;
    bytes.remove_prefix(step.bytes);
  }
  return text;
}

char32_t nextCharacter(std::string_view text, size_t &position) {
  unsigned char lead = text[position++];
  if (lead < 0x80)
    return lead;
  int following = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
  char32_t c = lead & (0x3F >> following);
  for (; following > 0 && position < text.size(); --following)
    c = (c << 6) | (static_cast<unsigned char>(text[position++]) & 0x3F);
  return c;
}

char32_t lastCharacter(std::string_view text) {
  size_t position = text.size() - 1;
  while (position > 0 && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80)
    --position;
  return nextCharacter(text, position);
}

void appendCharacter(std::string &text, char32_t c) {
  if (c < 0x80) {
    text += char(c);
    return;
  }
  if (c < 0x800) {
    text += char(0xC0 | (c >> 6));
  } else if (c < 0x10000) {
    text += char(0xE0 | (c >> 12));
    text += char(0x80 | ((c >> 6) & 0x3F));
  } else {
    text += char(0xF0 | (c >> 18));
    text += char(0x80 | ((c >> 12) & 0x3F));
    text += char(0x80 | ((c >> 6) & 0x3F));
  }
  text += char(0x80 | (c & 0x3F));
}

size_t countCharacters(std::string_view text) {
  size_t count = 0;
  for (unsigned char byte : text)
    count += (byte & 0xC0) != 0x80;
  return count;
}

bool isWhiteSpace(char32_t c) { return u_isUWhiteSpace(UChar32(c)); }
bool isNumeric(char32_t c) { return inCategories(c, U_GC_N_MASK); }

bool isCombiningMark(char32_t c) { return inCategories(c, U_GC_M_MASK) && ageOf(c) <= 9; }

bool isPunctuation(char32_t c) {
  bool asciiSymbol = (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
                     (c >= '{' && c <= '~');
  // Two characters were punctuation then and are symbols now.
  return asciiSymbol || c == 0x166D || c == 0x111C9 ||
         (inCategories(c, U_GC_P_MASK) && ageOf(c) <= 8);
}

bool isWord(char32_t c) {
  return u_hasBinaryProperty(UChar32(c), UCHAR_ALPHABETIC) ||
         inCategories(c, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK) || c == 0x200C || c == 0x200D;
}

void appendLowerCase(std::string &text, char32_t c) {
  // The one character whose lower case is two characters without any context.
  if (c == 0x130) {
    text += "i\xCC\x87";
    return;
  }
  appendCharacter(text, char32_t(u_tolower(UChar32(c))));
}

std::string normalForm(std::string_view text, NormalForm form) {
  UErrorCode code = U_ZERO_ERROR;
  const icu::Normalizer2 *normalizer = normalizerFor(form);
  std::string out;
  out.reserve(text.size());
  icu::StringByteSink<std::string> sink(&out);
  if (normalizer)
    normalizer->normalizeUTF8(0, icu::StringPiece(text.data(), int32_t(text.size())), sink, nullptr,
                              code);
  return out;
}

} // namespace qplan::text
