#!/usr/bin/env python3
"""What searching for treatments gains, what it foresees, and how long it takes.

    bench/search.py MODEL --name small [--windows 128] [--auto all] [--budgets 4.25,4.5] [--predict 20] [--times]
    bench/search.py --report

Every budget is compiled from one front and scored against the plan in f32 on the first windows
of a text; rows of published figures stand beside it (bench/search.json). `--predict N` compiles
N random recipes and compares predicted with real divergence by rank. `--times` compares predicted
with measured decode times of those recipes: candidates are timed before and after the plans, which
take turns, because the speed of a machine that others share changes within minutes. Finished rows
are kept under out/search/NAME, so that a run may be stopped and continued. `--report` writes
bench/Search.md from the latest records.
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
    """What a front predicts for a decode step of a choice for each group."""
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
                os.path.join(self.folder, f"statistics-{activations}.json"),
                *(["--rotate", self.options.rotate] if self.options.rotate else [])]

    def front(self, activations):
        """The front for one kind of activations, made once; its time is a figure."""
        path = os.path.join(self.folder, f"front-{activations}.json")
        key = f"front {activations}"
        if not os.path.exists(path) or key not in self.results:
            start = time.perf_counter()
            made = self.search(activations, path)
            self.keep(key, {"seconds": round(time.perf_counter() - start, 1), "groups": made["groups"],
                            "candidates": made["candidates"]})
        return path

    def search(self, activations, path, *arguments):
        return common.run_json([self.options.qplan, "search", self.options.model, "-o", path, "--auto",
                                self.options.auto, "--activations", activations, "--json",
                                *self.calibration(activations), *arguments])

    def compile(self, recipe, plan, activations):
        common.run([self.options.qplan, "compile", self.options.model, "-o", plan, "--recipe", recipe,
                    "--kv-cache", "f32", *self.calibration(activations)])

    def score(self, recipe, activations):
        """Compiles a recipe and scores the plan, which is removed then."""
        plan = os.path.join(self.folder, "row.qplan")
        if self.reference is None:
            self.reference = common.compile_plan(self.options.qplan, self.options.model,
                                                 os.path.join(self.folder, "reference.qplan"),
                                                 ["--quant", "f32", "--kv-cache", "f32"])
        try:
            start = time.perf_counter()
            self.compile(recipe, plan, activations)
            figures = {"compile_s": round(time.perf_counter() - start, 1)}
            result = common.score(self.options, plan, self.reference)
            inspected = common.run_json([self.options.qplan, "inspect", plan, "--json"])
            figures.update(bits=inspected["effective_bits"], kl=result["kl_mean"], top1=result["top1_agreement"],
                           perplexity=result["perplexity"], windows=result["windows"])
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
            figures = self.score(recipe, activations)
            figures.update(predicted_kl=found["chosen"]["predicted_kl"], answer_s=round(answer, 3))
            self.keep(key, figures)

    def random_recipe(self, front, seed):
        """A file with candidates at random, each recipe around a size of its own, and the choices."""
        rng = random.Random(seed)
        count = len(front["candidates"])
        centre = rng.uniform(0, count - 1)
        choices = [min(count - 1, max(0, round(rng.gauss(centre, 1.5)))) for _ in front["groups"]]
        lines = [f"{site} = {front['candidates'][choice]}" for group, choice in zip(front["groups"], choices)
                 for site in group["sites"]]
        recipe = os.path.join(self.folder, "random.recipe")
        with open(recipe, "w") as file:
            file.write("\n".join(["qplan-recipe 1", "sites: layers", "", *lines]) + "\n")
        return recipe, choices

    def predicts(self):
        front = json.load(open(self.front("16")))
        for seed in range(self.options.predict):
            key = f"predicts {seed}"
            if key in self.results:
                continue
            recipe, choices = self.random_recipe(front, seed)
            predicted = sum(group["kl"][choice] for group, choice in zip(front["groups"], choices))
            self.keep(key, {"predicted_kl": predicted, **self.score(recipe, "16")})

    def times(self):
        """Predicted and measured milliseconds of a decode step of the random recipes."""
        if not self.options.times or "times" in self.results:
            return
        front = json.load(open(self.front("16")))
        plans, choices, measured = [], [], []

        def predicted():
            timed = os.path.join(self.folder, "front-timed.json")
            self.search("16", timed, "--time", "--kv-cache", "f32")
            found = json.load(open(timed))
            return [decode_time(found, choice) for choice in choices]

        try:
            for seed in range(self.options.predict):
                recipe, choice = self.random_recipe(front, seed)
                plans.append(os.path.join(self.folder, f"timed-{seed}.qplan"))
                self.compile(recipe, plans[-1], "16")
                choices.append(choice)
                measured.append([])
            before = predicted()
            for _ in range(self.options.rounds):
                for plan, times in zip(plans, measured):
                    bench = common.run_json([self.options.qplan, "bench", plan, "-p", "0", "-n", "128",
                                             "--repetitions", "9", "--json"])
                    times.append(bench["ms_per_token"])
            after = predicted()
        finally:
            for plan in plans:
                shutil.rmtree(plan, ignore_errors=True)
        self.keep("times", {"measured_ms": [common.median(times) for times in measured],
                            "predicted_before_ms": before, "predicted_after_ms": after})

    def run(self):
        self.wins()
        self.predicts()
        self.times()
        common.write_record(f"search-{self.options.name}",
                            {"model": self.options.name, "auto": self.options.auto, "rotate": self.options.rotate,
                             "text": os.path.basename(self.options.text), "windows": self.options.windows,
                             "figures": self.results})


def page_of_times(times):
    measured = times["measured_ms"]
    pairs = list(zip(times["predicted_before_ms"], times["predicted_after_ms"]))
    predicted = [(before + after) / 2 for before, after in pairs]

    def errors(factor):
        found = sorted(abs(factor * p / m - 1) for p, m in zip(predicted, measured))
        return f"{100 * found[-1]:.1f} %, half of them within {100 * common.median(found):.1f} %"

    factor = common.median([m / p for p, m in zip(predicted, measured)])
    drift = common.median([after / before for before, after in pairs])
    return (f"Decode steps of {len(measured)} plans of random recipes, {min(measured):.3f} to {max(measured):.3f} ms: "
            f"predicted within {errors(1)}; with one factor for all plans ({factor:.3f}) within {errors(factor)}. "
            f"Meanwhile the times of the candidates themselves changed by a factor of {drift:.3f}.")


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
    rotate = f" --rotate {record['rotate']}" if record.get("rotate") else ""
    parts = [f"## {record['model']}\n\n`--auto {record['auto']}{rotate}`, {windows} windows of {record['text']}, "
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
    if times := figures.get("times"):
        parts.append("\n" + page_of_times(times))
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
    parser.add_argument("--rotate", help="what is rotated before the search, as qplan's option")
    parser.add_argument("--budgets", help="only these, separated by commas")
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--predict", type=int, default=0, metavar="N", help="random recipes to compare")
    parser.add_argument("--times", action="store_true", help="predict and measure decode times of the recipes too")
    parser.add_argument("--rounds", type=int, default=5, help="in which each recipe has its turn")
    parser.add_argument("--text", default=common.TEXT)
    parser.add_argument("--calib", default=common.CALIBRATION)
    parser.add_argument("--qplan", default=common.QPLAN)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.times and options.predict < 1:
        parser.error("--times needs --predict N: whose times?")
    if options.report:
        report()
    elif options.model:
        Bench(options).run()
    else:
        parser.error("name a MODEL, or give --report")


if __name__ == "__main__":
    main()
