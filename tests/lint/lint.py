#!/usr/bin/env python3
"""Rules about the tree itself that no compiler checks. One rule a run:

    lint.py RULE ROOT [COMPILER...]

Prints one line for each offence, `path:line: what is wrong`, and exits with 1 when
there is any. The files are those git knows or would add; where ROOT is no repository, all
files outside build/ and out/.
"""
import os
import re
import subprocess
import sys
import tempfile

SOURCES = (".cpp", ".h", ".c", ".cu", ".cuh", ".td", ".inc")
# A layer may include itself and what stands to its right.
LAYERS = ["tools", "codegen", "passes", "ir"]
# What the compiler shares with the runtime: public headers, the kernel table, the bitcode
# of the kernels, the page hash and the vocabulary of a GGUF file.
SHARED_WITH_RUNTIME = re.compile(
    r"^(qplan/[a-z_]+\.h|runtime/kernels/(Kernels\.inc|Bitcode\.h|kernels\.h)"
    r"|runtime/src/Hash\.h|runtime/text/GgufVocabulary\.h)$"
)
RUNTIME_FORBIDS = re.compile(r"^(ir|passes|codegen|tools|llvm|llvm-c|mlir|mlir-c|lld|clang|fmt)/")
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]')
DIRECTIVE = re.compile(r"^\s*(?://|#|;)+\s*(?:RUN|DEFINE):")
VERIFIES = re.compile(
    r"FileCheck|verify-diagnostics|\bcmp\b|\bdiff\b|%python|\bgrep\b|\btest\b|\bsh\b|-fsyntax-only"
)
# A directive that FileCheck would pass over in silence.
MISSPELT = re.compile(
    r"^\s*(?://|#|;)+\s*("
    r"C(?:HEKC|EHCK|HCEK|HECH|HEC)\b\S*:|CHECK-(?:NETX|NXET|LABLE|LABLES|SMAE|DGA|NOTS|COUNTS)\b.*:"
    r"|CHECK[A-Z-]* :|CHECK(?:_NEXT|_LABEL|_SAME|_NOT|_DAG):|CHECK(?:-NEXT|-LABEL|-SAME|-NOT|-DAG)? +\S)"
)
LARGEST_FILE = 20 << 20
LARGEST_OUTSIDE_INPUTS = 1 << 20
LONGEST_SOURCE = 700  # lines
# Spelt in pieces, so that this file is not its own first offence.
LEFT_OPEN = re.compile(r"\b(" + "|".join(["TO" "DO", "FIX" "ME", "XX" "X", "unimple" "mented"]) + r")\b")
ONE_MACHINE = re.compile(r"(?:^|[^A-Za-z0-9_.~-])/(?:" + "|".join(["home", "root", "Users", "mnt", "work", "farm"])
                         + r")/[A-Za-z0-9_.]")


def tree(root):
    """Paths of all files of the tree, relative to `root`, sorted."""
    if os.path.exists(os.path.join(root, ".git")):
        listing = subprocess.run(
            ["git", "-c", "safe.directory=*", "-C", root, "ls-files", "-z", "--cached", "--others",
             "--exclude-standard"], capture_output=True, check=True)
        names = listing.stdout.decode().split("\0")
        return sorted(name for name in set(names) if name and os.path.isfile(os.path.join(root, name)))
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if f not in ("build", "out", ".git", "__pycache__")]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in files]
    return sorted(found)


def lines(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as text:
        return list(enumerate(text, 1))


def text_files(root):
    """Files written by hand in this project; tests/Inputs holds material of others."""
    for path in tree(root):
        if path.startswith("tests/Inputs/") or path.startswith("tests/fuzz/corpus/") or path == "LICENSE":
            continue
        with open(os.path.join(root, path), "rb") as file:
            if b"\0" not in file.read(4096):
                yield path


def forbidden_include(path, target):
    """Why `path` must not include `target`, or None."""
    layer = path.split("/")[0]
    if layer == "runtime":
        if RUNTIME_FORBIDS.match(target):
            return f"the runtime must not include {target}: it has no compiler and no LLVM where it runs"
        return None
    if layer not in LAYERS:
        return None
    other = target.split("/")[0]
    if other == "runtime" and not SHARED_WITH_RUNTIME.match(target):
        # Mains may use the runtime libraries' internals no more than the compiler does.
        return f"{layer} must not include {target}: only runtime/include and the shared tables are open"
    if other in LAYERS and LAYERS.index(other) < LAYERS.index(layer):
        return f"{layer} must not include {target}: includes go {' -> '.join(LAYERS)}"
    return None


def includes(root, _):
    for path in tree(root):
        if not path.endswith(SOURCES):
            continue
        for number, line in lines(root, path):
            match = INCLUDE.match(line)
            reason = match and forbidden_include(path, match.group(1))
            if reason:
                yield path, number, reason


def checks(root, _):
    for path in tree(root):
        if not path.startswith("tests/") or not path.endswith((".mlir", ".test", ".ll")):
            continue
        if "/Inputs/" in path or path.startswith("tests/lint/"):
            continue
        content = lines(root, path)
        runs = [line for _, line in content if DIRECTIVE.match(line)]
        if runs and not any(VERIFIES.search(run) for run in runs):
            yield path, 1, "no RUN line checks anything: use FileCheck, -verify-diagnostics or a comparison"
        for number, line in content:
            if MISSPELT.match(line):
                yield path, number, f"FileCheck ignores this directive: {line.strip()}"


def sizes(root, _):
    for path in tree(root):
        size = os.path.getsize(os.path.join(root, path))
        limit = LARGEST_FILE if path.startswith("tests/Inputs/") else LARGEST_OUTSIDE_INPUTS
        if size > limit:
            yield path, 1, f"{size} bytes, at most {limit} belong into the repository here"
        if path.endswith(SOURCES) and not path.startswith("tests/Inputs/"):
            count = len(lines(root, path))
            if count > LONGEST_SOURCE:
                yield path, count, f"{count} lines, split at {LONGEST_SOURCE}"


def wording(root, _):
    for path in text_files(root):
        if path.startswith(".ci/"):
            continue
        for number, line in lines(root, path):
            if path.endswith(SOURCES + (".py", ".sh")) and LEFT_OPEN.search(line):
                yield path, number, f"left open: {line.strip()[:80]}"
            if ONE_MACHINE.search(line):
                yield path, number, f"a path of one machine: {line.strip()[:80]}"


def compile_alone(compiler, language, include_folder, header):
    """Diagnostics of a source that holds only `header`, or an empty text."""
    is_c = language.startswith("c1")
    with tempfile.NamedTemporaryFile("w", suffix=".c" if is_c else ".cpp") as source:
        source.write(f"#include <{header}>\n#include <{header}>\n")
        source.flush()
        done = subprocess.run(
            [compiler, f"-std={language}", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only",
             "-I", include_folder, source.name], capture_output=True, text=True)
        return "" if done.returncode == 0 else done.stderr.strip() or "the compiler failed"


def headers(root, compilers):
    folder = os.path.join(root, "runtime", "include")
    for path in tree(root):
        if not (path.startswith("runtime/include/") and path.endswith(".h")):
            continue
        header = os.path.relpath(os.path.join(root, path), folder)
        for compiler, language in zip(compilers, ("c11", "c++17")):
            problem = compile_alone(compiler, language, folder, header)
            if problem:
                yield path, 1, f"does not stand alone as {language}:\n{problem}"


RULES = {rule.__name__: rule for rule in (includes, checks, sizes, wording, headers)}


def main(arguments):
    if len(arguments) < 2 or arguments[0] not in RULES:
        sys.exit(f"usage: lint.py {{{'|'.join(RULES)}}} ROOT [COMPILER...]")
    offences = list(RULES[arguments[0]](arguments[1], arguments[2:]))
    for path, number, text in offences:
        print(f"{path}:{number}: {text}")
    print(f"{arguments[0]}: {len(offences)} offences")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
