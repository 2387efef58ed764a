#!/usr/bin/env python3
"""Every dump of --dump-ir replays in qplan-opt, and every --emit is what it says.

usage: stages.py WORK_FOLDER MODEL TREATMENT [CALIBRATION_TEXT]

From each numbered dump on, the remaining passes in qplan-opt must give the plan that the
driver printed, letter for letter. Each --emit=STAGE is looked at: IR that parses, text of LLVM
or the assembler with the model's entry, an object file, a recipe that compiles to the same plan.
"""
import subprocess
import sys
from pathlib import Path

from e2e import check, finish, qplan

def replayed(path, pipeline):
    done = subprocess.run(["qplan-opt", path, f"--pass-pipeline=builtin.module({pipeline})"],
                          capture_output=True, text=True)
    check(done.returncode == 0, f"qplan-opt {path.name}: {done.stderr[:1000]}")
    return done.stdout.strip()


def replay(plan):
    """From every dump on, the passes that lead to the later dumps."""
    dumps = work / "dumps"
    qplan("compile", model, "--quant", treatment, "--emit=plan", "-o", "-", "--dump-ir", dumps,
          *given)
    files = sorted(dumps.glob("*.mlir"))
    names = [f"{number:02}-{name}.mlir" for number, (name, _) in enumerate(stages, 1)]
    check([file.name for file in files] == names,
          f"dumps {[file.name for file in files]}, expected {names}")
    for number, file in enumerate(files, 1):
        rest = ",".join(stage for _, stage in stages[number:])
        check(replayed(file, rest) == plan, f"{file.name}: the plan from here on is another one")
        check("loc(" in file.read_text(), f"{file.name} has no locations")


def emitted(stage):
    return qplan("compile", model, "--quant", treatment, f"--emit={stage}", "-o", "-",
                 *given)[0].decode()


def emits(plan):
    qp = work / "emitted.mlir"
    qp.write_text(emitted("qp"))
    check(replayed(qp, stages[-1][1]) == plan, "--emit=qp does not lead to the plan")
    llvm, asm = emitted("llvm"), emitted("asm")
    check("define" in llvm and "@model_query" in llvm, "--emit=llvm defines no model_query")
    check("model_query:" in asm, "--emit=asm has no label model_query")
    qplan("compile", model, "--quant", treatment, "--emit=obj", "-o", work / "model.o", *given)
    check((work / "model.o").read_bytes()[:4] == b"\x7fELF", "--emit=obj is no ELF file")
    recipe = work / "recipe.txt"
    recipe.write_text(emitted("recipe"))
    again = qplan("compile", model, "--recipe", recipe, "--emit=plan", "-o", "-",
                  *given)[0].decode().strip()
    check(again == plan, "the recipe of --emit=recipe compiles to another plan")


work, model, treatment = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
work.mkdir(parents=True, exist_ok=True)
given, inputs = [], ""
if len(sys.argv) > 4:
    file = work / "statistics"
    given = ["--calib", sys.argv[4], "--calib-samples", 4, "--calib-length", 64, "--statistics", file]
    inputs = f"{{statistics={file} checkpoint={model} blobs={work / 'blobs'}}}"
# Each dump, and the passes that lead to it from the one before.
stages = [("import", ""), ("assign", f"qp-assign-treatments{{quant={treatment}}}"),
          ("transform", f"qp-fold-smooth-quant{inputs}"), ("quantize", f"qp-insert-qdq{inputs}"),
          ("fuse", "qp-fuse"),
          ("plan", "qp-to-plan,plan.program(plan-assign-memory,plan-assign-weights)")]
text = emitted("plan").strip()
replay(text)
emits(text)
finish()
