#!/usr/bin/env python3
"""Accuracy and size of treatments: a table of perplexity, KL divergence and top-1 agreement.

    bench/accuracy.py MODEL [--quant int8,int4_g64,int4_g64@mse] [--auto "int4_g64@mse,int8a8@4.8 5.4"]
                      [--calib TEXT] [--text TEXT] [--windows N] [--sites layers]

The reference is the checkpoint in its own formats. Windows of 512 tokens that do not
overlap, as `qplan eval` defines them; KL is KL(reference || plan) in nats. `--auto` takes a
list of treatments, then `@` and the budgets in effective bits.
"""
import argparse
import os
import time

import common


def cases(options):
    """[name, arguments of `qplan compile`] of every row."""
    shared = ["--sites", options.sites, "--calib", options.calib]
    for treatment in filter(None, options.quant.split(" ") if " " in options.quant else options.quant.split(",")):
        yield treatment, ["--quant", treatment, *shared]
    for search in options.auto:
        treatments, _, budgets = search.rpartition("@")
        for budget in budgets.split():
            yield f"auto {treatments} at {budget}", ["--auto", treatments, "--effective-bits", budget, *shared]


def evaluate(options, plan, reference=None):
    command = [options.qplan, "eval", plan, "--text", options.text, "--window", "512", "--json"]
    if options.windows:
        command += ["--windows", options.windows]
    if reference:
        command += ["--reference", reference]
    return common.run_json(command)


def measure(options, name, arguments, number, reference):
    start = time.perf_counter()
    plan = common.compile_plan(options.qplan, options.model,
                               os.path.join(options.plans, f"case{number}.qplan"), arguments)
    seconds = time.perf_counter() - start
    result = evaluate(options, plan, reference)
    inspected = common.run_json([options.qplan, "inspect", plan, "--json"])
    figure = {"bits": inspected["effective_bits"], "perplexity": result["perplexity"],
              "kl_mean": result["kl_mean"], "top1_agreement": result["top1_agreement"],
              "weight_file_bytes": os.path.getsize(os.path.join(plan, "weights.bin")),
              "compile_s": round(seconds, 2), "arguments": arguments}
    print(f"{name}: {figure['perplexity']:.3f}", flush=True)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--quant", default="int8,int8a8,int4_g32,int4_g64,int4_g64@mse,int4_g128",
                        help="treatments, separated by commas, or by spaces where one holds a comma")
    parser.add_argument("--auto", action="append", default=[])
    parser.add_argument("--sites", default="layers")
    parser.add_argument("--calib", default=common.CALIBRATION)
    parser.add_argument("--text", default=common.TEXT)
    parser.add_argument("--windows", type=int, default=0, help="the first N windows (default: all)")
    parser.add_argument("--qplan", default=common.QPLAN)
    parser.add_argument("--plans", help="folder of the plans (default: out/accuracy/MODEL)")
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    stem = os.path.basename(os.path.normpath(options.model))
    options.plans = options.plans or os.path.join(common.ROOT, "out", "accuracy", stem)
    reference = common.compile_plan(options.qplan, options.model,
                                    os.path.join(options.plans, "reference.qplan"), [])
    base = evaluate(options, reference)
    figures = {name: measure(options, name, arguments, number, reference)
               for number, (name, arguments) in enumerate(cases(options))}
    rows = [["reference", "", f"{base['perplexity']:.3f}", "", "", ""]]
    rows += [[name, f"{figure['bits']:.3f}", f"{figure['perplexity']:.3f}", f"{figure['kl_mean']:.5f}",
              f"{figure['top1_agreement']:.4f}", f"{figure['compile_s']:.1f}"] for name, figure in figures.items()]
    print(f"\n{stem}, {base['scored_tokens']} scored tokens of {os.path.basename(options.text)}\n")
    print(common.markdown(["treatment", "bits", "perplexity", "KL", "top-1", "compile, s"], rows))
    if not options.no_record:
        common.write_record(f"accuracy-{stem}", {"text": os.path.basename(options.text), "sites": options.sites,
                                                 "windows": options.windows, "reference": base,
                                                 "figures": figures})


if __name__ == "__main__":
    main()
