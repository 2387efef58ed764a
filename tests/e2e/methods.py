#!/usr/bin/env python3
"""Methods over second moments on the tiny model: nearer to f32 than without the method, the
code that is emitted computes the form with quantize and dequantize, threads do not matter.

usage: methods.py WORK_FOLDER TREATMENT:BASELINE...

The weights of each TREATMENT alone may be quantized, or its activations too, statically.
"""
import filecmp
import sys
from pathlib import Path

from e2e import CALIBRATION, TINY, check, compiled, describe, distance, finish, logits, tiny_ids

work = Path(sys.argv[1])
work.mkdir(parents=True, exist_ok=True)
ids = tiny_ids(work / "ids.safetensors")
calibration = ["--calib", CALIBRATION, "--calib-samples", 8, "--calib-length", 256]
exact = logits(compiled(TINY, work / "f32.qplan", "--quant", "f32"), ids, work / "f32.safetensors")

for pair in sys.argv[2:]:
    treatment, baseline = pair.split(":")
    plan = compiled(TINY, work / "plan.qplan", "--quant", treatment, *calibration)
    plain = compiled(TINY, work / "plain.qplan", "--quant", baseline, *calibration)
    found, other = distance(plan, ids, exact), distance(plain, ids, exact)
    print(f"{treatment:28} {describe(found)}; {baseline} {describe(other)}", flush=True)
    check(found["kl_mean"] < other["kl_mean"], f"{treatment} is no nearer to f32 than {baseline}")
    reference = compiled(TINY, work / "qdq.qplan", "--quant", treatment, *calibration, "--qdq")
    same = distance(plan, ids, logits(reference, ids, work / "qdq.safetensors"))
    # Of static activations treatments.py tells why the bound is wide.
    bound = 1.2e-1 if "a8s" in treatment else 1e-3
    check(same["rms_difference"] <= bound, f"{treatment} is not its QDQ form: {describe(same)}")
    one = compiled(TINY, work / "one.qplan", "--quant", treatment, *calibration, "--threads", 1)
    check(filecmp.cmp(plan / "weights.bin", one / "weights.bin", shallow=False),
          f"{treatment}: weights depend on the number of threads")
finish()
