/*===- runtime.h - load a plan and run sequences through it ---------------===//
 *
 * The public interface of the library `qplan_rt`: plain C11 / C++17 over abi.h.
 * Everything rests on one call, `qplan_step`, which pushes new tokens of any
 * number of sessions through a model; prefill and decode are wrappers of it.
 *
 * Ownership: what `*_open`, `*_create` and `*_fork` return is freed by the
 * `*_close` or `*_free` of the same name. Arguments are borrowed for the call,
 * except where a line says otherwise. No function throws or prints.
 *
 * Threads: a model may be used by many threads at once, a session or a sampler by
 * one at a time. There is no global state. After fork(2) the child must not use
 * models opened by its parent.
 *
 * Errors: functions that can fail return one of the statuses of abi.h (0 = done)
 * and write one line of UTF-8, ended by a zero and cut to fit, to `error`
 * [error_size] when error_size > 0. A NULL `error` is allowed.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_RUNTIME_H
#define QPLAN_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include "qplan/abi.h"

#if defined(__GNUC__)
#define QPLAN_API __attribute__((visibility("default")))
#else
#define QPLAN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** A loaded model: code, mapped weights, threads. Shared by its sessions. */
typedef struct qplan_model qplan_model;
/** One sequence: its length and its cached keys and values. */
typedef struct qplan_session qplan_session;
/** Chooses the next token from logits; owns a random generator. */
typedef struct qplan_sampler qplan_sampler;

/*===- Models ---------------------------------------------------------------*/

/** Source of KV pages. Both functions may be called from several threads at once. */
typedef struct qplan_kv_allocator {
  void *user; /**< handed to both functions; must outlive the model */
  /** Returns `bytes` bytes at a 64-byte aligned address, or NULL when there are none left. */
  void *(*allocate)(void *user, uint64_t bytes);
  /** Takes back a page that `allocate` returned; `bytes` is the same as then. */
  void (*release)(void *user, void *page, uint64_t bytes);
} qplan_kv_allocator;

/** Bits of qplan_options.flags. */
enum {
  QPLAN_VERIFY = 1,     /**< also checksum all of weights.bin (reads the whole file) */
  QPLAN_UNTRUSTED = 2,  /**< refuse to load native code: opening fails with a message */
  QPLAN_PREFAULT = 4,   /**< read the weights into memory while opening */
  QPLAN_PIN_THREADS = 8 /**< bind worker i to the i-th core the process may use */
};

/** Severity of a message handed to qplan_options.message. */
enum { QPLAN_MESSAGE_NOTE = 0, QPLAN_MESSAGE_WARNING = 1 };

/** How to open a model. Fill with QPLAN_OPTIONS_INIT, then change single fields. */
typedef struct qplan_options {
  uint64_t size;  /**< sizeof(qplan_options) */
  uint32_t flags; /**< QPLAN_VERIFY and so on, or-ed */
  /** Threads of a step, the caller's included; 0: the cores that this process may use. */
  int32_t threads;
  /** How long idle workers spin before they sleep; 0: 50; negative: not at all. */
  int32_t spin_microseconds;
  int32_t reserved;      /**< 0 */
  qplan_kv_allocator kv; /**< KV pages; allocate == NULL: the library's own */
  /** Replaces the thread pool (`threads` is then what it offers, >= 1): runs task(arg, i) for all
   *  i in [0, count) and returns when all are done. Called from every thread that steps. */
  void (*parallel)(void *user, int64_t count, void (*task)(void *arg, int64_t index), void *arg);
  void *parallel_user; /**< handed to `parallel`; must outlive the model */
  /** Receives notes and warnings, one line each, valid during the call. NULL: silence. */
  void (*message)(void *user, int level, const char *text);
  void *message_user; /**< handed to `message`; must outlive the model */
  /** Observers' memory [statistics_bytes of the model] of a calibration plan, 64-byte aligned,
   *  zeroed by the caller, who keeps it; steps then run one after another. NULL in ordinary use. */
  uint8_t *statistics;
} qplan_options;

#define QPLAN_OPTIONS_INIT                                                                         \
  { sizeof(qplan_options), 0u, 0, 0, 0, {NULL, NULL, NULL}, NULL, NULL, NULL, NULL, NULL }

/** Opens the package folder `path` ("m.qplan"). In this order it checks the manifest, the sizes and
 *  headers of the files, the checksum of model.so, the CPU features, and only then loads code.
 *  `options` may be NULL. On success `*out` is the model; otherwise it is NULL. */
QPLAN_API int qplan_model_open(const char *path, const qplan_options *options, qplan_model **out,
                               char *error, size_t error_size);

/** Makes a model of code that is linked into the program (model.o: `qplan_model_open_static(
 *  NAME_query(QPLAN_ABI_VERSION), "m.qplan/weights.bin", ...)`). `code` must outlive the model.
 *  `weights_path` names a weights.bin, which is mapped. */
QPLAN_API int qplan_model_open_static(const qplan_model_v1 *code, const char *weights_path,
                                      const qplan_options *options, qplan_model **out, char *error,
                                      size_t error_size);

/** As qplan_model_open_static, with the contents of weights.bin, header included, already in
 *  memory: `bytes` bytes at a 64-byte aligned address, borrowed until the model is closed. */
QPLAN_API int qplan_model_open_memory(const qplan_model_v1 *code, const void *weights,
                                      uint64_t bytes, const qplan_options *options,
                                      qplan_model **out, char *error, size_t error_size);

/** Checks a package as qplan_model_open does, but loads no code and asks nothing of this machine's
 *  CPU: what a tool calls on a package that it will only read. Of `flags`, QPLAN_VERIFY counts. */
QPLAN_API int qplan_package_check(const char *path, uint32_t flags, char *error, size_t error_size);

/** Closes a model. One that still has sessions is freed with the last of them. NULL is allowed. */
QPLAN_API void qplan_model_close(qplan_model *model);

/** What a model is. Strings are UTF-8 and live as long as the model. */
typedef struct qplan_info {
  uint64_t size;             /**< sizeof(qplan_info), set by the caller */
  const char *name;          /**< symbol prefix */
  const char *producer;      /**< "qplan 0.1.0" */
  const char *architecture;  /**< "llama"; "" without a manifest */
  const char *target;        /**< "x86_64-linux:znver5" */
  const char *cpu_features;  /**< features the code needs, comma separated */
  const char *kv_format;     /**< format of cached keys and values: "f16" */
  const char *manifest;      /**< text of manifest.json, zero-terminated; "" without one */
  uint64_t manifest_bytes;   /**< length of `manifest` */
  int64_t vocabulary;        /**< token ids are in [0, vocabulary) */
  int64_t context;           /**< most tokens of a session */
  int64_t max_tokens;        /**< most rows in one pass; longer work is split */
  int64_t kv_page_tokens;    /**< tokens in one KV page */
  uint64_t kv_page_bytes;    /**< bytes of one KV page */
  uint64_t weight_bytes;     /**< bytes of weights.bin */
  uint64_t statistics_bytes; /**< observers' memory; 0 in ordinary plans */
  int32_t threads;           /**< threads a step uses */
  int32_t reserved;
} qplan_info;

/** Fills `info`; the caller sets info->size first. Only fields that fit are written. */
QPLAN_API void qplan_model_info(const qplan_model *model, qplan_info *info);

/** Memory held by a model, in bytes. */
typedef struct qplan_memory {
  uint64_t size;          /**< sizeof(qplan_memory), set by the caller */
  uint64_t weight_bytes;  /**< mapped weights (file-backed, shared between processes) */
  uint64_t arena_bytes;   /**< scratch of all step contexts */
  uint64_t kv_bytes;      /**< pages held by sessions */
  uint64_t kv_idle_bytes; /**< pages kept for reuse (own allocator only) */
  uint64_t logit_bytes;   /**< logits held by sessions */
  uint64_t sessions;      /**< number of sessions */
} qplan_memory;

/** Fills `memory`; the caller sets memory->size first. A snapshot: other threads may go on. */
QPLAN_API void qplan_model_memory(const qplan_model *model, qplan_memory *memory);

/** The parallel-for that the model's steps use, for a caller with work of its own (arguments as
 *  qplan_options.parallel). While the pool is busy, tasks run on the calling thread. */
QPLAN_API void qplan_model_parallel(qplan_model *model, int64_t count,
                                    void (*task)(void *arg, int64_t index), void *arg);

/*===- Sessions -------------------------------------------------------------*/

/** Makes an empty session. It holds no page until its first token. */
QPLAN_API int qplan_session_create(qplan_model *model, qplan_session **out, char *error,
                                   size_t error_size);

/** Makes a session that continues `source` independently; copies its pages. */
QPLAN_API int qplan_session_fork(const qplan_session *source, qplan_session **out, char *error,
                                 size_t error_size);

/** Frees a session and its pages. NULL is allowed. */
QPLAN_API void qplan_session_free(qplan_session *session);

/** Forgets all tokens and gives the pages back. */
QPLAN_API void qplan_session_reset(qplan_session *session);

/** Keeps the first `length` tokens; QPLAN_INVALID_USAGE unless 0 <= length <= the session's. */
QPLAN_API int qplan_session_truncate(qplan_session *session, int64_t length, char *error,
                                     size_t error_size);

/** Tokens in the session. */
QPLAN_API int64_t qplan_session_length(const qplan_session *session);

/** The model of the session. */
QPLAN_API qplan_model *qplan_session_model(const qplan_session *session);

/*===- Running --------------------------------------------------------------*/

/** Which logits a piece of work wants. */
enum {
  QPLAN_LOGITS_NONE = 0,
  QPLAN_LOGITS_LAST = 1, /**< of the last new token: [1, vocabulary] */
  QPLAN_LOGITS_ALL = 2   /**< of every new token: [token_count, vocabulary] */
};

/** New tokens for one session. */
typedef struct qplan_work {
  qplan_session *session;
  const int32_t *tokens; /**< [token_count] */
  int64_t token_count;   /**< >= 1 */
  int32_t want_logits;   /**< QPLAN_LOGITS_* */
  int32_t reserved;      /**< 0 */
  /** Where to write the logits, f32 row-major. NULL: to memory of the session. */
  float *logits;
  /** Set by qplan_step: where the logits are (`logits`, or memory of the session that is valid
   *  until its next step, reset or free); NULL when none were wanted. */
  const float *result;
} qplan_work;

/** Appends the tokens of items [0, count) to their sessions, which must be distinct and of `model`.
 *  The work is split into passes of at most max_tokens rows; a row's logits do not depend on the
 *  split in exact arithmetic. On any error every session is as before (logits may be overwritten).
 *  QPLAN_INVALID_INPUT: a token id outside the vocabulary, or a session would exceed the context.
 *  QPLAN_MACHINE_FAILURE: no memory for pages, scratch or logits. */
QPLAN_API int qplan_step(qplan_model *model, int64_t count, qplan_work *items, char *error,
                         size_t error_size);

/** Appends tokens [count] and gives the logits of the last one in memory of the session
 *  (`*logits`, [vocabulary], valid until its next step, reset or free). `logits` may be NULL: none
 *  are computed. */
QPLAN_API int qplan_prefill(qplan_session *session, const int32_t *tokens, int64_t count,
                            const float **logits, char *error, size_t error_size);

/** Appends one token; otherwise as qplan_prefill. */
QPLAN_API int qplan_decode(qplan_session *session, int32_t token, const float **logits, char *error,
                           size_t error_size);

/*===- Sampling -------------------------------------------------------------*/

/** How to choose a token. Order: repeat penalty, temperature, top_k, top_p, draw. */
typedef struct qplan_sampling {
  uint64_t size;     /**< sizeof(qplan_sampling) */
  uint64_t seed;     /**< same seed, logits and settings: same tokens, on every machine */
  float temperature; /**< 0: greedy (largest logit, ties to the lowest id) */
  float top_p;       /**< keep the likeliest tokens until their sum reaches it; 1: all */
  /** > 0; 1: none. Divides positive and multiplies negative logits of recent tokens. */
  float repeat_penalty;
  int32_t top_k;         /**< keep the k likeliest; 0: all */
  int32_t repeat_window; /**< how many of the last tokens the penalty looks at; 0: none */
  int32_t reserved;      /**< 0 */
} qplan_sampling;

#define QPLAN_SAMPLING_GREEDY                                                                      \
  { sizeof(qplan_sampling), 0u, 0.0f, 1.0f, 1.0f, 0, 0, 0 }

/** Makes a sampler. QPLAN_INVALID_USAGE names the setting that is out of range. */
QPLAN_API int qplan_sampler_create(const qplan_sampling *settings, qplan_sampler **out, char *error,
                                   size_t error_size);

/** Chooses the next token from logits [vocabulary] and stores it in `*token`. The sampler remembers
 *  chosen tokens for its repeat penalty. QPLAN_INVALID_INPUT: a NaN, or all are -infinity. */
QPLAN_API int qplan_sampler_sample(qplan_sampler *sampler, const float *logits, int64_t vocabulary,
                                   int32_t *token, char *error, size_t error_size);

/** Tells the sampler of tokens [count] that it did not choose, such as the prompt. */
QPLAN_API void qplan_sampler_accept(qplan_sampler *sampler, const int32_t *tokens, int64_t count);

/** Frees a sampler. NULL is allowed. */
QPLAN_API void qplan_sampler_free(qplan_sampler *sampler);

/*===- The machine ----------------------------------------------------------*/

/** Writes those of `features` (comma separated LLVM names, "avx2,fma"; a leading '+' is skipped)
 *  that this machine lacks, comma separated, to `missing` [missing_size], cut to fit; returns how
 *  many. A name that the library does not know counts as missing. Asks the kernel for AMX. */
QPLAN_API int qplan_cpu_missing(const char *features, char *missing, size_t missing_size);

/** Cores this process may use: its affinity mask, and the CPU quota of its control group. >= 1. */
QPLAN_API int qplan_cpu_count(void);

/** "0.1.0" */
QPLAN_API const char *qplan_version(void);

#ifdef __cplusplus
}
#endif
#endif /* QPLAN_RUNTIME_H */
