#!/usr/bin/env python3
"""What a search measures of its choice, on the tiny model.

usage: exchange.py WORK_FOLDER

The divergence of the assembled model is that of the emitted plan on the same text; rows that were
rounded for it are those that a recipe gives; exchanges keep the budget and lower what is measured,
whatever the number of threads.
"""
import filecmp
import json
import sys
from pathlib import Path

from e2e import CALIBRATION, TINY, check, compiled, finish, qplan

work = Path(sys.argv[1])
work.mkdir(parents=True, exist_ok=True)

# All of a text of eight windows is what choices are measured on.
text = work / "text.txt"
text.write_bytes(CALIBRATION.read_bytes()[:3500])
statistics = work / "statistics.json"
statistics.unlink(missing_ok=True)
calibration = ["--calib", text, "--calib-samples", 4, "--calib-length", 128, "--statistics", statistics]
candidates = "int4_g64,int4_g64@gptq,tcq3@gptq{beam=8},int8a8,int8a8s@smoothquant{alpha=0.5}"
full = compiled(TINY, work / "full.qplan", "--quant", "f32")


options = ["--kv-cache", "f32", "--auto", candidates, "--effective-bits", 4.6, *calibration]


def measured(plan):
    found = json.loads(qplan("eval", plan, "--reference", full, "--text", text, "--window", 128, "--json")[0])
    check(found["windows"] == 8, f"the text has {found['windows']} windows, not 8")
    return found["kl_mean"]


front = work / "front.json"
qplan("search", TINY, "-o", front, "--exchange", 0, *options[2:])
before = json.loads(front.read_text())["chosen"]["measured_kl"]

recipe = work / "mix.recipe"
plan = compiled(TINY, work / "mix.qplan", *options, "--exchange", 3, "--save-recipe", recipe, "--threads", 2)
chosen = json.loads((plan / "search.json").read_text())["chosen"]
kl = chosen["measured_kl"]
check(abs(measured(plan) / kl - 1) < 0.02, f"the plan has a KL of {measured(plan)}, {kl} was measured")
check(kl <= before, "exchanges made it worse")
check(chosen["bits"] <= 4.6, f"{chosen['bits']} bits are above the budget")
check("measured-kl=" in recipe.read_text(), "the recipe does not say what was measured")

# What methods made for the measurements is what they make for a recipe.
again = compiled(TINY, work / "again.qplan", "--kv-cache", "f32", "--recipe", recipe, *calibration)
check(filecmp.cmp(plan / "weights.bin", again / "weights.bin", shallow=False), "the recipe gives other weights")

one, _ = qplan("compile", TINY, "--emit=recipe", *options, "--exchange", 3, "--threads", 1)
check(one.decode() == recipe.read_text(), "exchanges depend on threads")
finish()
