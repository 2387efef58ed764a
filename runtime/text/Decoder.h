//===- Decoder.h - the "decoder" of tokenizer.json --------------*- C++ -*-===//
//
// How tokens become text again: a chain of steps over a list of strings, which are
// joined at the end.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_DECODER_H
#define QPLAN_TEXT_DECODER_H

#include "runtime/text/JsonReader.h"
#include "runtime/text/Result.h"
#include <memory>
#include <string>
#include <vector>

namespace qplan::text {

/// One step; immutable and thread-safe.
class Decoder {
public:
  virtual ~Decoder() = default;
  virtual Status apply(std::vector<std::string> &tokens) const = 0;
  /// Whether the step is ByteLevel and nothing else, so that every token stands for
  /// bytes that do not depend on its neighbours.
  virtual bool isByteLevel() const { return false; }
};

/// The decoder that `field` describes; null when it is absent or a mistake was
/// found, which the field's reader keeps.
std::unique_ptr<Decoder> parseDecoder(const Field &field);

/// The bytes of a token of a byte-level vocabulary; a token with a character
/// outside the byte alphabet stands for itself.
std::string byteLevelBytes(const std::string &token);
/// The byte of a token such as "<0x0A>", or -1.
int byteFallbackByte(const std::string &token);

} // namespace qplan::text
#endif // QPLAN_TEXT_DECODER_H
