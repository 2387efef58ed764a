#!/usr/bin/env python3
"""Formats of the key-value cache: long-context perplexity, size and decoding speed.

    bench/kv_cache.py MODEL [--formats f16,int8,int4,fp8,fp8_head,nvfp4] [--windows 512,2048,8192]
                      [--tokens 16384] [--depths 0,2048,4096] [--quant T] [--calib TEXT] [--text TEXT]

Every window length scores the same first tokens of the text, in windows that do not overlap.
The reference of a KL divergence is the same plan with its cache in f32. Weights stay as the
checkpoint stores them unless --quant says otherwise. Speeds are medians of `qplan bench`: tokens
decoded a second when so many tokens are in the cache.
"""
import argparse
import os

import common

CALIBRATED = ("fp8", "fp8_head", "nvfp4")


def plan_of(options, cache):
    positions = max(options.windows + [depth + options.decode for depth in options.depths])
    arguments = ["--kv-cache", cache, "--context", str(min(positions, options.context))]
    if options.quant:
        arguments += ["--quant", options.quant]
    if cache in CALIBRATED:
        arguments += ["--calib", options.calib, "--statistics", os.path.join(options.plans, "statistics")]
    return common.compile_plan(options.qplan, options.model, os.path.join(options.plans, f"{cache}.qplan"),
                               arguments)


def evaluate(options, plan, window, reference):
    command = [options.qplan, "eval", plan, "--text", options.text, "--window", window, "--windows",
               options.tokens // window, "--json"]
    return common.run_json(command + (["--reference", reference] if reference != plan else []))


def speed(options, plan, depth):
    command = [options.qplan, "bench", plan, "-p", 0, "-n", options.decode, "--depth", depth, "--json"]
    return common.run_json(command)["decode_tokens_per_s"]


def measure(options, cache, reference):
    plan = plan_of(options, cache)
    manifest = common.run_json([options.qplan, "inspect", plan, "--json"])
    memory = manifest["memory"]
    figure = {"bytes_per_token": memory["kv_page_bytes"] / memory["kv_page_tokens"], "windows": {}, "speed": {}}
    for window in options.windows:
        result = evaluate(options, plan, window, reference)
        figure["windows"][window] = {"perplexity": result["perplexity"], "kl_mean": result.get("kl_mean", 0.0)}
        print(f"{cache} window {window}: {result['perplexity']:.3f}", flush=True)
    for depth in options.depths:
        figure["speed"][depth] = speed(options, plan, depth)
        print(f"{cache} depth {depth}: {figure['speed'][depth]:.1f} tokens/s", flush=True)
    return figure


def numbers(text):
    return [int(part) for part in text.split(",") if part]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--formats", default="f16,int8,int4,fp8,fp8_head,nvfp4")
    parser.add_argument("--windows", type=numbers, default=[512, 2048, 8192])
    parser.add_argument("--tokens", type=int, default=16384, help="tokens scored at every window length")
    parser.add_argument("--depths", type=numbers, default=[0, 2048, 4096])
    parser.add_argument("--decode", type=int, default=32, help="tokens decoded at every depth")
    parser.add_argument("--context", type=int, default=8192, help="the model's positions")
    parser.add_argument("--quant", default="")
    parser.add_argument("--calib", default=common.CALIBRATION)
    parser.add_argument("--text", default=common.TEXT)
    parser.add_argument("--qplan", default=common.QPLAN)
    parser.add_argument("--plans", help="folder of the plans (default: out/kv-cache/MODEL)")
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    stem = os.path.basename(os.path.normpath(options.model))
    options.plans = options.plans or os.path.join(common.ROOT, "out", "kv-cache", stem)
    reference = plan_of(options, "f32")
    formats = ["f32"] + options.formats.split(",")
    figures = {cache: measure(options, cache, reference) for cache in formats}
    rows = [[cache, f"{figure['bytes_per_token']:.0f}"]
            + [f"{cell['perplexity']:.3f} / {cell['kl_mean']:.5f}" for cell in figure["windows"].values()]
            + [f"{rate:.1f}" for rate in figure["speed"].values()] for cache, figure in figures.items()]
    header = ["cache", "bytes a token"] + [f"perplexity / KL at {window}" for window in options.windows]
    print(f"\n{stem}, {options.tokens} tokens of {os.path.basename(options.text)}\n")
    print(common.markdown(header + [f"tokens/s at {depth}" for depth in options.depths], rows))
    if not options.no_record:
        common.write_record(f"kv-cache-{stem}", {"text": os.path.basename(options.text), "tokens": options.tokens,
                                                 "quant": options.quant, "figures": figures})


if __name__ == "__main__":
    main()
