#!/usr/bin/env python3
"""Checkpoints that other tools quantized keep their codes and scales.

usage: quantized.py WORK_FOLDER

Each folder of Inputs/quantized is compiled as it is: its sites have the treatments of
expected.json, and its logits are those of the tool's weights and activations in f32: to 1e-3
of their standard deviation where weights alone are quantized; else rms 2e-2, since codes of
activations may fall on the other side of a boundary. Rounded again, they stay near.
"""
import json
import sys
from pathlib import Path

from e2e import INPUTS, check, compiled, describe, distance, finish, qplan

work = Path(sys.argv[1])
work.mkdir(parents=True, exist_ok=True)

for folder in sorted(path.parent for path in (INPUTS / "quantized").glob("*/config.json")):
    golden = folder / "golden.safetensors"
    plan = compiled(folder, work / "plan.qplan")
    found = distance(plan, golden, golden)
    sites = {site["name"]: site["treatment"]
             for site in json.loads(qplan("inspect", plan, "--json")[0])["sites"]}
    expected = json.loads((folder / "expected.json").read_text())["treatments"]
    treatment = next(iter(expected.values()))
    print(f"{folder.name:20} {treatment:20} {describe(found)}", flush=True)
    check({name: sites.get(name) for name in expected} == expected,
          f"{folder.name}: treatments {sites}, expected {expected}")
    weights_only = "a8" not in treatment and "afp8" not in treatment
    check(found["max_difference"] <= 1e-3 if weights_only else found["rms_difference"] <= 2e-2,
          f"{folder.name} is not what its tool means: {describe(found)}")
    if folder.name in ("gptq_v1", "modelopt_int8_sq"):
        again = compiled(folder, work / "again.qplan", "--quant", "int8")
        near = distance(again, golden, golden)
        check(near["kl_mean"] <= 1e-2, f"{folder.name} as int8 is far: {describe(near)}")
finish()
