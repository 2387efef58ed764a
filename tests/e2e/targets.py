#!/usr/bin/env python3
"""Every x86-64 level gives the same answers.

usage: targets.py WORK_FOLDER zoo|tiny

zoo:  f32 plans of four architectures reproduce upstream's logits and greedy ids on each level.
tiny: quantized plans of all levels that have a fused multiply-add give the same bits, and agree
      with the portable level, as far as rounded activations let them (treatments.py says why).
A level whose features this machine lacks is refused with status 4, not run.
"""
import subprocess
import sys
from pathlib import Path

from e2e import (INPUTS, TINY, check, compiled, describe, distance, finish, logits, tiny_ids)

LEVELS = ["cpu:x86-64", "cpu:x86-64-v3", "cpu:x86-64-v4", "cpu:x86-64-v4+avx512vnni"]
# treatment, format of the cache, and bounds between any level and the portable one: max, rms, KL
TINY_BOUNDS = [("int4_g64", "f32", 1e-3, 1e-3, 1e-4), ("int8a8", "f32", 2, 5e-2, 5e-3),
               ("q4_0", "f32", 2, 5e-2, 5e-3), ("int8", "int4", 2, 5e-2, 5e-3),
               ("int8", "fp8", 2, 5e-2, 5e-3)]


def runs(plan, ids):
    """Whether this machine can run `plan`; if not, the message names what is missing."""
    done = subprocess.run(["qplan", "logits", plan, "--input-ids", ids, "-o",
                           work / "try.safetensors"], capture_output=True, text=True)
    if done.returncode == 4:
        check("avx" in done.stderr, f"the refusal names no feature: {done.stderr}")
        return False
    check(done.returncode == 0, f"{plan}: status {done.returncode}: {done.stderr}")
    return done.returncode == 0


def zoo():
    for name in ["llama_gqa", "mixtral", "gpt2", "gemma2"]:
        golden = INPUTS / "zoo" / name / "golden.safetensors"
        for level in LEVELS[:3]:  # f32 has nothing for the dot products of the last
            plan = compiled(INPUTS / "zoo" / name, work / "plan.qplan", "--quant", "f32",
                            "--target", level)
            if not runs(plan, golden):
                print(f"{name:12} {level:26} not for this machine")
                continue
            found = distance(plan, golden, golden)
            print(f"{name:12} {level:26} {describe(found)}", flush=True)
            check(found["max_difference"] <= 1e-3 and found["greedy_equal"],
                  f"{name} {level}: expected max 1e-3 and the same greedy ids")


def tiny():
    ids = tiny_ids(work / "ids.safetensors")
    for treatment, cache, largest, rms, kl in TINY_BOUNDS:
        first = {}
        for level in LEVELS:
            plan = compiled(TINY, work / "plan.qplan", "--quant", treatment, "--target", level,
                            "--kv-cache", cache)
            if not runs(plan, ids):
                print(f"{treatment:12} {cache:4} {level:26} not for this machine")
                continue
            fused = level != LEVELS[0]
            if fused not in first:
                first[fused] = logits(plan, ids, work / f"first{int(fused)}.safetensors")
            same, portable = distance(plan, ids, first[fused]), distance(plan, ids, first[False])
            print(f"{treatment:12} {cache:4} {level:26} {describe(portable)}", flush=True)
            check(same["max_difference"] == 0,
                  f"{treatment} {cache} {level}: {describe(same)}: expected the bits of the first level that "
                  "has fused multiply-add")
            check(portable["max_difference"] <= largest and portable["rms_difference"] <= rms
                  and portable["kl_mean"] <= kl,
                  f"{treatment} {cache} {level}: expected max {largest}, rms {rms}, KL {kl}")


work = Path(sys.argv[1])
work.mkdir(parents=True, exist_ok=True)
{"zoo": zoo, "tiny": tiny}[sys.argv[2]]()
finish()
