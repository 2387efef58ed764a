/*===- moe.c - which experts a token goes to, and their weighted sum ------===//
 *
 * Routing is small and serial: it sorts the slots of all tokens by expert, so
 * that each expert's matrix is read once for all tokens that chose it.
 *===----------------------------------------------------------------------===*/
#include "vmath.h"

/* exp(logits - max) of row x to p, returns the sum. */
QK_INLINE float exponentials(const float *x, float *p, int64_t n) {
  float largest = x[0];
  for (int64_t e = 1; e < n; ++e)
    largest = x[e] > largest ? x[e] : largest;
  float sum = 0;
  for (int64_t e = 0; e < n; ++e) {
    p[e] = vexp((v16f)(x[e] - largest))[0];
    sum += p[e];
  }
  return sum;
}

/* Chooses topk experts of one row, the largest logit first. */
QK_INLINE void routeRow(const float *x, int64_t experts, int64_t topk, int64_t mode, float *weights,
                        int32_t *chosen) {
  float picked[topk], p[topk];
  for (int64_t k = 0; k < topk; ++k) {
    int64_t best = -1;
    for (int64_t e = 0; e < experts; ++e) {
      int taken = 0;
      for (int64_t i = 0; i < k; ++i)
        taken |= chosen[i] == e;
      if (!taken && (best < 0 || x[e] > x[best]))
        best = e;
    }
    chosen[k] = (int32_t)best;
    picked[k] = x[best];
  }
  float sum = exponentials(picked, p, topk);
  if (mode == 1) { /* over all: the largest is picked[0] */
    sum = 0;
    for (int64_t e = 0; e < experts; ++e)
      sum += vexp((v16f)(x[e] - picked[0]))[0];
  }
  for (int64_t k = 0; k < topk; ++k)
    weights[k] = p[k] / sum;
}

QK_KERNEL(moe_route) {
  int64_t experts = params[0], topk = params[1], T = args->tokens;
  if (index != 0)
    return;
  float *shares = (float *)buffers[1];
  int32_t *offsets = (int32_t *)buffers[2], *list = (int32_t *)buffers[3];
  int32_t chosen[topk];
  for (int64_t e = 0; e <= experts; ++e)
    offsets[e] = 0;
  for (int64_t t = 0; t < T; ++t) {
    routeRow((const float *)buffers[0] + t * experts, experts, topk, params[2], shares + t * topk,
             chosen);
    for (int64_t k = 0; k < topk; ++k)
      ++offsets[chosen[k] + 1];
  }
  for (int64_t e = 0; e < experts; ++e)
    offsets[e + 1] += offsets[e];
  for (int64_t t = 0; t < T; ++t) {
    routeRow((const float *)buffers[0] + t * experts, experts, topk, params[2], shares + t * topk,
             chosen);
    for (int64_t k = 0; k < topk; ++k)
      list[offsets[chosen[k]]++] = (int32_t)(t * topk + k);
  }
  /* Each offset has moved to the start of the next expert. */
  for (int64_t e = experts; e > 0; --e)
    offsets[e] = offsets[e - 1];
  offsets[0] = 0;
}
QK_TASKS(moe_route) { return 1; }

QK_KERNEL(moe_combine) {
  int64_t K = params[0], topk = params[1];
  QkRange rows = qkPart(args->tokens, index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float *y = (const float *)buffers[0] + row * topk * K;
    const float *shares = (const float *)buffers[1] + row * topk;
    float *out = (float *)buffers[2] + row * K;
    for (int64_t k = 0; k < K; k += 16) {
      v16f sum = (v16f)0.0f;
      for (int64_t i = 0; i < topk; ++i)
        sum = vfma(vloadn(y + i * K + k, K - k), (v16f)shares[i], sum);
      if (params[2])
        sum += vloadn((const float *)buffers[3] + row * K + k, K - k);
      vstoren(out + k, sum, K - k);
    }
  }
}
QK_TASKS(moe_combine) { return qkRowTasks(args->tokens, params[0] * params[1], threads); }
