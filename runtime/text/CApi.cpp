//===- CApi.cpp - the C interface of the text library ---------------------===//
//
// Checks arguments, copies results into memory that C can free, and turns
// failures into a status and a message. Nothing is thrown past these functions:
// the only exceptions below are the standard library's for want of memory.
//
//===----------------------------------------------------------------------===//
#include "runtime/text/ChatTemplate.h"
#include "runtime/text/TextStream.h"
#include "runtime/text/Tokenizer.h"
#include "runtime/text/Unicode.h"
#include "qplan/text.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

using namespace qplan::text;

struct qplan_tokenizer {
  Tokenizer tokenizer;
};
struct qplan_text_stream {
  TextStream stream;
  std::string text; ///< what the last call handed out
};
struct qplan_chat_template {
  ChatTemplate chat;
};

namespace {

int32_t report(const Failure &failure, qplan_text_error *error) {
  if (error)
    std::snprintf(error->message, sizeof error->message, "%s", failure.message.c_str());
  return failure.code;
}

/// Runs `f`, which returns a Status, and reports its failure or lack of memory.
template <typename F>
int32_t guarded(qplan_text_error *error, F &&f) {
  try {
    if (Status status = f())
      return report(*status, error);
    return QPLAN_OK;
  } catch (const std::exception &) {
    return report({QPLAN_MACHINE_FAILURE, "out of memory"}, error);
  }
}

Status missing(const char *what) {
  return usageFailure(std::string("the argument '") + what + "' must not be NULL");
}

Status handOut(const std::string &text, char **out, size_t *size) {
  char *copy = static_cast<char *>(std::malloc(text.size() + 1));
  if (!copy)
    return Failure{QPLAN_MACHINE_FAILURE, "out of memory"};
  std::memcpy(copy, text.c_str(), text.size() + 1);
  *out = copy;
  *size = text.size();
  return std::nullopt;
}

std::optional<std::string> optionalText(const char *text) {
  return text ? std::optional<std::string>(text) : std::nullopt;
}

} // namespace

void qplan_text_free(void *memory) { std::free(memory); }

int32_t qplan_tokenizer_load(const char *path, qplan_tokenizer **tokenizer,
                             qplan_text_error *error) {
  return guarded(error, [&]() -> Status {
    if (!path || !tokenizer)
      return missing(path ? "tokenizer" : "path");
    Result<Tokenizer> loaded = Tokenizer::load(path);
    if (!loaded)
      return loaded.failure();
    *tokenizer = new qplan_tokenizer{std::move(*loaded)};
    return std::nullopt;
  });
}

int32_t qplan_tokenizer_parse(const char *json, size_t size, const char *name,
                              qplan_tokenizer **tokenizer, qplan_text_error *error) {
  return guarded(error, [&]() -> Status {
    if (!json || !tokenizer)
      return missing(json ? "tokenizer" : "json");
    Result<Tokenizer> parsed =
        Tokenizer::parse(std::string_view(json, size), name ? name : "tokenizer.json");
    if (!parsed)
      return parsed.failure();
    *tokenizer = new qplan_tokenizer{std::move(*parsed)};
    return std::nullopt;
  });
}

void qplan_tokenizer_free(qplan_tokenizer *tokenizer) { delete tokenizer; }

int32_t qplan_tokenizer_encode(const qplan_tokenizer *tokenizer, const char *text, size_t size,
                               uint32_t flags, int32_t **ids, size_t *count,
                               qplan_text_error *error) {
  return guarded(error, [&]() -> Status {
    if (!tokenizer || !ids || !count || (!text && size > 0))
      return missing(!tokenizer ? "tokenizer" : !ids ? "ids" : !count ? "count" : "text");
    EncodeOptions options;
    options.addSpecial = flags & QPLAN_ENCODE_ADD_SPECIAL;
    options.plainSpecial = flags & QPLAN_ENCODE_PLAIN_SPECIAL;
    Result<std::vector<int32_t>> found =
        tokenizer->tokenizer.encode(std::string_view(text, size), options);
    if (!found)
      return found.failure();
    // At least one byte, for malloc(0) may be NULL.
    auto *copy = static_cast<int32_t *>(std::malloc(found->size() * sizeof(int32_t) + 1));
    if (!copy)
      return Failure{QPLAN_MACHINE_FAILURE, "out of memory"};
    if (!found->empty())
      std::memcpy(copy, found->data(), found->size() * sizeof(int32_t));
    *ids = copy;
    *count = found->size();
    return std::nullopt;
  });
}

int32_t qplan_tokenizer_decode(const qplan_tokenizer *tokenizer, const int32_t *ids, size_t count,
                               uint32_t flags, char **text, size_t *size, qplan_text_error *error) {
  return guarded(error, [&]() -> Status {
    if (!tokenizer || !text || !size || (!ids && count > 0))
      return missing(!tokenizer ? "tokenizer" : !text ? "text" : !size ? "size" : "ids");
    Result<std::string> found = tokenizer->tokenizer.decode(
        std::vector<int32_t>(ids, ids + count), flags & QPLAN_DECODE_SKIP_SPECIAL);
    if (!found)
      return found.failure();
    return handOut(*found, text, size);
  });
}

int32_t qplan_tokenizer_id_limit(const qplan_tokenizer *tokenizer) {
  return tokenizer ? tokenizer->tokenizer.idLimit() : 0;
}

int32_t qplan_tokenizer_token_id(const qplan_tokenizer *tokenizer, const char *token) {
  return tokenizer && token ? tokenizer->tokenizer.idOf(token) : -1;
}

const char *qplan_tokenizer_token(const qplan_tokenizer *tokenizer, int32_t id) {
  const std::string *token = tokenizer ? tokenizer->tokenizer.contentOf(id) : nullptr;
  return token ? token->c_str() : nullptr;
}

int32_t qplan_tokenizer_is_special(const qplan_tokenizer *tokenizer, int32_t id) {
  return tokenizer && tokenizer->tokenizer.isSpecial(id);
}

int32_t qplan_text_stream_create(const qplan_tokenizer *tokenizer, const qplan_stop_v1 *stop,
                                 qplan_text_stream **stream, qplan_text_error *error) {
  return guarded(error, [&]() -> Status {
    if (!tokenizer || !stream)
      return missing(tokenizer ? "stream" : "tokenizer");
    StopRule rule;
    if (stop) {
      if (stop->size < sizeof(qplan_stop_v1))
        return usageFailure("qplan_stop_v1.size must be sizeof(qplan_stop_v1)");
      if ((!stop->ids && stop->id_count) || (!stop->strings && stop->string_count))
        return missing(stop->ids ? "stop.strings" : "stop.ids");
      rule.ids.assign(stop->ids, stop->ids + stop->id_count);
      for (size_t i = 0; i < stop->string_count; ++i) {
        if (!stop->strings[i] || !*stop->strings[i])
          return usageFailure("a stop string must not be empty");
        rule.strings.push_back(repairUtf8(stop->strings[i]));
      }
      rule.skipSpecial = stop->flags & QPLAN_DECODE_SKIP_SPECIAL;
    }
    *stream = new qplan_text_stream{TextStream(tokenizer->tokenizer, std::move(rule)), {}};
    return std::nullopt;
  });
}

void qplan_text_stream_free(qplan_text_stream *stream) { delete stream; }

int32_t qplan_text_stream_push(qplan_text_stream *stream, int32_t id, const char **text,
                               size_t *size, int32_t *stopped, qplan_text_error *error) {
  return guarded(error, [&]() -> Status {
    if (!stream || !text || !size)
      return missing(!stream ? "stream" : !text ? "text" : "size");
    Result<std::string> fresh = stream->stream.push(id);
    if (!fresh)
      return fresh.failure();
    stream->text = std::move(*fresh);
    *text = stream->text.c_str();
    *size = stream->text.size();
    if (stopped)
      *stopped = stream->stream.stopped();
    return std::nullopt;
  });
}

int32_t qplan_text_stream_finish(qplan_text_stream *stream, const char **text, size_t *size,
                                 qplan_text_error *error) {
  return guarded(error, [&]() -> Status {
    if (!stream || !text || !size)
      return missing(!stream ? "stream" : !text ? "text" : "size");
    Result<std::string> fresh = stream->stream.finish();
    if (!fresh)
      return fresh.failure();
    stream->text = std::move(*fresh);
    *text = stream->text.c_str();
    *size = stream->text.size();
    return std::nullopt;
  });
}

int32_t qplan_chat_template_parse(const char *source, size_t size, const char *bos_token,
                                  const char *eos_token, qplan_chat_template **chat,
                                  qplan_text_error *error) {
  return guarded(error, [&]() -> Status {
    if (!source || !chat)
      return missing(source ? "chat" : "source");
    Result<ChatTemplate> parsed = ChatTemplate::parse(
        std::string_view(source, size), optionalText(bos_token), optionalText(eos_token));
    if (!parsed)
      return parsed.failure();
    *chat = new qplan_chat_template{std::move(*parsed)};
    return std::nullopt;
  });
}

int32_t qplan_chat_template_from_config(const char *json, size_t size, const char *name,
                                        qplan_chat_template **chat, qplan_text_error *error) {
  return guarded(error, [&]() -> Status {
    if (!json || !chat)
      return missing(json ? "chat" : "json");
    Result<ChatTemplate> parsed = ChatTemplate::fromConfig(std::string_view(json, size),
                                                           name ? name : "tokenizer_config.json");
    if (!parsed)
      return parsed.failure();
    *chat = new qplan_chat_template{std::move(*parsed)};
    return std::nullopt;
  });
}

void qplan_chat_template_free(qplan_chat_template *chat) { delete chat; }

int32_t qplan_chat_template_render(const qplan_chat_template *chat,
                                   const qplan_chat_message *messages, size_t count,
                                   int32_t generation_prompt, char **text, size_t *size,
                                   qplan_text_error *error) {
  return guarded(error, [&]() -> Status {
    if (!chat || !text || !size || (!messages && count > 0))
      return missing(!chat ? "chat" : !text ? "text" : !size ? "size" : "messages");
    std::vector<ChatMessage> list;
    for (size_t i = 0; i < count; ++i) {
      if (!messages[i].role || !messages[i].content)
        return missing("messages[].role and content");
      list.push_back({repairUtf8(messages[i].role), repairUtf8(messages[i].content)});
    }
    Result<std::string> prompt = chat->chat.render(list, generation_prompt != 0);
    if (!prompt)
      return prompt.failure();
    return handOut(*prompt, text, size);
  });
}
