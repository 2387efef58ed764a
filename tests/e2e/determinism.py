#!/usr/bin/env python3
"""The same recipe, statistics and target give the same bytes, on any number of threads.

usage: determinism.py WORK_FOLDER MODEL TEXT
"""
import filecmp
import sys
from pathlib import Path

from e2e import check, compiled, finish

work, model, text = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
work.mkdir(parents=True, exist_ok=True)
plans, statistics = [], []
for threads in [1, 2]:
    statistics.append(work / f"statistics{threads}")
    statistics[-1].unlink(missing_ok=True)
    plans.append(compiled(model, work / f"{threads}.qplan", "--quant", "int8a8@smoothquant",
                          "--calib", text, "--calib-samples", 4, "--calib-length", 64,
                          "--statistics", statistics[-1], "--target", "cpu:x86-64-v3",
                          "--threads", threads))
check(filecmp.cmp(*statistics, shallow=False), "the statistics files differ")
names = sorted(file.name for file in plans[0].iterdir())
check(names == sorted(file.name for file in plans[1].iterdir()), "the plans hold different files")
for name in names:
    check(filecmp.cmp(plans[0] / name, plans[1] / name, shallow=False), f"{name} differs")
# Made again from the statistics of the first, in another folder name.
again = compiled(model, work / "again.qplan", "--quant", "int8a8@smoothquant", "--calib", text,
                 "--calib-samples", 4, "--calib-length", 64, "--statistics", statistics[0],
                 "--target", "cpu:x86-64-v3")
for name in names:
    check(filecmp.cmp(plans[0] / name, again / name, shallow=False),
          f"{name} differs when the statistics are read")
finish()
