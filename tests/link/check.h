/*===- check.h - what the programs of tests/link share --------------------===//
 *
 * CHECK ends the program with the place and the runtime's message. generate() runs
 * a fixed prompt and a few greedy tokens through a model and folds every bit of the
 * logits into one number: two runs are equal exactly if the numbers are.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_TESTS_LINK_CHECK_H
#define QPLAN_TESTS_LINK_CHECK_H

#include "qplan/runtime.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, error);                   \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

enum { PromptTokens = 11, NewTokens = 6 };

/** FNV-1a over the bytes of logits [count]. */
static inline uint64_t fold(uint64_t hash, const float *logits, int64_t count) {
  const unsigned char *bytes = (const unsigned char *)logits;
  size_t size = (size_t)count * sizeof(float);
  for (size_t i = 0; i < size; ++i)
    hash = (hash ^ bytes[i]) * 0x100000001B3u;
  return hash;
}

/** Runs prompt number `seed` on an empty session of its own; returns the folded logits. */
static inline uint64_t generate(qplan_model *model, int32_t seed) {
  char error[512] = "";
  qplan_session *session = NULL;
  qplan_sampler *sampler = NULL;
  qplan_sampling greedy = QPLAN_SAMPLING_GREEDY;
  qplan_info info;
  int32_t prompt[PromptTokens], token = 0;
  const float *logits = NULL;
  uint64_t hash = 0xCBF29CE484222325u;

  info.size = sizeof info;
  qplan_model_info(model, &info);
  for (int32_t i = 0; i < PromptTokens; ++i)
    prompt[i] = (int32_t)((seed * 7 + i * i * 3 + 1) % 16 % info.vocabulary);
  CHECK(qplan_session_create(model, &session, error, sizeof error) == QPLAN_OK);
  CHECK(qplan_sampler_create(&greedy, &sampler, error, sizeof error) == QPLAN_OK);
  CHECK(qplan_prefill(session, prompt, PromptTokens, &logits, error, sizeof error) == QPLAN_OK);
  for (int i = 0; i < NewTokens; ++i) {
    hash = fold(hash, logits, info.vocabulary);
    CHECK(qplan_sampler_sample(sampler, logits, info.vocabulary, &token, error, sizeof error) ==
          QPLAN_OK);
    CHECK(qplan_decode(session, token % 16, &logits, error, sizeof error) == QPLAN_OK);
  }
  CHECK(qplan_session_length(session) == PromptTokens + NewTokens);
  qplan_sampler_free(sampler);
  qplan_session_free(session);
  return hash;
}

/** Opens the package `path`. */
static inline qplan_model *openPlan(const char *path) {
  char error[512] = "";
  qplan_model *model = NULL;
  qplan_options options = QPLAN_OPTIONS_INIT;
  options.flags = QPLAN_VERIFY;
  CHECK(qplan_model_open(path, &options, &model, error, sizeof error) == QPLAN_OK);
  return model;
}

#endif /* QPLAN_TESTS_LINK_CHECK_H */
