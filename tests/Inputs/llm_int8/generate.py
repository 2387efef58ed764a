#!/usr/bin/env python3
"""Writes golden.txt: what bitsandbytes makes of small products with outlier columns.

Needs torch and bitsandbytes 0.50 (its CPU ops). Each case is a few lines, `key values...`:
  case ROWS COLUMNS OUTPUTS THRESHOLD
  x        activations, f16 values           wcodes   int8 codes of the weights
  wscales  largest magnitude of each weight row (bitsandbytes' SCB; scale = that / 127)
  outliers columns that stay in floating point
  codes    int8 codes of the activations     scales   largest magnitude of each row (SCA)
  y        int8_mixed_scaled_mm in f16
"""
import pathlib

import torch
import bitsandbytes  # noqa: F401, defines the ops

ops = torch.ops.bitsandbytes
lines = []
for seed, (rows, columns, outputs, threshold) in enumerate([(1, 64, 16, 6.0), (5, 96, 24, 6.0),
                                                            (4, 100, 17, 2.5), (3, 64, 16, 1e4)]):
    torch.manual_seed(seed)
    x = torch.randn(rows, columns).half()
    x[0, 5], x[rows - 1, 40], x[rows - 1, 5] = 8.0, -6.0, 5.9
    w = torch.randn(outputs, columns).half()
    wcodes, wscales, _ = ops.int8_vectorwise_quant(w)
    codes, scales, outliers = ops.int8_vectorwise_quant(x.clone(), threshold)
    y, _ = ops.int8_mixed_scaled_mm(x, codes, wcodes, scales, wscales, outliers, None)
    if rows == 1:  # bitsandbytes leaves single rows as their outliers were zeroed: the same
        assert (codes[:, outliers] == 0).all()
    lines.append(f"case {rows} {columns} {outputs} {threshold}")
    for key, values in [("x", x), ("wcodes", wcodes), ("wscales", wscales),
                        ("outliers", outliers), ("codes", codes), ("scales", scales), ("y", y)]:
        lines.append(" ".join([key] + [f"{v:.9g}" for v in values.float().flatten().tolist()]))
pathlib.Path(__file__).with_name("golden.txt").write_text("\n".join(lines) + "\n")
