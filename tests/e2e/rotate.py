#!/usr/bin/env python3
"""Rotations of whole models: the logits stay, emitted code is the QDQ form, and recipes,
statistics and fronts say what was rotated.

usage: rotate.py WORK_FOLDER
"""
import json
import sys
from pathlib import Path

from e2e import (CALIBRATION, INPUTS, TINY, check, compiled, describe, distance, finish, logits,
                 qplan, tiny_ids)

work = Path(sys.argv[1])
work.mkdir(parents=True, exist_ok=True)

# Upstream's logits, by the emitted code; layer norms let the stream alone.
for model, what in [("llama_gqa", "all"), ("mixtral", "all"), ("gemma2", "all"), ("olmo2", "all"),
                    ("qwen2", "all"), ("gpt2", "values+down")]:
    plan = compiled(INPUTS / "zoo" / model, work / "zoo.qplan", "--quant", "f32", "--rotate", what)
    golden = INPUTS / "zoo" / model / "golden.safetensors"
    found, _ = qplan("logits", plan, "--compare", golden, "--json")  # status 1 beyond 1e-3
    print(f"{model:12} {what:12} {describe(json.loads(found))}", flush=True)

ids = tiny_ids(work / "ids.safetensors")
exact = logits(compiled(TINY, work / "f32.qplan", "--quant", "f32"), ids, work / "f32.safetensors")
calibration = ["--calib", CALIBRATION, "--calib-samples", 8, "--calib-length", 256]

# The emitted code is the QDQ form.
for treatment in ["int8a8", "int4_g64@gptq"]:
    options = ["--quant", treatment, "--rotate", "all", *calibration]
    plan = compiled(TINY, work / "plan.qplan", *options, "--save-recipe", work / "r.recipe")
    reference = compiled(TINY, work / "qdq.qplan", *options, "--qdq")
    same = distance(plan, ids, logits(reference, ids, work / "qdq.safetensors"))
    bound = 3e-2 if "a8" in treatment else 1e-3
    check(same["rms_difference"] <= bound, f"{treatment} is not its QDQ form: {describe(same)}")
    print(f"{treatment:12} {describe(distance(plan, ids, exact))}", flush=True)

facts = json.loads(qplan("inspect", plan, "--json")[0])
check(facts["rotate"] == "residual+values+down", f"inspect says {facts.get('rotate')}")

# A recipe rotates by itself, and is not taken for another model.
text = (work / "r.recipe").read_text()
check("rotate: residual+values+down\n" in text, f"the recipe does not say what is rotated: {text}")
again = compiled(TINY, work / "again.qplan", "--recipe", work / "r.recipe", *calibration)
check((again / "weights.bin").read_bytes() == (plan / "weights.bin").read_bytes(),
      "the recipe gives another plan")
check((again / "recipe.txt").read_text() == (plan / "recipe.txt").read_text(),
      "the recipe of the recipe's plan differs")


def refused(what, status, part, *options):
    _, errors = qplan("compile", TINY, "-o", work / "no.qplan", *options, status=status)
    check(part in errors, f"{what}: {errors}")
    check(not (work / "no.qplan").exists(), f"{what}: something was written")


refused("another rotation than the recipe's", 2, "is for rotate: residual+values+down",
        "--recipe", work / "r.recipe", "--rotate", "down", *calibration)
statistics = ["--statistics", work / "s.json", *calibration]
compiled(TINY, work / "plan.qplan", "--quant", "int8a8s", "--rotate", "down", *statistics)
refused("statistics of another rotation", 1, "made with --rotate down, but this run has none",
        "--quant", "int8a8s", *statistics)
refused("statistics of another rotation, without text", 1, "made with --rotate 'down', this run has ''",
        "--quant", "int8a8s", "--statistics", work / "s.json")

# A front is of one rotation, and its recipes rotate.
front, recipe = work / "front.json", work / "f.recipe"
qplan("search", TINY, "-o", front, "--auto", "int4_g64@mse,int8a8", "--rotate", "down", *calibration)
ask = ["search", "--front", front, "--effective-bits", 6, "--save-recipe", recipe]
qplan(*ask)
check("rotate: down\n" in recipe.read_text(), f"the front's recipe: {recipe.read_text()}")
_, errors = qplan(*ask, "--rotate", "all", status=2)
check("that search was of one with rotate: down" in errors, errors)
finish()
