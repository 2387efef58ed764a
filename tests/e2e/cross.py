#!/usr/bin/env python3
"""Plans for AArch64 give the answers of plans for x86-64.

usage: cross.py WORK_FOLDER C_COMPILER zoo|tiny

Compiles for two AArch64 targets, links each model.o with tests/link/cross_forward.c (plain C
over abi.h) against the cross C library, and runs it in qemu. zoo: within 1e-3 of upstream's
logits. tiny: rms within 1e-2 of the logits of the x86-64-v3 plan. (Both fuse multiply-adds in
the same places and give the same bits, but the last position is a decode step in one and part
of the prompt in the other.)
"""
import struct
import subprocess
import sys
from pathlib import Path

from e2e import (INPUTS, TINY, check, compiled, counted_ids, finish, logits, read_tensor,
                 tiny_ids)

SOURCE = INPUTS.parent / "link" / "cross_forward.c"
INCLUDE = INPUTS.parent.parent / "runtime" / "include"
# target, and a processor of qemu's that has its features
TARGETS = [("aarch64-linux", "cortex-a53"), ("aarch64-linux:neoverse-v1", "max")]


def emulated(model, target, processor, ids, *options):
    """Logits of `model` compiled for `target`, as a flat tuple."""
    plan = compiled(model, work / "cross.qplan", "--target", target, "--name", "cross", *options)
    program, given, out = work / "cross", work / "ids.bin", work / "out.bin"
    subprocess.run([compiler, "--target=aarch64-linux-gnu", "-std=gnu11", "-O1", "-static",
                    "-fuse-ld=lld", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}",
                    f'-DMODEL_HEADER="{plan}/model.h"', "-DMODEL_QUERY=cross_query", SOURCE,
                    plan / "model.o", "-o", program], check=True)
    shape, values = read_tensor(ids, "input_ids")
    given.write_bytes(struct.pack(f"<{len(values) + 2}i", *shape, *values))
    subprocess.run(["qemu-aarch64", "-cpu", processor, program, plan / "weights.bin", given, out],
                   check=True, stdout=subprocess.DEVNULL)
    raw = out.read_bytes()
    return struct.unpack(f"<{len(raw) // 4}f", raw)


def compare(what, found, expected):
    """(max, rms) of the difference, in standard deviations of `expected`."""
    check(len(found) == len(expected), f"{what}: {len(found)} logits, expected {len(expected)}")
    mean = sum(expected) / len(expected)
    deviation = (sum((x - mean) ** 2 for x in expected) / len(expected)) ** 0.5
    apart = [abs(a - b) / deviation for a, b in zip(found, expected)]
    largest = max(apart) if all(a == a for a in apart) else float("nan")
    rms = (sum(a * a for a in apart) / len(apart)) ** 0.5
    print(f"{what:50} max {largest:.2e} rms {rms:.2e}", flush=True)
    return largest, rms


def zoo():
    for name in ["llama_gqa", "mixtral"]:
        golden = INPUTS / "zoo" / name / "golden.safetensors"
        for target, processor in TARGETS:
            found = emulated(INPUTS / "zoo" / name, target, processor, golden, "--quant", "f32")
            largest, _ = compare(f"{name} f32 {target}", found, read_tensor(golden, "logits")[1])
            check(largest <= 1e-3, f"{name} {target}: expected max 1e-3")


def tiny():
    text = tiny_ids(work / "text.safetensors", rows=2, positions=16)
    few = counted_ids(work / "few.safetensors", 64, positions=12)
    for model, ids, cache, options in [(TINY, text, "f32", ["--quant", "int4_g64"]),
                                       (TINY, text, "int4", ["--quant", "int8a8"]),
                                       (INPUTS / "gguf" / "gpt2-q8_0.gguf", few, "fp8", [])]:
        options = [*options, "--kv-cache", cache]
        plan = compiled(model, work / "x86.qplan", "--target", "cpu:x86-64-v3", *options)
        expected = read_tensor(logits(plan, ids, work / "x86.safetensors"), "logits")[1]
        for target, processor in TARGETS:
            found = emulated(model, target, processor, ids, *options)
            what = f"{model.name} {' '.join(options)} {target}"
            largest, rms = compare(what, found, expected)
            check(rms <= 1e-2, f"{what}: expected rms 1e-2")


work, compiler = Path(sys.argv[1]).resolve(), sys.argv[2]
work.mkdir(parents=True, exist_ok=True)
{"zoo": zoo, "tiny": tiny}[sys.argv[3]]()
finish()
