/*===- outliers.c - columns of activations that stay in f32 ---------------===//
 *
 * LLM.int8() as bitsandbytes computes it: a column in which any row of the pass
 * reaches the threshold is left out of the int8 product (its codes are 0) and is
 * multiplied in f32 with the dequantized weights. The scale of a row comes from its
 * values below the threshold, those of outlier columns included.
 *===----------------------------------------------------------------------===*/
#include "panel.h"
#include "quantize.h"

QK_KERNEL(outlier_mask) {
  int64_t K = params[0], ld = params[1], rows = qkRows(args, params[3]);
  float threshold = (float)qkDouble(params[2]);
  float *mask = (float *)buffers[1];
  QkRange blocks = qkPart(qkCeilDiv(K, 16), index, count);
  for (int64_t k = blocks.begin * 16; k < qkMin(blocks.end * 16, K); k += 16) {
    v16f largest = (v16f)0.0f;
    for (int64_t row = 0; row < rows; ++row)
      largest = vmax(vabs(vloadn((const float *)buffers[0] + row * ld + k, K - k)), largest);
    vstoren(mask + k, largest >= threshold ? (v16f)0.0f : (v16f)1.0f, K - k);
  }
}
QK_TASKS(outlier_mask) { return qkRowTasks(params[0] / 16, 16 * qkRows(args, params[3]), threads); }

/* The step of a row: from its values below the threshold. */
QK_INLINE QkStep stepBelow(const float *x, int64_t K, float threshold) {
  v16f best = (v16f)0.0f;
  for (int64_t k = 0; k < K; k += 16) {
    v16f a = vabs(vloadn(x + k, K - k));
    best = vmax(a < threshold ? a : (v16f)0.0f, best);
  }
  return qkStepOf(0, vhmax(best));
}

/* Codes of columns k .. k + 15 as floats: 0 in outlier columns. */
QK_INLINE v16f codesOf(QkStep step, const float *x, const float *mask, int64_t k, int64_t n) {
  return qkCodes(0, step, vloadn(x + k, n) * vloadn(mask + k, n));
}

QK_KERNEL(quantize_outliers) {
  int64_t K = params[0], ld = params[1], Kp = qkAlign64(K), sumGroup = qkMin(params[2], K);
  float threshold = (float)qkDouble(params[3]);
  const float *mask = (const float *)buffers[1];
  QkRange rows = qkPart(qkRows(args, params[4]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float *x = (const float *)buffers[0] + row * ld;
    int8_t *codes = (int8_t *)buffers[2] + row * Kp;
    int32_t *sums = (int32_t *)buffers[4] + row * qkCeilDiv(K, sumGroup);
    QkStep step = stepBelow(x, K, threshold);
    ((float *)buffers[3])[row] = step.stored;
    for (int64_t begin = 0; begin < K; begin += sumGroup) {
      int64_t end = qkMin(begin + sumGroup, K);
      v16i sum = (v16i)0;
      for (int64_t k = begin; k < end; k += 16) {
        v16i code = vtoint(codesOf(step, x, mask, k, end - k));
        v16c bytes = __builtin_convertvector(code, v16c);
        __builtin_memcpy(codes + k, &bytes, (unsigned long)qkMin(16, end - k));
        sum += code;
      }
      sums[begin / sumGroup] = vsumi(sum);
    }
    __builtin_memset(codes + K, 0, (unsigned long)(Kp - K));
  }
}
QK_TASKS(quantize_outliers) { return qkRowTasks(qkRows(args, params[4]), params[0], threads); }

QK_KERNEL(split_outliers) {
  int64_t K = params[0], kind = params[1];
  float threshold = (float)qkDouble(params[2]);
  const float *mask = (const float *)buffers[1];
  QkRange rows = qkPart(qkRows(args, params[3]), index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float *x = (const float *)buffers[0] + row * K;
    float *out = (float *)buffers[2] + row * K;
    QkStep step = stepBelow(x, K, threshold);
    for (int64_t k = 0; k < K; k += 16) {
      v16f value = kind ? vloadn(x + k, K - k) * (1.0f - vloadn(mask + k, K - k))
                        : codesOf(step, x, mask, k, K - k) * step.stored;
      vstoren(out + k, value, K - k);
    }
  }
}
QK_TASKS(split_outliers) { return qkRowTasks(qkRows(args, params[3]), params[0], threads); }

enum { MostColumns = 64 };

/* Column k of a panel, dequantized. */
QK_INLINE v16f columnOf(const QkPanels *w, const uint8_t *panel, int64_t k, QkTable table) {
  v16f value = qkColumnAt(w, panel + w->codesAt, k, table);
  v16f scale = qkScale(w, panel, k / w->group);
  return w->hasMin ? vfma(value, scale, qkMinOf(w, panel, k / w->group)) : value * scale;
}

QK_KERNEL(linear_outliers) {
  QkPanels w =
      qkPanels(params[0], params[1], params[2], params[3], params[4], params[5], params[6]);
  int64_t ldi = params[7], ldo = params[8], rows = qkRows(args, params[11]);
  float alpha = (float)qkDouble(params[10]);
  const float *input = (const float *)buffers[0], *mask = (const float *)buffers[1];
  float *out = (params[12] ? args->logits : (float *)buffers[2]) + params[9];
  QkRange panels = qkPart(w.panels, index, count);
  for (int64_t next = 0; next < w.K;) {
    int64_t columns[MostColumns], n = 0;
    for (; next < w.K && n < MostColumns; ++next)
      if (mask[next] == 0.0f)
        columns[n++] = next;
    if (n == 0)
      return;
    for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
      const uint8_t *at = weights[0] + panel * w.panelBytes;
      QkTable table = qkTable(&w, at);
      v16f weight[MostColumns];
      for (int64_t c = 0; c < n; ++c)
        weight[c] = columnOf(&w, at, columns[c], table);
      int64_t left = w.N - panel * 16;
      for (int64_t row = 0; row < rows; ++row) {
        v16f y = (v16f)0.0f;
        for (int64_t c = 0; c < n; ++c)
          y = vfma(weight[c], (v16f)input[row * ldi + columns[c]], y);
        float *to = out + row * ldo + panel * 16;
        vstoren(to, vfma(y, (v16f)alpha, vloadn(to, left)), left);
      }
    }
  }
}
QK_TASKS(linear_outliers) {
  /* As if a few columns were outliers. */
  int64_t work = params[0] * 16 * qkRows(args, params[11]);
  return qkMax(1, qkMin(qkMin(qkCeilDiv(params[0], 16), threads), work / 65536));
}
