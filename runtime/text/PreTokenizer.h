//===- PreTokenizer.h - the "pre_tokenizer" of tokenizer.json ---*- C++ -*-===//
//
// How a normalized text is cut into the words that the model sees. Pieces that
// are added tokens already (id >= 0) pass through every stage untouched.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_PRETOKENIZER_H
#define QPLAN_TEXT_PRETOKENIZER_H

#include "runtime/text/JsonReader.h"
#include "runtime/text/Normalizer.h"
#include <memory>
#include <vector>

namespace qplan::text {

/// One way of cutting; immutable and thread-safe.
class PreTokenizer {
public:
  virtual ~PreTokenizer() = default;
  /// Replaces `pieces` by their cuts, in order; no empty piece remains.
  virtual Status apply(std::vector<Piece> &pieces) const = 0;
};

/// The pre-tokenizer that `field` describes; null when it is absent or a mistake
/// was found, which the field's reader keeps.
std::unique_ptr<PreTokenizer> parsePreTokenizer(const Field &field);

} // namespace qplan::text
#endif // QPLAN_TEXT_PRETOKENIZER_H
