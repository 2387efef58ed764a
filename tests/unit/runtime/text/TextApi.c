/*===- TextApi.c - the public header in a C program -----------------------===//
 *
 * That text.h is C, and one whole round through its functions.
 *===----------------------------------------------------------------------===*/
#include "qplan/text.h"
#include <string.h>

/* 0 when a text goes to ids, back, and through a stream unchanged; else the step
 * that failed. */
int textApiRound(const char *path, const char *text);

int textApiRound(const char *path, const char *text) {
  qplan_tokenizer *tokenizer = NULL;
  qplan_text_stream *stream = NULL;
  qplan_text_error error;
  int32_t *ids = NULL;
  char *back = NULL;
  size_t count = 0, size = 0, shown = 0;
  const char *part;
  int step = 0;
  if (qplan_tokenizer_load(path, &tokenizer, &error) != QPLAN_OK)
    return 1;
  if (qplan_tokenizer_encode(tokenizer, text, strlen(text), 0, &ids, &count, &error) != QPLAN_OK)
    step = 2;
  else if (qplan_tokenizer_decode(tokenizer, ids, count, 0, &back, &size, &error) != QPLAN_OK)
    step = 3;
  else if (size != strlen(text) || strcmp(back, text) != 0)
    step = 4;
  else if (qplan_text_stream_create(tokenizer, NULL, &stream, &error) != QPLAN_OK)
    step = 5;
  for (size_t i = 0; i < count && step == 0; ++i) {
    int32_t stopped = 0;
    if (qplan_text_stream_push(stream, ids[i], &part, &size, &stopped, &error) != QPLAN_OK ||
        stopped || memcmp(part, text + shown, size) != 0)
      step = 6;
    shown += size;
  }
  if (step == 0 && (qplan_text_stream_finish(stream, &part, &size, &error) != QPLAN_OK ||
                    shown + size != strlen(text)))
    step = 7;
  qplan_text_stream_free(stream);
  qplan_text_free(back);
  qplan_text_free(ids);
  qplan_tokenizer_free(tokenizer);
  return step;
}
