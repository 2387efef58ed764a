//===- Normalizer.h - the "normalizer" of tokenizer.json --------*- C++ -*-===//
//
// What happens to a text before it is cut into words: normal forms, case, the
// replacements and the leading mark of SentencePiece models. A Piece is what flows
// through the stages of a tokenizer.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_NORMALIZER_H
#define QPLAN_TEXT_NORMALIZER_H

#include "runtime/text/JsonReader.h"
#include "runtime/text/Result.h"
#include <memory>
#include <string>
#include <vector>

namespace qplan::text {

/// A part of a text on its way to token ids.
struct Piece {
  std::string text; ///< valid UTF-8
  int32_t id = -1;  ///< the added token that this piece is, or -1
  /// The piece begins with the first character of the caller's text; Metaspace
  /// with prepend_scheme "first" asks.
  bool atStart = false;
};

/// One rewriting of a piece; immutable and thread-safe.
class Normalizer {
public:
  virtual ~Normalizer() = default;
  virtual Status apply(Piece &piece) const = 0;
};

/// The normalizer that `field` describes; null when it is absent or a mistake was
/// found, which the field's reader keeps.
std::unique_ptr<Normalizer> parseNormalizer(const Field &field);

/// `bytes` with every byte as its printable stand-in of GPT-2's alphabet.
std::string toByteAlphabet(std::string_view bytes);
/// The byte whose stand-in `character` is, or -1.
int fromByteAlphabet(char32_t character);

} // namespace qplan::text
#endif // QPLAN_TEXT_NORMALIZER_H
