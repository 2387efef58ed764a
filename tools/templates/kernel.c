/*===- @Name@.c - @summary@ @@fill===*
 *
 * Rows are split evenly among the tasks; each is copied as it is.
 *===----------------------------------------------------------------------===*/
#include "simd.h"

/* params: K. buffers: in, out, both f32[T,K]. */
QK_EXPORT int64_t qk_@Name@_tasks(const qplan_args_v1 *args, const int64_t *params, int64_t threads) {
  return args->tokens < threads ? args->tokens : threads;
}

QK_EXPORT void qk_@Name@(const qplan_args_v1 *args, const int64_t *params, uint8_t *const *buffers,
                         const uint8_t *const *weights, int64_t index, int64_t count) {
  const int64_t width = params[0];
  const int64_t first = args->tokens * index / count, last = args->tokens * (index + 1) / count;
  const float *in = (const float *)buffers[0];
  float *out = (float *)buffers[1];
  for (int64_t i = first * width; i < last * width; ++i)
    out[i] = in[i];
}
