#!/usr/bin/env python3
"""The statistics that a search leaves on the tiny model.

usage: scores.py WORK_FOLDER

Better methods and formats have smaller errors; results do not depend on threads; a file that
was kept half way gives what a file made at once gives; another budget needs no text.
"""
import json
import signal
import sys
from pathlib import Path

from e2e import CALIBRATION, TINY, check, finish, qplan, stopped

work = Path(sys.argv[1])
work.mkdir(parents=True, exist_ok=True)
calibration = ["--calib", CALIBRATION, "--calib-samples", 4, "--calib-length", 128]
candidates = "int4_g64,int4_g64@gptq,int4_g64@awq{clip=1},tcq3@gptq{beam=8},int8a8,int8a8s@smoothquant{alpha=0.5},bf16"


def search(statistics, *options, bits=4.5):
    """The text of the recipe for `bits` bits a weight."""
    recipe = work / "row.recipe"
    qplan("search", TINY, "--auto", candidates, "--effective-bits", bits, "--save-recipe", recipe, "--statistics",
          statistics, *options)
    return recipe.read_text()


path = work / "statistics.json"
path.unlink(missing_ok=True)
recipe = search(path, *calibration, "--threads", 2)
whole = path.read_bytes()
found = json.loads(whole)
sites = [site for site in found["sites"] if "cache" not in site and site.startswith("layers")]
for site in sites:
    traces = found["traces"][site]
    check(traces["int4_g64@gptq"] < traces["int4_g64"], f"{site}: gptq is no better than nothing")
    check(traces["int4_g64@gptq"] < traces["tcq3@gptq{beam=8}"], f"{site}: 3 bits are better than 4")
    check(traces["bf16"] == 0, f"{site}: bf16 changes weights that are stored in it")
    check(0 < traces["input int8_token"] < traces["int4_g64"], f"{site}: activations of 8 bits")
    check(len(found["scores"][site]) == 1, f"{site}: more than the probe was measured")

total = lambda name: sum(found["traces"][site][name] for site in sites)
check(total("int4_g64@awq{clip=1}") < total("int4_g64"), "awq is no better than nothing")

one = work / "one.json"
one.unlink(missing_ok=True)
check(search(one, *calibration, "--threads", 1) == recipe, "the recipe depends on threads")
check(one.read_bytes() == whole, "statistics depend on threads")

# Another budget is weighed by what is known.
check("tcq3@gptq" in search(path, *calibration, bits=3.2), "3.2 bits are reached without 3-bit weights")
check(path.read_bytes() == whole, "statistics changed though nothing was measured")

# Killed half way; then gone on with.
half = work / "half.json"
half.unlink(missing_ok=True)
stopped(["search", TINY, "--auto", candidates, "--effective-bits", "4.5", "--save-recipe", work / "half.recipe",
         "--statistics", half, *calibration], half, signal.SIGKILL)
kept = json.loads(half.read_text())
check(kept["scores"] and kept["traces"], "nothing was kept")
check(search(half, *calibration) == recipe, "a search that went on found another recipe")
check(half.read_bytes() == whole, "statistics that went on are others")
finish()
