#!/usr/bin/env python3
"""Writes what a new thing needs: its file, its test, and its line in a list.

    tools/dev new pass   FoldScales  [--summary TEXT]   passes/FoldScales.cpp, a def in Passes.td, a lit test
    tools/dev new model  Phi3        [--summary TEXT]   ir/models/Phi3.cpp, its name in the list, a lit test
    tools/dev new kernel swiglu_step [--summary TEXT]   runtime/kernels/swiglu_step.c, a row in Kernels.inc
    tools/dev new format int3_g256   [--summary TEXT]   a row in ir/Formats.td

What is written builds and passes as it stands. Nothing that exists is overwritten, and
where a list has no place for the new line, nothing is written at all.
"""
import argparse
import json
import os
import re
import subprocess
import sys

LLVM = "/usr/lib/llvm-22"
TEMPLATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")


def fail(message):
    sys.exit(f"tools/dev new: {message}")


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        fail(f"{path}: {error.strerror}")


def names(name, summary):
    """The spellings of `name` that templates use."""
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z0-9]+", name)
    sentence = summary or " ".join(words).capitalize()
    return {"Name": name, "NAME": name.upper(), "lower": name.lower(), "kebab": "-".join(words).lower(),
            "summary": sentence.rstrip("."), "Camel": "".join(w[:1].upper() + w[1:] for w in words)}


def fill(template, values):
    """`template` with @key@ replaced; a banner's first line is filled up to its width."""
    with open(os.path.join(TEMPLATES, template)) as file:
        text = re.sub(r"@([A-Za-z]+)@", lambda match: values[match.group(1)], file.read())
    return re.sub(r"^(.*) @@fill(===.*)$", stretch, text, flags=re.M)


def stretch(match):
    head, tail = match.groups()
    return head + " " + "-" * max(1, 80 - len(head) - len(tail) - 1) + tail


def insert(path, pattern, line, before=False):
    """(path, its text with `line` after the last match of `pattern`, or before it)."""
    text = read(path)
    matches = list(re.finditer(pattern, text, re.M))
    if not matches:
        fail(f"{path} has no place for the new line (no match of {pattern!r})")
    place = matches[-1].start() if before else matches[-1].end()
    return path, text[:place] + line + text[place:]


def need_name(name, pattern, example):
    if not re.fullmatch(pattern, name):
        fail(f"'{name}' is no name of this kind; one looks like {example}")


def new_pass(name, values):
    need_name(name, r"[A-Z][A-Za-z0-9]+", "FoldScales")
    if re.search(rf"^def {name}\b", read("passes/Passes.td"), re.M):
        fail(f"passes/Passes.td already has {name}")
    return ([(f"passes/{name}.cpp", fill("Pass.cpp", values)),
             (f"tests/passes/{values['kebab']}.mlir", fill("pass.mlir", values))],
            [insert("passes/Passes.td", r"^#endif[^\n]*\s*\Z" if "#endif" in read("passes/Passes.td") else r"\Z",
                    fill("Pass.td", values) + "\n", before=True),
             insert("passes/CMakeLists.txt", r"^set\(passes [^)]*(?=\))", f" {name}")],
            "describe in passes/Passes.td when it runs, place it in the pipeline, run `tools/dev docs`")


def new_model(name, values):
    need_name(name, r"[A-Z][A-Za-z0-9]+", "Phi3")
    return ([(f"ir/models/{name}.cpp", fill("Model.cpp", values)),
             (f"tests/import/{values['lower']}.test", fill("model.test", values))],
            [insert("ir/models/CMakeLists.txt", r"^set\(models [^)]*(?=\))", f" {name}")],
            f"put a tiny checkpoint with golden.safetensors into tests/Inputs/zoo/{values['lower']}")


def new_kernel(name, values):
    need_name(name, r"[a-z][a-z0-9_]+", "swiglu_step")
    if re.search(rf"QPLAN_KERNEL\({name},", read("runtime/kernels/Kernels.inc")):
        fail(f"runtime/kernels/Kernels.inc already has {name}")
    return ([(f"runtime/kernels/{name}.c", fill("kernel.c", values))],
            [insert("runtime/kernels/Kernels.inc", r"\Z", fill("kernel.inc", values), before=True),
             insert("runtime/kernels/CMakeLists.txt", r"^set\(kernel_sources [^)]*(?=\))", f" {name}")],
            "compare it with a plain loop in tests/unit/runtime/kernels")


def format_rows():
    """{name: ordinal} of all formats, also those stamped by loops: TableGen expands them."""
    done = subprocess.run([f"{LLVM}/bin/llvm-tblgen", "--dump-json", "-I", f"{LLVM}/include", "ir/Formats.td"],
                          capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"ir/Formats.td: {done.stderr.strip()}")
    records = json.loads(done.stdout)
    rows = [records[key] for key in records["!instanceof"]["Format"]]
    # The ordinal is a list of bits, the lowest first.
    return {row["name"]: sum(bit << place for place, bit in enumerate(row["ordinal"])) for row in rows}


def new_format(name, values):
    need_name(name, r"[a-z][A-Za-z0-9_]*", "int3_g256")
    rows = format_rows()
    if name in rows:
        fail(f"ir/Formats.td already has {name}")
    values["ordinal"] = str(max(rows.values()) + 1)
    group = re.fullmatch(r"int([2-8])_g(\d+)(_asym)?", name)
    if group:
        kind = "AsymmetricInt" if group.group(3) else "GroupInt"
        row = f"def {values['Camel']}Format : {kind}<{values['ordinal']}, {group.group(1)}, {group.group(2)}>;\n"
    else:
        row = fill("format.td", values)
    return ([], [insert("ir/Formats.td", r"^//=+[^\n]*\n// What is generated", row + "\n", before=True)],
            "`tools/dev golden` records its bytes, `tools/dev docs` its page; the parametrised tests take it up")


def main():
    parser = argparse.ArgumentParser(prog="tools/dev new", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {"pass": new_pass, "model": new_model, "kernel": new_kernel, "format": new_format}
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("name")
    parser.add_argument("--summary", help="one sentence; default: the words of the name")
    parser.add_argument("--root", default=os.path.dirname(os.path.dirname(TEMPLATES)),
                        help="the tree to write to; default: this one")
    options = parser.parse_args()
    os.chdir(options.root)
    files, edits, advice = kinds[options.kind](options.name, names(options.name, options.summary))
    existing = [path for path, _ in files if os.path.exists(path)]
    if existing:
        fail(f"{existing[0]} exists")
    for path, text in files + edits:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        print(f"wrote {path}")
    print(f"next: {advice}")


if __name__ == "__main__":
    main()
