/*===- embed.c - rows of the embedding table ------------------------------===//
 *
 * The table lies in panels like any linear (it may be the output layer as well),
 * so one row is a 16th of each step of its panel: whole steps are decoded and one
 * lane is kept. That reads 16 times the bytes, of one row a token.
 *===----------------------------------------------------------------------===*/
#include "mixed.h"

QK_KERNEL(embed) {
  QkPanels w =
      qkPanels(params[1], params[0], params[2], params[3], params[4], params[5], params[6]);
  float multiplier = (float)qkDouble(params[7]);
  QkRange rows = qkPart(args->tokens, index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    int64_t token = args->token_ids[row];
    const uint8_t *panel = weights[0] + token / 16 * w.panelBytes;
    QkTable table = qkTable(&w, panel);
    float *out = (float *)buffers[0] + row * w.K;
    if (w.element == QK_TRELLIS) {
      QkTrellis t = qkTrellis(w.K, w.offset);
      v16f scale = qkTrellisScale(panel);
      for (int64_t k = 0; k < w.K; ++k)
        out[k] = (vtofloat(qkTrellisColumn(&t, panel, k)) * scale)[token % 16] * multiplier;
      continue;
    }
    if (w.element == QK_MIXED) {
      float block[QkMixedColumns * 16] __attribute__((aligned(64)));
      const uint8_t *codes = panel + w.codesAt;
      for (int64_t k = 0; k < w.K; k += QkMixedColumns) {
        int64_t group = k / QkMixedColumns, width = qkMixedWidth(panel, group);
        v16f scale = qkMixedScale(&w, panel, group, width);
        QK_MIXED_SWITCH(width, qkMixedDecode(&w, ELEMENT, codes, scale, block, 16))
        codes += qkMixedBytes(width);
        for (int64_t j = 0; j < QkMixedColumns; ++j)
          out[k + j] = block[j * 16 + token % 16] * multiplier;
      }
      continue;
    }
    for (int64_t k = 0; k < w.K; k += w.chunkColumns) {
      QkChunk chunk = qkChunk(&w, panel + w.codesAt, k, 0);
      v16f scale = qkScale(&w, panel, k / w.group);
      v16f min = w.hasMin ? qkMinOf(&w, panel, k / w.group) : (v16f)0.0f;
      QK_UNROLL for (int64_t j = 0; j < w.chunkColumns; ++j) {
        v16f value = qkColumn(&w, &chunk, j, table);
        value = w.hasMin ? vfma(value, scale, min) : value * scale;
        if (k + j < w.K)
          out[k + j] = value[token % 16] * multiplier;
      }
    }
  }
}
QK_TASKS(embed) { return qkRowTasks(args->tokens, params[0] * 8, threads); }

QK_KERNEL(add_positions) {
  int64_t K = params[0], offset = params[1];
  QkRange rows = qkPart(args->tokens, index, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    float *x = (float *)buffers[0] + row * K;
    const float *added = (const float *)weights[0] + (args->positions[row] + offset) * K;
    for (int64_t k = 0; k < K; k += 16)
      vstoren(x + k, vloadn(x + k, K - k) + vloadn(added + k, K - k), K - k);
  }
}
QK_TASKS(add_positions) { return qkRowTasks(args->tokens, params[0], threads); }
