#!/usr/bin/env python3
"""What searching for treatments gains, what it foresees, and how long it takes.

    bench/search.py MODEL --name small [--windows 128] [--auto all] [--budgets 4.25,4.5] [--predict 20] [--times]
    bench/search.py --report

Every budget is compiled from one front and scored against the plan in f32 on the first windows
of a text; rows of published figures stand beside it (bench/search.json). `--predict N` compiles
N random recipes and compares predicted with real divergence by rank. `--times` compares predicted
with measured decode times, which needs a quiet machine. Finished rows are kept under
out/search/NAME, so that a run may be stopped and continued. `--report` writes bench/Search.md
from the latest records.
"""
import argparse
import glob
import json
import os
import random
import shutil
import time

import common

GOALS = os.path.join(common.ROOT, "bench", "search.json")
PAGE = os.path.join(common.ROOT, "bench", "Search.md")


def ranks(values):
    """Ranks, equal values sharing their mean."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    result = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for i in range(start, end + 1):
            result[order[i]] = (start + end) / 2
        start = end + 1
    return result


def correlation(a, b):
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b))
    spread = (sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)) ** 0.5
    return covariance / spread if spread else float("nan")


def decode_time(front, choices):
    """What a front predicts for a decode step of a choice for each group; None: it was not timed."""
    if front["base_decode_ms"] is None:
        return None
    formats = [front["candidates"][choice].split("@")[0] for choice in choices]
    launches = sum(len({formats[group] for group in groups}) - 1 for groups in front.get("fused", []))
    return (front["base_decode_ms"] + front.get("split_ms", 0) * launches
            + sum(group["decode_ms"][choice] for group, choice in zip(front["groups"], choices)))


class Bench:
    def __init__(self, options):
        self.options = options
        self.folder = os.path.join(common.ROOT, "out", "search", options.name)
        os.makedirs(self.folder, exist_ok=True)
        self.kept = os.path.join(self.folder, "results.json")
        self.results = json.load(open(self.kept)) if os.path.exists(self.kept) else {}
        self.reference = None

    def keep(self, key, value):
        self.results[key] = value
        print(f"{key}: {json.dumps(value)}", flush=True)
        with open(self.kept + ".new", "w") as file:
            json.dump(self.results, file, indent=1)
        os.replace(self.kept + ".new", self.kept)

    def calibration(self, activations):
        return ["--calib", self.options.calib, "--statistics",
                os.path.join(self.folder, f"statistics-{activations}.json")]

    def front(self, activations):
        """The front for one kind of activations, made once; its time is a figure."""
        path = os.path.join(self.folder, f"front-{activations}.json")
        key = f"front {activations}"
        stale = self.options.times and os.path.exists(path) and json.load(open(path))["base_decode_ms"] is None
        if stale or not os.path.exists(path) or key not in self.results:
            start = time.perf_counter()
            made = common.run_json([self.options.qplan, "search", self.options.model, "-o", path, "--auto",
                                    self.options.auto, "--activations", activations, "--json",
                                    *self.calibration(activations), *(["--time"] if self.options.times else [])])
            self.keep(key, {"seconds": round(time.perf_counter() - start, 1), "groups": made["groups"],
                            "candidates": made["candidates"]})
        return path

    def score(self, recipe, activations, decode=False):
        """Compiles a recipe and scores the plan, which is removed then."""
        plan = os.path.join(self.folder, "row.qplan")
        if self.reference is None:
            self.reference = common.compile_plan(self.options.qplan, self.options.model,
                                                 os.path.join(self.folder, "reference.qplan"),
                                                 ["--quant", "f32", "--kv-cache", "f32"])
        try:
            start = time.perf_counter()
            common.run([self.options.qplan, "compile", self.options.model, "-o", plan, "--recipe", recipe,
                        "--kv-cache", "f32", *self.calibration(activations)])
            figures = {"compile_s": round(time.perf_counter() - start, 1)}
            result = common.score(self.options, plan, self.reference)
            inspected = common.run_json([self.options.qplan, "inspect", plan, "--json"])
            figures.update(bits=inspected["effective_bits"], kl=result["kl_mean"], top1=result["top1_agreement"],
                           perplexity=result["perplexity"], windows=result["windows"])
            if decode:
                bench = common.run_json([self.options.qplan, "bench", plan, "-p", "0", "-n", "128",
                                         "--repetitions", "9", "--json"])
                figures["decode_ms"] = bench["ms_per_token"]
        finally:
            shutil.rmtree(plan, ignore_errors=True)
        return figures

    def wins(self):
        for row in json.load(open(GOALS))["rows"]:
            activations, bits = row["activations"], row["bits"]
            key = f"wins {activations} {bits}"
            wanted = self.options.budgets is None or str(bits) in self.options.budgets.split(",")
            if row["model"] != self.options.name or key in self.results or not wanted:
                continue
            recipe = os.path.join(self.folder, "row.recipe")
            front = self.front(activations)
            start = time.perf_counter()
            found = common.run_json([self.options.qplan, "search", "--front", front,
                                     "--effective-bits", bits, "--save-recipe", recipe, "--json"])
            answer = time.perf_counter() - start
            figures = self.score(recipe, activations, self.options.times)
            figures.update(predicted_kl=found["chosen"]["predicted_kl"], answer_s=round(answer, 3),
                           predicted_decode_ms=found["chosen"].get("predicted_decode_ms"))
            self.keep(key, figures)

    def predicts(self):
        """Random recipes: candidates at random, each recipe around a size of its own."""
        front = json.load(open(self.front("16")))
        for seed in range(self.options.predict):
            key = f"predicts {seed}"
            if key in self.results:
                continue
            rng = random.Random(seed)
            count = len(front["candidates"])
            centre = rng.uniform(0, count - 1)
            lines, predicted, choices = [], 0.0, []
            for group in front["groups"]:
                choice = min(count - 1, max(0, round(rng.gauss(centre, 1.5))))
                choices.append(choice)
                predicted += group["kl"][choice]
                lines += [f"{site} = {front['candidates'][choice]}" for site in group["sites"]]
            recipe = os.path.join(self.folder, "random.recipe")
            with open(recipe, "w") as file:
                file.write("\n".join(["qplan-recipe 1", "sites: layers", "", *lines]) + "\n")
            figures = self.score(recipe, "16", self.options.times)
            self.keep(key, {"predicted_kl": predicted, "predicted_decode_ms": decode_time(front, choices),
                            **figures})

    def run(self):
        self.wins()
        self.predicts()
        common.write_record(f"search-{self.options.name}",
                            {"model": self.options.name, "auto": self.options.auto,
                             "text": os.path.basename(self.options.text), "windows": self.options.windows,
                             "figures": self.results})


def page_of(record):
    figures, lines = record["figures"], []
    for row in json.load(open(GOALS))["rows"]:
        mine = figures.get(f"wins {row['activations']} {row['bits']}")
        if row["model"] != record["model"] or not mine:
            continue
        goal = row.get("kl")
        lines.append([f"{row['bits']}", row["activations"], f"{mine['bits']:.4f}", f"{mine['predicted_kl']:.5f}",
                      f"{mine['kl']:.5f}", f"{mine['top1']:.4f}", f"{goal:.4f}" if goal else "",
                      f"{mine['kl'] / goal:.2f}" if goal else "",
                      f"{mine['answer_s']:.3f}" if "answer_s" in mine else "", f"{mine['compile_s']:.0f}"])
    windows = next((value["windows"] for value in figures.values() if "windows" in value), record["windows"])
    parts = [f"## {record['model']}\n\n`--auto {record['auto']}`, {windows} windows of {record['text']}, "
             f"commit {record['commit']}, {record['cpu']}, {record['cores']} cores.\n"]
    if lines:
        parts.append(common.markdown(["budget", "activations", "bits", "predicted KL", "KL", "top-1", "best public mix",
                                      "ratio", "answer, s", "compile, s"], lines))
    for key, value in figures.items():
        if key.startswith("front "):
            parts.append(f"\nSearch with activations of {key[6:]} bits: {value['groups']} groups, "
                         f"{len(value['candidates'])} candidates, {value['seconds']} s.")
    pairs = [value for key, value in figures.items() if key.startswith("predicts ")]
    if len(pairs) > 2:
        predicted, real = [p["predicted_kl"] for p in pairs], [p["kl"] for p in pairs]
        ratios = sorted(r / p for p, r in zip(predicted, real))
        parts.append(f"\n{len(pairs)} random recipes: rank correlation of predicted and real KL "
                     f"{correlation(ranks(predicted), ranks(real)):.3f}; real over predicted "
                     f"{ratios[0]:.2f} to {ratios[-1]:.2f}, median {common.median(ratios):.2f}.")
    timed = [v for v in figures.values() if v.get("decode_ms") and v.get("predicted_decode_ms")]
    if timed:
        errors = sorted(abs(v["predicted_decode_ms"] / v["decode_ms"] - 1) for v in timed)
        parts.append(f"\nPredicted decode times of {len(timed)} plans are within {100 * errors[-1]:.1f} % of those "
                     f"measured, half of them within {100 * common.median(errors):.1f} %.")
    return "\n".join(parts)


def report():
    records = {}
    for path in glob.glob(os.path.join(common.ROOT, "bench", "record", "search-*.json")):
        record = json.load(open(path))
        if record["model"] not in records or record["date"] > records[record["model"]]["date"]:
            records[record["model"]] = record
    with open(PAGE, "w") as file:
        file.write("# What a search gains\n\nWritten by `bench/search.py --report` from the records beside it; do not "
                   "edit. KL is KL(f32 || plan) in nats over the first windows of the text; bits are those stored for "
                   "the linears of the layers. The best public mix is the best knapsack over published types at that "
                   "size, for 8-bit activations the best ready-made one; for smollm2 what ModelOpt makes in as many "
                   "bits or up to 0.1 more: uniform INT4 at 4.25 and 4.5, else the best of AutoQuantize.\n\n"
                   + "\n\n".join(page_of(records[name]) for name in sorted(records)) + "\n")
    print(f"wrote {os.path.relpath(PAGE, common.ROOT)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--name", default="small", help="of the model in records and in bench/search.json")
    parser.add_argument("--auto", default="all")
    parser.add_argument("--budgets", help="only these, separated by commas")
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--predict", type=int, default=0, metavar="N", help="random recipes to compare")
    parser.add_argument("--times", action="store_true", help="predict and measure decode times too")
    parser.add_argument("--text", default=common.TEXT)
    parser.add_argument("--calib", default=common.CALIBRATION)
    parser.add_argument("--qplan", default=common.QPLAN)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        report()
    elif options.model:
        Bench(options).run()
    else:
        parser.error("name a MODEL, or give --report")


if __name__ == "__main__":
    main()
