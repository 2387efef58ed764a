/*===- abi.h - the interface between an emitted model and its caller ------===//
 *
 * Everything that crosses the border between code emitted by `qplan compile`
 * (model.o, model.so) and the program that runs it. Plain C11 / C++17, no
 * dependency but the C standard library.
 *
 * Versioning: a struct never changes once released; a change makes a new struct
 * with suffix _v2, and the query function keeps serving _v1 when asked for it.
 *
 * Ownership: the emitted code allocates nothing, keeps no writable global, and
 * borrows every pointer for the duration of one `forward` call.
 *
 * Thread-safety: `forward` may be called concurrently with different `args`
 * (different arenas, different KV pages) on the same weights.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_ABI_H
#define QPLAN_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QPLAN_ABI_VERSION 1

/* Status of every call that can fail. The values are the exit statuses of the
 * command line tools, so that a driver can return them unchanged. */
enum {
  QPLAN_OK = 0,
  QPLAN_INVALID_INPUT = 1,   /* a file, a token id or a size is at fault */
  QPLAN_INVALID_USAGE = 2,   /* the caller broke the contract of a function */
  QPLAN_DEFECT = 3,          /* a defect of qplan */
  QPLAN_MACHINE_FAILURE = 4, /* memory, disk, or a missing CPU feature */
  QPLAN_INTERRUPTED = 130
};

/* How emitted code reaches its host. `parallel` runs task(arg, i) for every
 * i in [0, count), in any order and on any threads, and returns when all are
 * done. NULL means: run them one after the other on the calling thread. */
typedef struct qplan_env_v1 {
  uint64_t size;    /* sizeof(qplan_env_v1) */
  int64_t threads;  /* threads that `parallel` uses; >= 1 */
  void *user;       /* handed to `parallel` */
  void (*parallel)(void *user, int64_t count, void (*task)(void *arg, int64_t index), void *arg);
} qplan_env_v1;

/* One sequence of a batch. Its new tokens are rows [first_row, first_row + rows)
 * of the batch; `past` tokens are in the cache already, so that the first new
 * row has position `past`. Page p of the cache holds positions
 * [p * kv_page_tokens, (p + 1) * kv_page_tokens); pages for every position below
 * past + rows must be present. */
typedef struct qplan_sequence_v1 {
  int64_t first_row;
  int64_t rows;
  int64_t past;
  void *const *pages; /* [ceil((past + rows) / kv_page_tokens)], 64-byte aligned */
} qplan_sequence_v1;

/* One forward pass over a ragged batch of `tokens` rows.
 * Kernels receive a pointer to this struct; see runtime/kernels/kernels.h. */
typedef struct qplan_args_v1 {
  uint64_t size;               /* sizeof(qplan_args_v1) */
  const uint8_t *weights;      /* contents of weights.bin, 64-byte aligned */
  uint8_t *arena;              /* scratch, 64-byte aligned, arena_bytes_fixed + tokens * arena_bytes_per_token */
  int64_t tokens;              /* rows in this pass, 1 .. max_tokens */
  int64_t sequences;           /* sequences in this pass, >= 1 */
  int64_t logit_rows;          /* rows whose logits are wanted, 0 .. tokens */
  const int32_t *token_ids;    /* [tokens], each in [0, vocabulary) */
  const int32_t *positions;    /* [tokens], position of each row in its sequence */
  const int32_t *row_sequence; /* [tokens], index into `sequence` */
  const int32_t *logit_row;    /* [logit_rows], ascending row numbers */
  const qplan_sequence_v1 *sequence; /* [sequences], rows in order, no gaps */
  float *logits;               /* [logit_rows, vocabulary], written */
  uint8_t *statistics;         /* observers' memory (calibration plans only) or NULL */
} qplan_args_v1;

/* What a model says of itself. All strings are static, UTF-8. */
typedef struct qplan_model_v1 {
  uint32_t version;        /* QPLAN_ABI_VERSION */
  uint32_t size;           /* sizeof(qplan_model_v1) */
  const char *name;        /* symbol prefix */
  const char *producer;    /* "qplan 0.1.0" */
  const char *target;      /* "x86_64-linux:znver5" */
  const char *cpu_features; /* what must be present: "avx2,avx512vnni,fma" or "" */
  const char *kv_format;   /* format of cached keys and values */
  int64_t vocabulary;      /* columns of the logits */
  int64_t context;         /* most positions of a sequence */
  int64_t max_tokens;      /* most rows in one forward call */
  int64_t kv_page_tokens;  /* positions in one KV page */
  uint64_t kv_page_bytes;  /* bytes of one KV page, all layers */
  uint64_t weight_bytes;   /* size of weights.bin */
  uint64_t arena_bytes_fixed;
  uint64_t arena_bytes_per_token;
  uint64_t statistics_bytes; /* 0 in ordinary plans */
  int32_t (*forward)(const qplan_env_v1 *env, const qplan_args_v1 *args);
} qplan_model_v1;

/* The one symbol that model.so exports ("qplan_model_query"); model.o exports it
 * as <name>_query. Returns NULL when max_version is below what it can serve. */
typedef const qplan_model_v1 *(*qplan_model_query_fn)(uint32_t max_version);

#ifdef __cplusplus
}
#endif
#endif /* QPLAN_ABI_H */
