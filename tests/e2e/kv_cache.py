#!/usr/bin/env python3
"""Caches of every format, over text on the trained tiny model.

usage: kv_cache.py WORK_FOLDER FORMAT...

For each format: the plan gives the logits of its QDQ form; tokens that go through the cache one
by one or in pieces give the logits that the whole text gives at once; the figures of `inspect`
and of the model's header are those of the format. One statistics file serves the formats whose
scales are calibrated. The bounds are those of treatments.py for text: where two orders of a sum
differ by an ulp, some code falls on the other side of its boundary.
"""
import json
import sys
from pathlib import Path

from e2e import CALIBRATION, TINY, check, compiled, describe, distance, finish, logits, qplan, tiny_ids

# bytes of the 64 keys of a head
VECTOR = {"f16": 128, "int8": 68, "int4": 37, "fp8": 64, "fp8_head": 64, "nvfp4": 36}
work = Path(sys.argv[1])
work.mkdir(parents=True, exist_ok=True)
ids = tiny_ids(work / "ids.safetensors", positions=96)


def text_bounds(found, what):
    print(f"{what:24} {describe(found)}", flush=True)
    check(found["rms_difference"] <= 5e-2 and found["kl_mean"] <= 5e-3,
          f"{what}: expected rms 5e-2, KL 5e-3")


for cache in sys.argv[2:]:
    options = ["--quant", "f32", "--kv-cache", cache]
    if cache in ("fp8", "fp8_head", "nvfp4"):
        options += ["--calib", CALIBRATION, "--calib-samples", 4, "--calib-length", 128,
                    "--statistics", work / "statistics"]
    plan = compiled(TINY, work / "plan.qplan", *options)
    whole = logits(plan, ids, work / "whole.safetensors")
    qdq = compiled(TINY, work / "qdq.qplan", *options, "--qdq")
    text_bounds(distance(plan, ids, logits(qdq, ids, work / "qdq.safetensors")), f"{cache} qdq")
    # Passes of at most 1 row are decoding; of 40, a prefill in pieces.
    for rows in (1, 40):
        out, _ = qplan("logits", plan, "--input-ids", ids, "--compare", whole, "--tolerance", 1e30,
                       "--chunk", rows, "--json")
        text_bounds(json.loads(out), f"{cache} by {rows}")
    facts = json.loads(qplan("inspect", plan, "--json")[0])
    memory = facts["memory"]
    found, expected = memory["kv_page_bytes"] / memory["kv_page_tokens"], VECTOR[cache] * 6 * 2 * 2
    check(found == expected, f"{cache}: {found} bytes a token, expected {expected}: 6 layers, 2 "
                             "heads, keys and values")
    check(facts["kv_cache"].startswith(cache.split("_")[0]),
          f"{cache}: inspect says {facts['kv_cache']}")
finish()
