//===- Normalizer.cpp - the "normalizer" of tokenizer.json ----------------===//
//
// One class for each type. The order and the edge cases (an empty piece gets no
// prefix, which piece still counts as the text's beginning) are those of the
// Hugging Face tokenizers library, whose ids must be reproduced exactly.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/Normalizer.h"
#include "runtime/text/Pattern.h"
#include "runtime/text/Unicode.h"
#include <array>

namespace qplan::text {

namespace {

struct ByteAlphabet {
  std::array<std::string, 256> standIn;
  std::array<int16_t, 0x144> byteOf;

  ByteAlphabet() {
    byteOf.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
      char32_t c = printable ? char32_t(byte) : next++;
      appendCharacter(standIn[byte], c);
      byteOf[c] = int16_t(byte);
    }
  }
};

const ByteAlphabet &byteAlphabet() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

class UnicodeForm : public Normalizer {
public:
  explicit UnicodeForm(NormalForm form) : form(form) {}
  Status apply(Piece &piece) const override {
    piece.text = normalForm(piece.text, form);
    return std::nullopt;
  }

private:
  NormalForm form;
};

/// Rewrites character by character; what a character becomes may be nothing.
class CharacterMap : public Normalizer {
public:
  using Map = void (*)(std::string &out, char32_t c);
  explicit CharacterMap(Map map) : map(map) {}
  Status apply(Piece &piece) const override {
    std::string out;
    out.reserve(piece.text.size());
    for (size_t i = 0; i < piece.text.size();) {
      bool first = i == 0;
      map(out, nextCharacter(piece.text, i));
      if (first && out.empty())
        piece.atStart = false;
    }
    piece.text = std::move(out);
    return std::nullopt;
  }

private:
  Map map;
};

void dropMark(std::string &out, char32_t c) {
  if (!isCombiningMark(c))
    appendCharacter(out, c);
}

/// The character filter of NMT models: controls go, odd spaces become ' '.
void mapNmt(std::string &out, char32_t c) {
  bool control = (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F ||
                 c == 0x8F || c == 0x9F;
  bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
               (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
               c == 0xFEFF || c == 0xFFFD;
  if (space)
    out += ' ';
  else if (!control)
    appendCharacter(out, c);
}

class Strip : public Normalizer {
public:
  Strip(bool left, bool right) : left(left), right(right) {}
  Status apply(Piece &piece) const override {
    size_t begin = 0, end = piece.text.size();
    for (size_t next = begin; left && next < end; begin = next)
      if (!isWhiteSpace(nextCharacter(piece.text, next)))
        break;
    while (right && end > begin) {
      std::string_view rest(piece.text.data(), end);
      char32_t c = lastCharacter(rest);
      if (!isWhiteSpace(c))
        break;
      end -= c < 0x80 ? 1 : c < 0x800 ? 2 : 3; // white space lies in the first plane
    }
    piece.atStart = piece.atStart && begin == 0;
    piece.text = piece.text.substr(begin, end - begin);
    return std::nullopt;
  }

private:
  bool left, right;
};

class Replace : public Normalizer {
public:
  Replace(Regex regex, std::string content)
      : regex(std::move(regex)), content(std::move(content)) {}
  Status apply(Piece &piece) const override {
    if (piece.text.empty())
      return std::nullopt;
    std::vector<Span> spans;
    if (Status status = Regex::Matcher(regex).cut(piece.text, spans))
      return status;
    std::string out;
    for (const Span &span : spans) {
      std::string_view part =
          std::string_view(piece.text).substr(span.begin, span.end - span.begin);
      // A replacement counts as standing where the last replaced character stood.
      if (span.matched && span.begin == 0 && countCharacters(part) > 1)
        piece.atStart = false;
      out += span.matched ? std::string_view(content) : part;
    }
    piece.text = std::move(out);
    return std::nullopt;
  }

private:
  Regex regex;
  std::string content;
};

class Prepend : public Normalizer {
public:
  explicit Prepend(std::string prefix) : prefix(std::move(prefix)) {}
  Status apply(Piece &piece) const override {
    if (!piece.text.empty())
      piece.text.insert(0, prefix);
    return std::nullopt;
  }

private:
  std::string prefix;
};

class Bytes : public Normalizer {
public:
  Status apply(Piece &piece) const override {
    piece.text = toByteAlphabet(piece.text);
    return std::nullopt;
  }
};

class Sequence : public Normalizer {
public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> steps) : steps(std::move(steps)) {}
  Status apply(Piece &piece) const override {
    for (const auto &step : steps)
      if (Status status = step->apply(piece))
        return status;
    return std::nullopt;
  }

private:
  std::vector<std::unique_ptr<Normalizer>> steps;
};

std::unique_ptr<Normalizer> parseSequence(const Field &field) {
  field.onlyKeys({"type", "normalizers"});
  std::vector<std::unique_ptr<Normalizer>> steps;
  Field list = field.at("normalizers");
  for (size_t i = 0, n = list.size(); i < n; ++i)
    if (std::unique_ptr<Normalizer> step = parseNormalizer(list.at(i)))
      steps.push_back(std::move(step));
  return std::make_unique<Sequence>(std::move(steps));
}

std::unique_ptr<Normalizer> parseReplace(const Field &field) {
  field.onlyKeys({"type", "pattern", "content"});
  std::optional<Regex> regex = parsePattern(field.at("pattern"));
  std::string content = field.at("content").string();
  if (!regex)
    return nullptr;
  return std::make_unique<Replace>(std::move(*regex), std::move(content));
}

/// The types that have no options.
std::unique_ptr<Normalizer> makePlain(const std::string &type) {
  if (type == "NFC")
    return std::make_unique<UnicodeForm>(NormalForm::NFC);
  if (type == "NFD")
    return std::make_unique<UnicodeForm>(NormalForm::NFD);
  if (type == "NFKC")
    return std::make_unique<UnicodeForm>(NormalForm::NFKC);
  if (type == "NFKD")
    return std::make_unique<UnicodeForm>(NormalForm::NFKD);
  if (type == "Lowercase")
    return std::make_unique<CharacterMap>(appendLowerCase);
  if (type == "StripAccents")
    return std::make_unique<CharacterMap>(dropMark);
  if (type == "Nmt")
    return std::make_unique<CharacterMap>(mapNmt);
  if (type == "ByteLevel")
    return std::make_unique<Bytes>();
  return nullptr;
}

} // namespace

std::string toByteAlphabet(std::string_view bytes) {
  const ByteAlphabet &alphabet = byteAlphabet();
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (unsigned char byte : bytes)
    out += alphabet.standIn[byte];
  return out;
}

int fromByteAlphabet(char32_t character) {
  const ByteAlphabet &alphabet = byteAlphabet();
  return character < alphabet.byteOf.size() ? alphabet.byteOf[character] : -1;
}

std::unique_ptr<Normalizer> parseNormalizer(const Field &field) {
  if (!field.present())
    return nullptr;
  std::string type = field.type();
  if (type == "Sequence")
    return parseSequence(field);
  if (type == "Replace")
    return parseReplace(field);
  if (type == "Prepend") {
    field.onlyKeys({"type", "prepend"});
    return std::make_unique<Prepend>(field.at("prepend").string());
  }
  if (type == "Strip") {
    field.onlyKeys({"type", "strip_left", "strip_right"});
    return std::make_unique<Strip>(field.at("strip_left").boolean(),
                                   field.at("strip_right").boolean());
  }
  std::unique_ptr<Normalizer> plain = makePlain(type);
  if (plain)
    field.onlyKeys({"type"});
  else
    field.fail("the normalizer '" + type +
               "' is not supported (known: Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Strip, "
               "StripAccents, Nmt, Replace, Prepend, ByteLevel)");
  return plain;
}

} // namespace qplan::text
