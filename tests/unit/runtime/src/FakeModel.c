/*===- FakeModel.c - what emitted code looks like to the runtime ----------===//
 *
 * A model with a forward pass small enough to predict in a test. It stores each
 * token in the cache pages and computes each row from all cached tokens up to its
 * position, so that wrong pages, positions, row numbers or destinations change the
 * result:
 *   h(row)        = fold over tokens t of positions 0..p of h * 31 + t + 1
 *   logit(row, j) = (h * (j + 1) + weights[64 + j % 16]) mod 1009
 * Token 30 makes the pass fail with status 4 after it has written the cache.
 *===----------------------------------------------------------------------===*/
#include "qplan/abi.h"

#include <string.h>

#ifndef FAKE_NAME
#define FAKE_NAME fake
#endif
#ifndef FAKE_FEATURES
#define FAKE_FEATURES ""
#endif
#ifndef FAKE_VERSION
#define FAKE_VERSION QPLAN_ABI_VERSION
#endif
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

enum { Vocabulary = 31, Context = 40, MaxTokens = 8, PageTokens = 4, Poison = 30 };

static int32_t *cached(const qplan_sequence_v1 *sequence, int64_t position) {
  return (int32_t *)sequence->pages[position / PageTokens] + position % PageTokens;
}

static void hashRow(void *pointer, int64_t row) {
  const qplan_args_v1 *args = pointer;
  const qplan_sequence_v1 *sequence = &args->sequence[args->row_sequence[row]];
  uint32_t hash = 0;
  for (int64_t p = 0; p <= args->positions[row]; ++p)
    hash = hash * 31 + (uint32_t)*cached(sequence, p) + 1;
  memcpy(args->arena + 64 + 64 * row, &hash, sizeof hash);
}

static void logitsOfRow(void *pointer, int64_t index) {
  const qplan_args_v1 *args = pointer;
  uint32_t hash;
  memcpy(&hash, args->arena + 64 + 64 * args->logit_row[index], sizeof hash);
  for (int64_t j = 0; j < Vocabulary; ++j)
    args->logits[index * Vocabulary + j] =
        (float)((hash * (uint32_t)(j + 1) + args->weights[64 + j % 16]) % 1009u);
}

static void each(const qplan_env_v1 *env, int64_t count, void (*task)(void *, int64_t),
                 const qplan_args_v1 *args) {
  if (env->parallel)
    env->parallel(env->user, count, task, (void *)args);
  else
    for (int64_t i = 0; i < count; ++i)
      task((void *)args, i);
}

/* The contract of abi.h, as far as a callee can check it. */
static int broken(const qplan_env_v1 *env, const qplan_args_v1 *args) {
  int64_t row = 0;
  if (env->size != sizeof *env || args->size != sizeof *args || env->threads < 1)
    return 1;
  if (args->tokens < 1 || args->tokens > MaxTokens || (uintptr_t)args->arena % 64 ||
      (uintptr_t)args->weights % 64)
    return 1;
  for (int64_t s = 0; s < args->sequences; ++s) {
    const qplan_sequence_v1 *sequence = &args->sequence[s];
    if (sequence->first_row != row || sequence->rows < 1)
      return 1;
    for (int64_t i = 0; i < sequence->rows; ++i, ++row)
      if (args->row_sequence[row] != s || args->positions[row] != sequence->past + i ||
          (uintptr_t)sequence->pages[(sequence->past + i) / PageTokens] % 64)
        return 1;
  }
  return row != args->tokens;
}

static int32_t forward(const qplan_env_v1 *env, const qplan_args_v1 *args) {
  int poisoned = 0;
  if (broken(env, args))
    return QPLAN_DEFECT;
  for (int64_t row = 0; row < args->tokens; ++row) {
    *cached(&args->sequence[args->row_sequence[row]], args->positions[row]) = args->token_ids[row];
    poisoned |= args->token_ids[row] == Poison;
  }
  if (poisoned)
    return QPLAN_MACHINE_FAILURE;
  each(env, args->tokens, hashRow, args);
  each(env, args->logit_rows, logitsOfRow, args);
  return QPLAN_OK;
}

static const qplan_model_v1 model = {.version = FAKE_VERSION,
                                     .size = sizeof(qplan_model_v1),
                                     .name = TEXT(FAKE_NAME),
                                     .producer = "qplan test",
                                     .target = "any",
                                     .cpu_features = FAKE_FEATURES,
                                     .kv_format = "f32",
                                     .vocabulary = Vocabulary,
                                     .context = Context,
                                     .max_tokens = MaxTokens,
                                     .kv_page_tokens = PageTokens,
                                     .kv_page_bytes = 64,
                                     .weight_bytes = 128,
                                     .arena_bytes_fixed = 64,
                                     .arena_bytes_per_token = 64,
                                     .statistics_bytes = 0,
                                     .forward = forward};

__attribute__((visibility("default"))) const qplan_model_v1 *JOIN(FAKE_NAME,
                                                                  _query)(uint32_t maxVersion) {
  return maxVersion >= 1 ? &model : 0;
}

#ifdef FAKE_SHARED
__attribute__((visibility("default"))) const qplan_model_v1 *
qplan_model_query(uint32_t maxVersion) {
  return maxVersion >= 1 ? &model : 0;
}
#endif
