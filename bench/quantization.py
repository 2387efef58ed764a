#!/usr/bin/env python3
"""Every format and method on a real model: accuracy, size, speed, beside published figures.

    bench/quantization.py MODEL --name small [--only 'int4*,nvfp4*'] [--windows 128] [--qdq 16] [--speed]
    bench/quantization.py --report

The rows are those of bench/quantization.json; each is compiled, and the emitted plan is scored
against the plan in f32 on the first windows of a text: KL(f32 || row) in nats, perplexity,
top-1 agreement. `--qdq N` also scores the row's QDQ form run in f32 on the first N windows: what
the treatment means, beside what the emitted kernels compute there. `--speed` times decoding.
Finished figures are kept under out/quantization/NAME and not measured again unless --again is
given, so that a run may be stopped and continued. `--report` writes bench/Quantization.md and its
plots from the latest records: the tables, and what they say of findings that are often quoted.
"""
import argparse
import fnmatch
import glob
import json
import math
import os
import shutil
import sys
import time

import common
import plot

ROWS = os.path.join(common.ROOT, "bench", "quantization.json")
PAGE = os.path.join(common.ROOT, "bench", "Quantization.md")
# What a row may lose against the figure it is compared with: rounding of the figure and
# another order of sums.
FACTOR, SLACK = 1.03, 0.0002


def name_of(row):
    return (row["treatment"] + (f" --rotate {row['rotate']}" if "rotate" in row else "")
            + (f" + {row['cache']} KV" if "cache" in row else ""))


def wanted(row, patterns):
    return any(fnmatch.fnmatchcase(name_of(row), pattern) for pattern in patterns)


def asked(options):
    """The figures that a finished row holds."""
    return ["kl", *(["decode_tokens_per_s"] if options.speed else []), *(["qdq"] if options.qdq else [])]


def measure(options, row, reference, missing):
    """The figures of one row that are `missing`; plans are removed when they are scored."""
    plan = os.path.join(options.folder, "row.qplan")
    rotate = ["--rotate", row["rotate"]] if "rotate" in row else []
    statistics = os.path.join(options.folder, "-".join(["statistics", *rotate[1:]]) + ".json")
    shared = ["--quant", row["treatment"], "--calib", options.calib, "--statistics", statistics,
              "--kv-cache", row.get("cache", "f32"), *rotate]
    few = argparse.Namespace(**{**vars(options), "windows": options.qdq})
    try:
        start = time.perf_counter()
        common.run([options.qplan, "compile", options.model, "-o", plan, *shared])
        figures = {"compile_s": round(time.perf_counter() - start, 2)}
        if "kl" in missing:
            result = common.score(options, plan, reference)
            inspected = common.run_json([options.qplan, "inspect", plan, "--json"])
            figures.update(bits=inspected["effective_bits"], perplexity=result["perplexity"], kl=result["kl_mean"],
                           top1=result["top1_agreement"],
                           weight_bytes=os.path.getsize(os.path.join(plan, "weights.bin")))
        if "decode_tokens_per_s" in missing:
            bench = common.run_json([options.qplan, "bench", plan, "-p", "0", "-n", "128", "--json"])
            figures["decode_tokens_per_s"] = bench["decode_tokens_per_s"]
        if "qdq" in missing:
            emitted = common.score(few, plan, reference)
            common.run([options.qplan, "compile", options.model, "-o", plan, "--qdq", *shared])
            figures["qdq"] = {"windows": emitted["windows"], "kl": common.score(few, plan, reference)["kl_mean"],
                              "kl_emitted": emitted["kl_mean"]}
    finally:
        shutil.rmtree(plan, ignore_errors=True)
    return figures


def run_rows(options):
    options.folder = os.path.join(common.ROOT, "out", "quantization", options.name)
    os.makedirs(options.folder, exist_ok=True)
    kept = os.path.join(options.folder, "results.json")
    results = json.load(open(kept)) if os.path.exists(kept) else {}
    reference = common.compile_plan(options.qplan, options.model, os.path.join(options.folder, "reference.qplan"),
                                    ["--quant", "f32", "--kv-cache", "f32"])
    if "f32" not in results:
        base = common.score(options, reference)
        results["f32"] = {"perplexity": base["perplexity"], "windows": base["windows"]}
    for row in json.load(open(ROWS))["rows"]:
        name = name_of(row)
        have = {} if options.again else results.get(name, {})
        missing = [key for key in asked(options) if key not in have]
        if not missing or not wanted(row, options.only.split(",")):
            continue
        results[name] = {**have, **measure(options, row, reference, missing)}
        print(f"{name}: {json.dumps(results[name])}", flush=True)
        with open(kept + ".new", "w") as file:
            json.dump(results, file, indent=1)
        os.replace(kept + ".new", kept)
    common.write_record(f"quantization-{options.name}",
                        {"model": options.name, "text": os.path.basename(options.text),
                         "windows": results["f32"]["windows"], "figures": results})


def verdict(row, figures, model):
    """Our KL as a share of the reference's, and whether it is within the bound."""
    reference = row.get("kl", {}).get(model)
    if reference is None:
        return "", "", ""
    return f"{reference:.5f}", f"{figures['kl'] / reference:.2f}", (
        "yes" if figures["kl"] <= FACTOR * reference + SLACK else "**no**")


def table(rows, figures, model):
    base = figures["f32"]["perplexity"]
    lines = []
    for row in rows:
        mine = figures.get(name_of(row))
        if not mine:
            continue
        peer, ratio, within = verdict(row, mine, model)
        lines.append([f"`{name_of(row)}`", f"{mine['bits']:.3f}", f"{mine['perplexity']:.3f}",
                      f"{100 * math.log(mine['perplexity'] / base):+.2f} %", f"{mine['kl']:.5f}",
                      f"{mine['top1']:.4f}", f"{mine['qdq']['kl_emitted']:.5f}" if "qdq" in mine else "",
                      f"{mine['qdq']['kl']:.5f}" if "qdq" in mine else "",
                      f"{mine['decode_tokens_per_s']:.0f}" if "decode_tokens_per_s" in mine else "",
                      row.get("reference", ""), peer, ratio, within])
    header = ["treatment", "bits", "perplexity", "loss", "KL", "top-1", "KL, few windows", "QDQ in f32 there",
              "decode, tok/s", "compared with", "its KL", "ratio", "within"]
    return common.markdown(header, lines)


def best(figures, *patterns):
    """Name and figures of the row with the least KL among those that match."""
    rows = [(name, each) for name, each in figures.items()
            if "kl" in each and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    return min(rows, key=lambda pair: pair[1]["kl"]) if rows else None


def loss(figures, name):
    return 100 * math.log(figures[name]["perplexity"] / figures["f32"]["perplexity"])


def findings(figures):
    """[claim, what this model says] for claims that are often quoted."""
    lines = []

    def say(claim, names, verdict_of):
        present = [name for name in names if name in figures]
        if present:
            text = "; ".join(f"`{name}` {loss(figures, name):+.2f} % (KL {figures[name]['kl']:.4f})" for name in present)
            lines.append([claim, text, verdict_of([loss(figures, name) for name in present])])

    say("FP8 weights and activations lose nothing", ["fp8_e4m3_tensorafp8s", "fp8_e4m3afp8", "mxfp8amxfp8"],
        lambda losses: "holds (under 1 %)" if max(losses) < 1 else
        "holds for the best (under 1 %)" if min(losses) < 1 else "does not hold")
    say("INT8 weights and activations lose 1 to 3 % when tuned",
        ["int8a8s", "int8a8s@smoothquant{search=1}", "int8a8", "int8a8@smoothquant{search=1}", "int8a8 --rotate all"],
        lambda losses: "holds, or better, for the tuned" if min(losses) < 3 else "does not hold")
    four = best(figures, "int4_g*@*", "tcq4_5@*")
    eight = best(figures, "int8a8*")
    if four and eight:
        level = loss(figures, four[0]) <= loss(figures, eight[0]) + 1
        say("4-bit weights with 16-bit activations are level with 8-bit weights and activations", [four[0], eight[0]],
            lambda losses: "holds (within 1 %)" if level else "does not hold at this size")
    widths = [(bits, f"int{bits}_g64@mse") for bits in range(2, 9) if f"int{bits}_g64@mse" in figures]
    if len(widths) > 2:
        text = "; ".join(f"{bits}: {figures[name]['kl']:.5f}" for bits, name in widths)
        steps = [figures[a[1]]["kl"] / figures[b[1]]["kl"] for a, b in zip(widths, widths[1:])]
        usable = next((bits for bits, name in widths if loss(figures, name) < 5), None)
        lines.append(["4 bits are the best value per bit", f"KL by bits: {text}; each bit divides it by "
                      + ", ".join(f"{step:.1f}" for step in steps),
                      f"fewest bits that lose under 5 %: {usable}" if usable else "none loses under 5 %"])
    for what, names in (("weights", ["fp8_e5m2", "fp8_e4m3", "fp8_e3m4", "fp8_e2m5", "int8"]),
                        ("weights and activations", ["fp8_e5m2afp8e5m2", "fp8_e4m3afp8", "fp8_e3m4afp8e3m4",
                                                     "fp8_e2m5afp8e2m5", "int8a8"])):
        present = [name for name in names if name in figures]
        if len(present) > 2:
            text = "; ".join(f"`{name}` {figures[name]['kl']:.5f}" for name in present)
            lines.append([f"E4 where outliers rule, E2 or INT8 where values are Gaussian: {what}", f"KL {text}",
                          f"best: `{min(present, key=lambda name: figures[name]['kl'])}`"])
    return common.markdown(["claim", "measured here", "verdict"], lines)


def latest_records():
    """The newest record of each model."""
    records = {}
    for path in glob.glob(os.path.join(common.ROOT, "bench", "record", "quantization-*.json")):
        record = json.load(open(path))
        if record["model"] not in records or record["date"] > records[record["model"]]["date"]:
            records[record["model"]] = record
    return [records[name] for name in sorted(records)]


def outliers(model):
    """What the newest record of bench/outliers.py says of `model`; empty: there is none."""
    paths = glob.glob(os.path.join(common.ROOT, "bench", "record", f"outliers-{model}-*.json"))
    if not paths:
        return ""
    record = max((json.load(open(path)) for path in paths), key=lambda each: each["date"])
    factors = list(next(iter(record["figures"].values())))
    lines = [[f"`{name}`", *(f"{figures[factor]['kl']:.5f}" for factor in factors),
              f"{max(figures[factor]['kl'] for factor in factors) / figures['1']['kl']:.2f}"]
             for name, figures in record["figures"].items()]
    header = ["treatment", "KL before", *(f"KL, channels x {factor}" for factor in factors if factor != "1"), "at most"]
    return (f"### Outliers that change nothing\n\n`bench/outliers.py MODEL --name {model}`: {100 * record['share']:g} % of "
            "the channels of the norms in the layers are made larger, the columns that read them smaller, so that "
            f"the function in f32 stays (KL below {max(1e-9, *record['f32_kl'].values()):.0e}). {record['windows']} "
            f"windows of {record['text']}, commit {record['commit']}; \"at most\" is the worst KL over that before.\n\n"
            + common.markdown(header, lines) + "\n")


def draw(record, rows):
    """Stored bits against KL, one mark a row."""
    points = [(row["group"], name_of(row), record["figures"][name_of(row)]) for row in rows
              if name_of(row) in record["figures"] and "cache" not in row]
    path = os.path.join(common.ROOT, "bench", f"quantization-{record['model']}.svg")
    plot.scatter(path, f"{record['model']}: what a stored bit buys", "stored bits a weight", "KL(f32 || row), nats",
                 [(group, name, each["bits"], each["kl"]) for group, name, each in points])
    return os.path.basename(path)


def report():
    rows = json.load(open(ROWS))["rows"]
    parts = ["# What quantization costs\n\nWritten by `bench/quantization.py --report` from the records beside it; "
             "do not edit. KL is KL(f32 || row) in nats over the first windows of the text; bits are those stored "
             "for the linears of the layers, scales included; every row is the emitted plan. \"within\": KL is at "
             f"most {FACTOR} x the compared figure + {SLACK}. Speeds are those of one sequence, and the form with "
             "quantize and dequantize runs in f32 on fewer windows, where the emitted plan's KL stands before it.\n"]
    for record in latest_records():
        parts.append(f"## {record['model']}\n\n`bench/quantization.py MODEL --name {record['model']}`: "
                     f"{record['windows']} windows of {record['text']}, f32 perplexity "
                     f"{record['figures']['f32']['perplexity']:.3f}, commit {record['commit']}, {record['cpu']}.\n")
        parts.append(f"![bits against KL]({draw(record, rows)})\n")
        parts.append("### Often quoted\n\n" + findings(record["figures"]) + "\n")
        if section := outliers(record["model"]):
            parts.append(section)
        groups = list(dict.fromkeys(row["group"] for row in rows))
        for group in groups:
            members = [row for row in rows if row["group"] == group and name_of(row) in record["figures"]]
            if members:
                parts.append(f"### {group[0].upper() + group[1:]}\n\n"
                             + table(members, record["figures"], record["model"]) + "\n")
    with open(PAGE, "w") as file:
        file.write("\n".join(parts))
    print(os.path.relpath(PAGE, common.ROOT))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--name", help="what records and rows call the model, such as small or smollm2")
    parser.add_argument("--only", default="*", help="patterns of rows, separated by commas")
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--qdq", type=int, default=0, metavar="N", help="score QDQ forms on the first N windows")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--again", action="store_true", help="measure rows again that were measured before")
    parser.add_argument("--calib", default=common.CALIBRATION)
    parser.add_argument("--text", default=common.TEXT)
    parser.add_argument("--qplan", default=common.QPLAN)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.model:
        if not options.name:
            sys.exit("--name is needed: what the records call the model")
        run_rows(options)
    elif not options.report:
        sys.exit("give a model, or --report")
    if options.report:
        report()


if __name__ == "__main__":
    main()
