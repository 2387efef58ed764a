//===- tokenizer.cpp - fuzz tokenizer.json and chat templates -------------===//
//
// An input that begins with '{' is a tokenizer.json, perhaps followed by a byte 0xFF
// and a text to encode; any other is a chat template. Whatever the bytes, a tokenizer
// gives ids below its limit and valid UTF-8, and a template a prompt or a message.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/ChatTemplate.h"
#include "runtime/text/TextStream.h"
#include "runtime/text/Unicode.h"
#include <cstdlib>

using namespace qplan::text;

static void require(bool condition) {
  if (!condition)
    std::abort();
}

static void tokenize(const Tokenizer &tokenizer, std::string_view text) {
  for (EncodeOptions options : {EncodeOptions{false, false}, EncodeOptions{true, true}}) {
    Result<std::vector<int32_t>> ids = tokenizer.encode(text, options);
    if (!ids) {
      require(!ids.failure().message.empty());
      continue;
    }
    TextStream stream(tokenizer, {{0}, {"a", "the end"}, true});
    for (int32_t id : *ids) {
      // The post-processor's ids are what the file says, with or without a token.
      require(id >= 0 && (options.addSpecial || id < tokenizer.idLimit()));
      if (Result<std::string> part = stream.push(id))
        require(isValidUtf8(*part));
    }
    (void)stream.finish();
    if (Result<std::string> back = tokenizer.decode(*ids, options.addSpecial))
      require(isValidUtf8(*back));
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view input(reinterpret_cast<const char *>(data), size);
  if (input.starts_with('{')) {
    size_t end = std::min(input.find('\xFF'), size);
    Result<Tokenizer> tokenizer = Tokenizer::parse(input.substr(0, end), "tokenizer.json");
    if (tokenizer)
      tokenize(*tokenizer, input.substr(std::min(end + 1, size)));
    else
      require(!tokenizer.failure().message.empty());
    return 0;
  }
  Result<ChatTemplate> chat = ChatTemplate::parse(input, "<s>", "</s>");
  if (!chat)
    return 0;
  Result<std::string> prompt = chat->render({{"user", "Hi"}, {"assistant", "Ho"}}, true);
  require(prompt ? isValidUtf8(*prompt) : !prompt.failure().message.empty());
  return 0;
}
