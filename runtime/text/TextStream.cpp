//===- TextStream.cpp - text while a model generates ----------------------===//
//
// Two ways to the same text. Where every token stands for bytes of its own, bytes
// are collected and cut into characters, exactly as decoding all ids at once would.
// Elsewhere a window of ids is decoded twice, with and without the new ones, and
// the difference is new; a run of byte tokens waits until its bytes make whole
// characters.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/TextStream.h"
#include "runtime/text/Unicode.h"
#include <algorithm>

namespace qplan::text {

namespace {

/// Whether `bytes` ends in a proper beginning of a character.
bool endsInside(std::string_view bytes) {
  while (!bytes.empty()) {
    Utf8Step step = stepUtf8(bytes);
    if (step.kind == Utf8Step::Incomplete)
      return true;
    bytes.remove_prefix(step.bytes);
  }
  return false;
}

/// Length of the longest end of `text` that is a proper beginning of `stop`.
size_t heldBack(std::string_view text, std::string_view stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length)
    if (stop.starts_with(text.substr(text.size() - length)))
      return length;
  return 0;
}

} // namespace

std::string TextStream::wholeCharacters(bool flush) {
  std::string text;
  std::string_view rest = bytes;
  while (!rest.empty()) {
    Utf8Step step = stepUtf8(rest);
    if (step.kind == Utf8Step::Incomplete && !flush)
      break;
    text += step.kind == Utf8Step::Valid ? rest.substr(0, step.bytes) : replacementCharacter;
    rest.remove_prefix(step.bytes);
  }
  bytes = std::string(rest);
  return text;
}

Result<std::string> TextStream::decodeBytes(const std::string &token) {
  bytes += byteLevelBytes(token);
  return wholeCharacters(false);
}

Result<std::string> TextStream::decodeWindow(int32_t id, const std::string &token, bool flush) {
  if (!flush) {
    waiting.push_back(id);
    int byte = byteFallbackByte(token);
    if (byte >= 0)
      byteRun += char(byte);
    else
      byteRun.clear();
  }
  if (waiting.empty() || (!flush && endsInside(byteRun)))
    return std::string();
  Result<std::string> before = tokenizer.decode(context, false);
  if (!before)
    return before;
  std::vector<int32_t> window = context;
  window.insert(window.end(), waiting.begin(), waiting.end());
  Result<std::string> after = tokenizer.decode(window, false);
  if (!after)
    return after;
  size_t common = 0;
  while (common < before->size() && common < after->size() &&
         (*before)[common] == (*after)[common])
    ++common;
  // Never cut a character that both share the beginning of.
  while (common < after->size() && common > 0 &&
         (static_cast<unsigned char>((*after)[common]) & 0xC0) == 0x80)
    --common;
  context = std::move(waiting);
  waiting.clear();
  return after->substr(common);
}

/// Adds `fresh` to what waits and returns what no stop string can claim any more.
std::string TextStream::releaseText(std::string fresh) {
  pending += fresh;
  size_t first = std::string::npos;
  for (const std::string &text : stop.strings)
    first = std::min(first, pending.find(text));
  if (first != std::string::npos) {
    hasStopped = true;
    std::string text = pending.substr(0, first);
    pending.clear();
    return text;
  }
  size_t held = 0;
  for (const std::string &text : stop.strings)
    held = std::max(held, heldBack(pending, text));
  std::string text = pending.substr(0, pending.size() - held);
  pending.erase(0, pending.size() - held);
  return text;
}

Result<std::string> TextStream::push(int32_t id) {
  if (hasStopped)
    return std::string();
  if (std::find(stop.ids.begin(), stop.ids.end(), id) != stop.ids.end()) {
    Result<std::string> rest = finish();
    hasStopped = true;
    return rest;
  }
  const std::string *token = tokenizer.tokenOf(id);
  if (!token || (stop.skipSpecial && tokenizer.isSpecial(id)))
    return std::string();
  Result<std::string> fresh =
      tokenizer.isByteLevel() ? decodeBytes(*token) : decodeWindow(id, *token, false);
  if (!fresh)
    return fresh;
  return releaseText(std::move(*fresh));
}

Result<std::string> TextStream::finish() {
  if (hasStopped)
    return std::string();
  Result<std::string> fresh = tokenizer.isByteLevel() ? Result<std::string>(wholeCharacters(true))
                                                      : decodeWindow(-1, std::string(), true);
  if (!fresh)
    return fresh;
  std::string text = releaseText(std::move(*fresh));
  text += pending;
  pending.clear();
  return text;
}

} // namespace qplan::text
