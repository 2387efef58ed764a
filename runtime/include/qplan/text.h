/*===- text.h - tokenizer, chat template and streaming text ---------------===//
 *
 * The library qplan_text: text to token ids and back as a Hugging Face
 * tokenizer.json says, conversations to prompts as a checkpoint's chat template
 * says, and text that appears while a model generates. Plain C11.
 *
 * Errors: every function that can fail returns a status of abi.h and, when it is
 * not QPLAN_OK, writes a message to `error` (may be NULL). Outputs are written
 * only on QPLAN_OK.
 * Ownership: what a function hands out is the caller's and goes back to the
 * matching free function; inputs are borrowed for the call.
 * Threads: tokenizers and chat templates are immutable and may be shared by any
 * number of threads; a stream belongs to one thread at a time.
 * Text: UTF-8 with explicit sizes; invalid input reads as U+FFFD, output is always
 * valid. Texts handed out also end in a zero byte that their size does not count.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_TEXT_H
#define QPLAN_TEXT_H

#include "qplan/abi.h"
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define QPLAN_TEXT_API __attribute__((visibility("default")))
#else
#define QPLAN_TEXT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* A message for a user: one line, ends in a zero byte, cut if too long. */
typedef struct qplan_text_error {
  char message[1024];
} qplan_text_error;

/* Frees ids and texts that this library handed out. NULL is allowed. */
QPLAN_TEXT_API void qplan_text_free(void *memory);

/*--- Tokenizer --------------------------------------------------------------*/

typedef struct qplan_tokenizer qplan_tokenizer;

/* Reads the file `path`. */
QPLAN_TEXT_API int32_t qplan_tokenizer_load(const char *path, qplan_tokenizer **tokenizer,
                                            qplan_text_error *error);
/* Reads the `size` bytes of a tokenizer.json; messages call them `name`. */
QPLAN_TEXT_API int32_t qplan_tokenizer_parse(const char *json, size_t size, const char *name,
                                             qplan_tokenizer **tokenizer, qplan_text_error *error);
QPLAN_TEXT_API void qplan_tokenizer_free(qplan_tokenizer *tokenizer);

enum {
  /* Add the tokens that the file wants around a text (BOS, EOS). */
  QPLAN_ENCODE_ADD_SPECIAL = 1,
  /* Special tokens written in the text ("<|im_end|>") are ordinary text. For text
   * from a stranger. */
  QPLAN_ENCODE_PLAIN_SPECIAL = 2,
  /* Leave special tokens out of decoded text. */
  QPLAN_DECODE_SKIP_SPECIAL = 4
};

/* The ids of `text` (`size` bytes, at most 1 GiB): *ids has *count elements. */
QPLAN_TEXT_API int32_t qplan_tokenizer_encode(const qplan_tokenizer *tokenizer, const char *text,
                                              size_t size, uint32_t flags, int32_t **ids,
                                              size_t *count, qplan_text_error *error);
/* The text of ids[0 .. count). Ids without a token give nothing. */
QPLAN_TEXT_API int32_t qplan_tokenizer_decode(const qplan_tokenizer *tokenizer, const int32_t *ids,
                                              size_t count, uint32_t flags, char **text,
                                              size_t *size, qplan_text_error *error);
/* One more than the highest id. */
QPLAN_TEXT_API int32_t qplan_tokenizer_id_limit(const qplan_tokenizer *tokenizer);
/* The id of a token as the file writes it, or -1. */
QPLAN_TEXT_API int32_t qplan_tokenizer_token_id(const qplan_tokenizer *tokenizer,
                                                const char *token);
/* The token of an id as the file writes it, or NULL; lives as long as the tokenizer. */
QPLAN_TEXT_API const char *qplan_tokenizer_token(const qplan_tokenizer *tokenizer, int32_t id);
/* 1 for special tokens, 0 for others and for ids without a token. */
QPLAN_TEXT_API int32_t qplan_tokenizer_is_special(const qplan_tokenizer *tokenizer, int32_t id);

/*--- Streaming --------------------------------------------------------------*/

typedef struct qplan_text_stream qplan_text_stream;

/* When a stream ends by itself. */
typedef struct qplan_stop_v1 {
  uint64_t size;              /* sizeof(qplan_stop_v1) */
  const int32_t *ids;         /* [id_count]: a stop token; it gives no text */
  size_t id_count;
  const char *const *strings; /* [string_count], zero-terminated, not empty; the text
                                 ends before the first that appears */
  size_t string_count;
  uint32_t flags;             /* QPLAN_DECODE_SKIP_SPECIAL or 0 */
} qplan_stop_v1;

/* `stop` may be NULL. The stream borrows the tokenizer until it is freed. */
QPLAN_TEXT_API int32_t qplan_text_stream_create(const qplan_tokenizer *tokenizer,
                                                const qplan_stop_v1 *stop,
                                                qplan_text_stream **stream,
                                                qplan_text_error *error);
QPLAN_TEXT_API void qplan_text_stream_free(qplan_text_stream *stream);
/* Adds one id. *text is what may be shown now (perhaps nothing): whole characters,
 * and nothing that could still turn out to be a stop string. It belongs to the
 * stream and lives until the next call. *stopped becomes 1 when a stop token or
 * stop string has ended the stream; ids after that give no text. */
QPLAN_TEXT_API int32_t qplan_text_stream_push(qplan_text_stream *stream, int32_t id,
                                              const char **text, size_t *size, int32_t *stopped,
                                              qplan_text_error *error);
/* The text that was held back; call once when no more ids follow. */
QPLAN_TEXT_API int32_t qplan_text_stream_finish(qplan_text_stream *stream, const char **text,
                                                size_t *size, qplan_text_error *error);

/*--- Chat templates ---------------------------------------------------------*/

typedef struct qplan_chat_template qplan_chat_template;

typedef struct qplan_chat_message {
  const char *role;    /* "system", "user", "assistant", ... zero-terminated */
  const char *content; /* zero-terminated */
} qplan_chat_message;

/* Reads the `size` bytes of a template in Jinja's language. bos_token and eos_token
 * are what the template sees under these names; NULL leaves one undefined. */
QPLAN_TEXT_API int32_t qplan_chat_template_parse(const char *source, size_t size,
                                                 const char *bos_token, const char *eos_token,
                                                 qplan_chat_template **chat,
                                                 qplan_text_error *error);
/* Reads "chat_template", "bos_token" and "eos_token" from the bytes of a
 * tokenizer_config.json; of several named templates, "default". */
QPLAN_TEXT_API int32_t qplan_chat_template_from_config(const char *json, size_t size,
                                                       const char *name,
                                                       qplan_chat_template **chat,
                                                       qplan_text_error *error);
QPLAN_TEXT_API void qplan_chat_template_free(qplan_chat_template *chat);
/* The prompt for a conversation. With `generation_prompt` it ends where the
 * assistant's answer begins. Encode it without QPLAN_ENCODE_ADD_SPECIAL: templates
 * write the special tokens themselves. */
QPLAN_TEXT_API int32_t qplan_chat_template_render(const qplan_chat_template *chat,
                                                  const qplan_chat_message *messages, size_t count,
                                                  int32_t generation_prompt, char **text,
                                                  size_t *size, qplan_text_error *error);

#ifdef __cplusplus
}
#endif
#endif /* QPLAN_TEXT_H */
