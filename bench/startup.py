#!/usr/bin/env python3
"""From the start of a process to its first byte of text: what loading a plan costs.

The weights are mapped, so that the first run after a reboot reads them from the disk and
later ones from the page cache; this measures the latter.

    bench/startup.py m.qplan [m2.qplan ...] [--runs 20] [--prompt TEXT]
"""
import argparse
import subprocess
import sys
import time

import common


def first_byte(command):
    """(seconds to the first byte on stdout, seconds to the end) of one run."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    byte = process.stdout.read(1)
    first = time.perf_counter() - start
    _, errors = process.communicate()
    total = time.perf_counter() - start
    if process.returncode != 0 or not byte:
        sys.exit(f"{' '.join(command)}: status {process.returncode}\n{errors.decode()[-2000:]}")
    return first, total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plans", nargs="+")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--prompt", default="The")
    parser.add_argument("--qplan", default=common.QPLAN)
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    figures = {}
    for plan in options.plans:
        command = [options.qplan, "run", plan, "--prompt", options.prompt, "-n", "1"]
        first_byte(command)  # fills the page cache
        samples = [first_byte(command) for _ in range(options.runs)]
        figures[plan] = {"first_text_ms": round(1e3 * common.median([first for first, _ in samples]), 2),
                         "least_ms": round(1e3 * min(first for first, _ in samples), 2),
                         "process_ms": round(1e3 * common.median([total for _, total in samples]), 2)}
    print(common.markdown(["plan", "first text, ms", "least", "whole process"],
                          [[plan, *figure.values()] for plan, figure in figures.items()]))
    if not options.no_record:
        common.write_record("startup", {"runs": options.runs, "figures": figures})


if __name__ == "__main__":
    main()
