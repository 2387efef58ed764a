#!/usr/bin/env python3
"""The demonstration of `tools/dev demo`: compiles the small model that the tests hold twice,
in full precision and with a searched mix of formats, lets the latter write, and puts sizes
and perplexities side by side."""
import json
import os
import subprocess
import sys

MODEL = "tests/Inputs/models/tiny"
CALIBRATION = "tests/Inputs/text/wikitext2-valid.txt"
TEXT = "tests/Inputs/text/wikitext2-test.txt"
FULL, MIXED = "out/tiny-full.qplan", "out/tiny.qplan"
MIX = ["--auto", "int4_g64@mse,int4_g32@mse,int8a8", "--effective-bits", "4.8", "--calib", CALIBRATION]
PROMPT = "The history of the city began in"
WINDOWS = ["--windows", "64"]


def show(qplan, arguments):
    """Prints the command as a reader would type it, and runs it."""
    print("$ qplan " + " ".join(f'"{word}"' if " " in word else word for word in arguments), flush=True)
    status = subprocess.run([qplan, *arguments]).returncode
    if status != 0:
        sys.exit(f"tools/dev demo: qplan {arguments[0]} ended with status {status}")
    print(flush=True)


def ask(qplan, *arguments):
    """The JSON object that a command prints."""
    done = subprocess.run([qplan, *arguments, "--json"], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"tools/dev demo: qplan {arguments[0]} ended with status {done.returncode}")
    return json.loads(done.stdout)


def row(name, plan, inspected, evaluated):
    megabytes = os.path.getsize(os.path.join(plan, "weights.bin")) / 1e6
    return (f"{name:<16} {megabytes:8.2f} MB {inspected['effective_bits']:9.2f} "
            f"{evaluated['perplexity']:13.3f}   {plan}")


def main():
    qplan = sys.argv[1]
    os.makedirs("out", exist_ok=True)
    show(qplan, ["compile", MODEL, "-o", FULL])
    show(qplan, ["compile", MODEL, "-o", MIXED, *MIX])
    show(qplan, ["run", MIXED, "--prompt", PROMPT, "-n", "48"])
    full = ask(qplan, "eval", FULL, "--text", TEXT, *WINDOWS)
    mixed = ask(qplan, "eval", MIXED, "--text", TEXT, "--reference", FULL, *WINDOWS)
    print(f"{'plan':<16} {'weights':>11} {'bits':>9} {'perplexity':>13}")
    print(row("full precision", FULL, ask(qplan, "inspect", FULL), full))
    print(row("searched mix", MIXED, ask(qplan, "inspect", MIXED), mixed))
    print(f"\nKL(full || mix) {mixed['kl_mean']:.4f} nats a token; the same most likely token at "
          f"{100 * mixed['top1_agreement']:.1f} % of {mixed['scored_tokens']:,} positions")


if __name__ == "__main__":
    main()
