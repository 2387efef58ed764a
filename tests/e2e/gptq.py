#!/usr/bin/env python3
"""GPTQ on the tiny model: nearer to f32 than rounding with the same scales, the code that is
emitted computes the form with quantize and dequantize, and threads do not matter.

usage: gptq.py WORK_FOLDER TREATMENT...

Each TREATMENT is of the form FORMAT@gptq[{...}] and is compared with FORMAT@mse.
"""
import filecmp
import sys
from pathlib import Path

from e2e import CALIBRATION, TINY, check, compiled, describe, distance, finish, logits, tiny_ids

work = Path(sys.argv[1])
work.mkdir(parents=True, exist_ok=True)
ids = tiny_ids(work / "ids.safetensors")
calibration = ["--calib", CALIBRATION, "--calib-samples", 16, "--calib-length", 256]
exact = logits(compiled(TINY, work / "f32.qplan", "--quant", "f32"), ids, work / "f32.safetensors")

for treatment in sys.argv[2:]:
    plan = compiled(TINY, work / "plan.qplan", "--quant", treatment, *calibration)
    plain = compiled(TINY, work / "mse.qplan", "--quant", treatment.split("@")[0] + "@mse",
                     *calibration)
    found, nearest = distance(plan, ids, exact), distance(plain, ids, exact)
    print(f"{treatment:28} {describe(found)}; @mse {describe(nearest)}", flush=True)
    check(found["kl_mean"] < nearest["kl_mean"], f"{treatment} is no nearer to f32 than @mse")
    reference = compiled(TINY, work / "qdq.qplan", "--quant", treatment, *calibration, "--qdq")
    same = distance(plan, ids, logits(reference, ids, work / "qdq.safetensors"))
    check(same["max_difference"] <= 1e-3, f"{treatment} is not its QDQ form: {describe(same)}")
    one = compiled(TINY, work / "one.qplan", "--quant", treatment, *calibration, "--threads", 1)
    check(filecmp.cmp(plan / "weights.bin", one / "weights.bin", shallow=False),
          f"{treatment}: weights depend on the number of threads")
finish()
