#!/usr/bin/env python3
"""qplan beside llama.cpp on SmolLM2-135M: prefill and decode in tokens a second.

Both programs run in turns, the order changing with each round, so that a machine that
slows down slows both. Each side's figure is the median over the rounds. llama-bench is
run with and without flash attention; the better one counts, for each test by itself.
Definitions are llama-bench's: `-p` and `-n` are separate tests from an empty cache.

    bench/peers.sh && bench/compare_llama.py [--rounds 5] [--rows Q4_0,Q8_0,F16] [-p 512] [-n 128]
"""
import argparse
import os

import common

# Row -> (the peer's GGUF type, the type qplan compiles from, arguments of `qplan compile`).
# A row named like a type runs the file in its own format; the others are formats of ours,
# made from the F16 file and set beside the peer's format of about their size.
ROWS = {
    "F16": ("F16", "F16", []),
    "Q8_0": ("Q8_0", "Q8_0", []),
    "Q4_0": ("Q4_0", "Q4_0", []),
    "Q4_1": ("Q4_1", "Q4_1", []),
    "int8a8": ("Q8_0", "F16", ["--quant", "int8a8", "--sites", "layers+lm_head+embedding"]),
    "int4_g64a8": ("Q4_0", "F16", ["--quant", "int4_g64a8", "--sites", "layers+lm_head+embedding"]),
    "int4_g32a8": ("Q4_0", "F16", ["--quant", "int4_g32a8", "--sites", "layers+lm_head+embedding"]),
}


def gguf(options, kind):
    return os.path.join(options.models, f"SmolLM2-135M-Instruct.{kind}.gguf")


def bench_qplan(options, plan):
    return common.run_json([options.qplan, "bench", plan, "-p", options.prompt, "-n", options.generate,
                            "-b", 1, "--threads", options.threads, "--json"])


def bench_llama(options, kind):
    """{(test, flash attention): tokens a second} of one run of llama-bench."""
    results = common.run_json([os.path.join(options.peers, "build", "bin", "llama-bench"), "-m", gguf(options, kind),
                               "-p", options.prompt, "-n", options.generate, "-t", options.threads,
                               "-r", 1, "-fa", "0,1", "-o", "json"])
    return {("prefill" if test["n_gen"] == 0 else "decode", int(test["flash_attn"])): test["avg_ts"]
            for test in results}


def measure(options, rows, plans):
    """Samples of both sides: ours[row][field] and theirs[type][(test, fa)], lists in round order."""
    ours = {row: {} for row in rows}
    theirs = {ROWS[row][0]: {} for row in rows}
    jobs = []
    for row in rows:
        jobs.append((bench_qplan, plans[row], ours[row]))
        kind = ROWS[row][0]
        # Its peer runs right after it: neighbours in time are the pairs that are compared.
        if not any(subject == kind for _, subject, _ in jobs):
            jobs.append((bench_llama, kind, theirs[kind]))
    for turn in range(options.rounds):
        for bench, subject, samples in jobs if turn % 2 == 0 else reversed(jobs):
            for key, value in bench(options, subject).items():
                samples.setdefault(key, []).append(value)
        print(f"round {turn + 1} of {options.rounds}", flush=True)
    return ours, theirs


def better(samples, test):
    """The peer's best median for `test`, and which flash attention setting gave it."""
    return max((common.median(values), fa) for (name, fa), values in samples.items() if name == test)


def summary(rows, ours, theirs):
    figures = {}
    for row in rows:
        figure = {"peer": ROWS[row][0]}
        for test in ("prefill", "decode"):
            mine = common.median(ours[row][f"{test}_tokens_per_s"])
            peer, flash = better(theirs[ROWS[row][0]], test)
            figure[test] = {"qplan": round(mine, 1), "llama.cpp": round(peer, 1), "flash_attention": flash,
                            "ratio": round(mine / peer, 3)}
        for field in ("dram_gb_per_s", "effective_gb_per_s", "bytes_per_token"):
            figure[field] = common.median(ours[row].get(field, []))
        figures[row] = figure
    return figures


def table(figures):
    cells = []
    for row, figure in figures.items():
        prefill, decode = figure["prefill"], figure["decode"]
        cells.append([row, figure["peer"],
                      f"{prefill['qplan']:,.0f}", f"{prefill['llama.cpp']:,.0f}", f"{prefill['ratio']:.2f}",
                      f"{decode['qplan']:,.1f}", f"{decode['llama.cpp']:,.1f}", f"{decode['ratio']:.2f}",
                      f"{figure['effective_gb_per_s']:.1f} / {figure['dram_gb_per_s']:.1f}"])
    return common.markdown(["qplan", "llama.cpp", "prefill", "peer", "ratio", "decode", "peer", "ratio",
                            "GB/s read / limit"], cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", default="F16,Q8_0,Q4_0,int8a8,int4_g64a8", help=f"of {', '.join(ROWS)}")
    parser.add_argument("-p", dest="prompt", type=int, default=512)
    parser.add_argument("-n", dest="generate", type=int, default=128)
    parser.add_argument("--threads", type=int, default=common.cores())
    parser.add_argument("--qplan", default=common.QPLAN)
    parser.add_argument("--models", default=common.SMOLLM2, help="folder of the GGUF files")
    parser.add_argument("--peers", default=common.PEERS, help="folder of bench/peers.sh")
    parser.add_argument("--plans", default=os.path.join(common.ROOT, "out", "bench"))
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    rows = options.rows.split(",")
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        parser.error(f"unknown row {unknown[0]}; known: {', '.join(ROWS)}")
    missing = [path for path in [options.qplan, os.path.join(options.peers, "build", "bin", "llama-bench")]
               + [gguf(options, kind) for row in rows for kind in ROWS[row][:2]] if not os.path.exists(path)]
    if missing:
        parser.error(f"{missing[0]} is missing; run `tools/dev build` and `bench/peers.sh`")
    plans = {row: common.compile_plan(options.qplan, gguf(options, ROWS[row][1]),
                                      os.path.join(options.plans, f"smollm2-{row}.qplan"), ROWS[row][2])
             for row in rows}
    ours, theirs = measure(options, rows, plans)
    figures = summary(rows, ours, theirs)
    print(f"\n{common.cpu()}, {options.threads} threads, SmolLM2-135M, prompt {options.prompt}, "
          f"{options.generate} generated, medians of {options.rounds} rounds, tokens/s\n")
    print(table(figures))
    if not options.no_record:
        samples = {"qplan": ours,
                   "llama.cpp": {kind: {f"{test} fa{fa}": values for (test, fa), values in tests.items()}
                                 for kind, tests in theirs.items()}}
        common.write_record("llama", {"prompt": options.prompt, "generate": options.generate,
                                      "threads": options.threads, "rounds": options.rounds,
                                      "figures": figures, "samples": samples})


if __name__ == "__main__":
    main()
