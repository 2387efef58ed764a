/*===- abi_compile.c - the layout of abi.h, frozen ------------------------===//
 *
 * Emitted code and the runtime agree on bytes, not on headers: a field that moves
 * breaks every model.o that exists. Compiled as C11 and as C++17; never run.
 *===----------------------------------------------------------------------===*/
#include "qplan/abi.h"
#include "qplan/runtime.h"

#include <assert.h>
#include <stddef.h>

#define AT(type, field, offset)                                                                    \
  static_assert(offsetof(type, field) == (offset), #type "." #field " moved")
#define SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type " changed its size")

static_assert(QPLAN_ABI_VERSION == 1, "a new version needs new structs beside these");
static_assert(QPLAN_OK == 0 && QPLAN_INVALID_INPUT == 1 && QPLAN_INVALID_USAGE == 2 &&
                  QPLAN_DEFECT == 3 && QPLAN_MACHINE_FAILURE == 4 && QPLAN_INTERRUPTED == 130,
              "statuses are exit statuses");

SIZE(qplan_env_v1, 32);
AT(qplan_env_v1, size, 0);
AT(qplan_env_v1, threads, 8);
AT(qplan_env_v1, user, 16);
AT(qplan_env_v1, parallel, 24);

SIZE(qplan_sequence_v1, 32);
AT(qplan_sequence_v1, first_row, 0);
AT(qplan_sequence_v1, rows, 8);
AT(qplan_sequence_v1, past, 16);
AT(qplan_sequence_v1, pages, 24);

SIZE(qplan_args_v1, 104);
AT(qplan_args_v1, size, 0);
AT(qplan_args_v1, weights, 8);
AT(qplan_args_v1, arena, 16);
AT(qplan_args_v1, tokens, 24);
AT(qplan_args_v1, sequences, 32);
AT(qplan_args_v1, logit_rows, 40);
AT(qplan_args_v1, token_ids, 48);
AT(qplan_args_v1, positions, 56);
AT(qplan_args_v1, row_sequence, 64);
AT(qplan_args_v1, logit_row, 72);
AT(qplan_args_v1, sequence, 80);
AT(qplan_args_v1, logits, 88);
AT(qplan_args_v1, statistics, 96);

SIZE(qplan_model_v1, 128);
AT(qplan_model_v1, version, 0);
AT(qplan_model_v1, size, 4);
AT(qplan_model_v1, name, 8);
AT(qplan_model_v1, producer, 16);
AT(qplan_model_v1, target, 24);
AT(qplan_model_v1, cpu_features, 32);
AT(qplan_model_v1, kv_format, 40);
AT(qplan_model_v1, vocabulary, 48);
AT(qplan_model_v1, context, 56);
AT(qplan_model_v1, max_tokens, 64);
AT(qplan_model_v1, kv_page_tokens, 72);
AT(qplan_model_v1, kv_page_bytes, 80);
AT(qplan_model_v1, weight_bytes, 88);
AT(qplan_model_v1, arena_bytes_fixed, 96);
AT(qplan_model_v1, arena_bytes_per_token, 104);
AT(qplan_model_v1, statistics_bytes, 112);
AT(qplan_model_v1, forward, 120);

SIZE(qplan_work, 48);
AT(qplan_work, session, 0);
AT(qplan_work, tokens, 8);
AT(qplan_work, token_count, 16);
AT(qplan_work, want_logits, 24);
AT(qplan_work, logits, 32);
AT(qplan_work, result, 40);

SIZE(qplan_options, 88);
AT(qplan_options, flags, 8);
AT(qplan_options, threads, 12);
AT(qplan_options, kv, 24);
AT(qplan_options, parallel, 48);
AT(qplan_options, message, 64);
AT(qplan_options, statistics, 80);

/* The initializers must stay valid in both languages. */
qplan_options abi_options = QPLAN_OPTIONS_INIT;
qplan_sampling abi_sampling = QPLAN_SAMPLING_GREEDY;
