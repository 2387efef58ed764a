#!/usr/bin/env python3
"""The emitted code computes what the quantize-dequantize form says.

usage: treatments.py WORK_FOLDER MODEL weights|activations|text|text-static TREATMENT...

Compiles MODEL (a folder, or a GGUF; the TREATMENT `own` keeps its formats) twice for each
treatment, once as QDQ form in f32, and compares the logits, in standard deviations of them.
A/B/C gives these treatments to the sites in turn: most of the time goes into kernels, one for
each size and format, so that many formats in one model cost little more than one.

  weights      weights alone are quantized: 1e-3 at most, everywhere
  activations  rms 1e-2, KL 1e-4
  text         activations too, over hundreds of tokens: rms 5e-2, KL 5e-3
  text-static  the same at one scale a tensor, which rounds more coarsely: rms 1.2e-1, KL 4e-2

The last is wide because rounding amplifies: where two orders of a sum differ by an ulp, some
code among millions falls on the other side of its boundary, and a few layers later the two are
as far apart as quantization moves them. The QDQ form differs by as much from itself when it
reads a text token by token (tiny, int8a8: rms 2.9e-2, KL 2.4e-3), and both are equally far
from f32 (tiny, int8a8s: KL 0.085 and 0.086, 0.030 from each other). So the narrow bound is for
models and texts that are too small for that.

Methods and static scales that need text share one statistics file.
"""
import sys
from pathlib import Path

from e2e import (CALIBRATION, TINY, check, compiled, counted_ids, describe, distance, finish,
                 logits, qplan, tiny_ids)

BOUNDS = {"weights": (1e-3, 1e-3, 1e-4), "activations": (1, 1e-2, 1e-4), "text": (2, 5e-2, 5e-3),
          "text-static": (4, 1.2e-1, 4e-2)}
work, model, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
work.mkdir(parents=True, exist_ok=True)
ids = work / "ids.safetensors"
tiny_ids(ids) if model == TINY else counted_ids(ids, 64, positions=12)


def chosen(treatment):
    """The options that choose `treatment`."""
    if treatment == "own":
        return []
    choices = treatment.split("/")
    if len(choices) == 1:
        return ["--quant", treatment]
    text, _ = qplan("compile", model, "-o", "-", "--emit=recipe", "--quant", choices[0])
    lines, turn = [], 0
    for line in text.decode().splitlines():
        site, assigned, _ = line.partition(" = ")
        lines.append(f"{site} = {choices[turn % len(choices)]}" if assigned else line)
        turn += bool(assigned)
    check(turn >= len(choices), f"{len(choices)} treatments for {turn} sites")
    recipe = work / "recipe.txt"
    recipe.write_text("\n".join(lines) + "\n")
    return ["--recipe", recipe]


def needs_text(treatment):
    return any("@smoothquant" in each or "@sparsegpt" in each or each.endswith(("a8s", "anvfp4"))
               for each in treatment.split("/"))


for treatment in sys.argv[4:]:
    options = chosen(treatment)
    if needs_text(treatment):
        options += ["--calib", CALIBRATION, "--calib-samples", 8, "--calib-length", 128,
                    "--statistics", work / "statistics"]
    reference = compiled(model, work / "qdq.qplan", *options, "--qdq")
    plan = compiled(model, work / "plan.qplan", *options)
    found = distance(plan, ids, logits(reference, ids, work / "qdq.safetensors"))
    largest, rms, kl = BOUNDS[mode]
    print(f"{model.name} {treatment:24} {describe(found)}", flush=True)
    check(found["max_difference"] <= largest and found["rms_difference"] <= rms
          and found["kl_mean"] <= kl,
          f"{treatment}: expected at most max {largest}, rms {rms}, KL {kl}")
finish()
