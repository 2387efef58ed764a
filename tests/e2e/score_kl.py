#!/usr/bin/env python3
"""Searches of the tiny model that measure every candidate at every group.

usage: score_kl.py WORK_FOLDER

All cells are measured; a search that was interrupted (ctrl-C: status 130) or killed keeps what it
measured, measures only the rest when it is run again, and finds the same.
"""
import json
import re
import signal
import sys
from pathlib import Path

from e2e import CALIBRATION, TINY, check, finish, qplan, stopped

work = Path(sys.argv[1])
options = ["--auto", "int4_g64,int8", "--score", "kl", "--group", "qkv,gate_up", "--effective-bits", 5,
           "--calib", CALIBRATION, "--calib-samples", 2, "--calib-length", 64]


def command(name):
    return ["search", TINY, "-o", work / f"{name}.json", *options, "--statistics", work / f"{name}-statistics.json"]


def measured(log):
    """How many cells a run measured."""
    found = re.findall(r"^score: \d+/(\d+)", log, re.MULTILINE)
    return int(found[-1]) if found else 0


_, log = qplan(*command("whole"))
whole = work / "whole.json"
front = json.loads(whole.read_text())
cells = 2 * len(front["groups"])
check(measured(log) == cells, f"{measured(log)} of {cells} cells were measured")
for group in front["groups"]:
    check(group["kl"][0] > group["kl"][1] > 0, f"{group['name']}: 4 bits are as good as 8")
_, log = qplan(*command("whole"))
check(measured(log) == 0, "what is known was measured again")

for name, stop in ("interrupted", signal.SIGINT), ("killed", signal.SIGKILL):
    statistics = work / f"{name}-statistics.json"
    status, errors = stopped(command(name), statistics, stop)
    check(status == (130 if stop == signal.SIGINT else -stop), f"{name}: status {status}: {errors}")
    if stop == signal.SIGINT:
        check("interrupted; what was measured is in " in errors, f"an interruption says: {errors}")
    some = sum(len(row) for row in json.loads(statistics.read_text())["scores"].values())
    check(0 < some < cells, f"{name}: {some} of {cells} cells were kept")
    _, log = qplan(*command(name))
    check(measured(log) == cells - some, f"{name}: {measured(log)} cells were measured, {some} were known")
    check((work / f"{name}.json").read_bytes() == whole.read_bytes(), f"{name}: another front")
finish()
