//===- TextStream.h - text while a model generates --------------*- C++ -*-===//
//
// Turns ids into text one at a time. Held back are bytes that do not yet make a
// whole character and text that may be the beginning of a stop string; everything
// else is given out at once.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TEXT_TEXTSTREAM_H
#define QPLAN_TEXT_TEXTSTREAM_H

#include "runtime/text/Tokenizer.h"

namespace qplan::text {

/// When a stream ends by itself.
struct StopRule {
  std::vector<int32_t> ids;         ///< give no text and end the stream
  std::vector<std::string> strings; ///< none empty; the text ends before the first
  bool skipSpecial = false;         ///< special tokens give no text
};

/// Ids to text, incrementally. Not thread-safe; borrows the tokenizer.
class TextStream {
public:
  TextStream(const Tokenizer &tokenizer, StopRule stop)
      : tokenizer(tokenizer), stop(std::move(stop)) {}
  /// The text that can be shown after one more id.
  Result<std::string> push(int32_t id);
  /// The text that was held back. An unfinished character becomes U+FFFD.
  Result<std::string> finish();
  bool stopped() const { return hasStopped; }

private:
  Result<std::string> decodeBytes(const std::string &token);
  Result<std::string> decodeWindow(int32_t id, const std::string &token, bool flush);
  std::string releaseText(std::string fresh);
  std::string wholeCharacters(bool flush);

  const Tokenizer &tokenizer;
  StopRule stop;
  bool hasStopped = false;
  std::string bytes;   ///< byte-level tokenizers: what is not yet a whole character
  std::string pending; ///< whole characters that may begin a stop string
  // Other tokenizers decode a window: the ids that were shown last, which set the
  // stage (a leading space is dropped only at the beginning), and the new ones.
  std::vector<int32_t> context;
  std::vector<int32_t> waiting;
  std::string byteRun; ///< bytes of the byte tokens that end `waiting`
};

} // namespace qplan::text
#endif // QPLAN_TEXT_TEXTSTREAM_H
