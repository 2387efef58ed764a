#!/usr/bin/env python3
"""Every expert of a mixture has a treatment of its own.

usage: single_experts.py WORK_FOLDER

Experts that are all treated alike are stored and run as their bank is, to the byte. A recipe that
treats them differently is computed as its QDQ form says. A search finds no worse mix than one that
takes banks whole, with the same statistics file. Recipes say which form they are of.
"""
import json
import shutil
import sys
from pathlib import Path

from e2e import (CALIBRATION, INPUTS, TINY, byte_tokenizer, check, compiled, counted_ids, describe, distance,
                 finish, logits, qplan)

work = Path(sys.argv[1])
model = work / "moe"
shutil.copytree(INPUTS / "zoo/mixtral", model)
byte_tokenizer(model / "tokenizer.json")
config = json.loads((model / "config.json").read_text())
experts, layers = config["num_local_experts"], config["num_hidden_layers"]
calibration = ["--calib", CALIBRATION, "--calib-samples", 2, "--calib-length", 64, "--statistics",
               work / "statistics.json"]
ids = counted_ids(work / "ids.safetensors", config["vocab_size"], positions=12)


def sites_of(plan):
    return {site["name"]: site for site in json.loads((plan / "manifest.json").read_text())["sites"]}


# All alike: the bank.
alike = ["--quant", "int4_g32a8@imatrix", *calibration]
bank = compiled(model, work / "bank.qplan", *alike)
single = compiled(model, work / "single.qplan", *alike, "--single-experts")
for name in "weights.bin", "model.so":
    check((bank / name).read_bytes() == (single / name).read_bytes(), f"{name} is not the bank's")
shape = [config["intermediate_size"], config["hidden_size"]]
check(sites_of(bank)["layers.1.mlp.experts.gate"]["shape"] == [experts, *shape], "the shape of a bank")
check(sites_of(single)["layers.1.mlp.experts.2.gate"]["shape"] == shape, "the shape of an expert")
check(len(sites_of(single)) == len(sites_of(bank)) + 3 * layers * (experts - 1), "not every expert is a site")

# Different ones: the QDQ form, and not far from the model as it is.
recipe = work / "mixed.recipe"
recipe.write_text("""qplan-recipe 1
experts: single

* = bf16
layers.*.mlp.experts.0.* = int8a8
layers.*.mlp.experts.1.* = int4_g32@gptq
layers.0.mlp.experts.3.gate = int4_g32a8@imatrix
layers.1.mlp.experts.3.down = int8a8
""")
plan = compiled(model, work / "mixed.qplan", "--recipe", recipe, *calibration)
reference = compiled(model, work / "qdq.qplan", "--recipe", recipe, "--qdq", *calibration)
found = distance(plan, ids, logits(reference, ids, work / "qdq.safetensors"))
check(found["rms_difference"] <= 1e-2 and found["kl_mean"] <= 1e-4, f"the QDQ form: {describe(found)}")
exact = compiled(model, work / "exact.qplan", "--quant", "f32")
found = distance(plan, ids, logits(exact, ids, work / "exact.safetensors"))
check(1e-6 < found["kl_mean"] < 0.02, f"the exact model: {describe(found)}")
treated = {name: site["treatment"] for name, site in sites_of(plan).items()}
for name, treatment in {"layers.0.mlp.experts.0.down": "int8a8", "layers.1.mlp.experts.2.up": "bf16",
                        "layers.0.mlp.experts.3.gate": "int4_g32a8@imatrix", "layers.1.mlp.experts.3.down": "int8a8",
                        "layers.1.mlp.experts.1.gate": "int4_g32@gptq"}.items():
    check(treated[name] == treatment, f"{name}: {treated[name]}")
text, _ = qplan("inspect", plan)
check(b"layers.1.mlp.experts.3.down" in text, "inspect does not list experts")

# Searches: no mix of banks is better than the best of experts.
options = ["--auto", "int4_g32,int4_g32@imatrix,int8", "--group", "qkv,gate_up", *calibration]


def search(name, *more):
    front, chosen = work / f"{name}.json", work / f"{name}.recipe"
    qplan("search", model, "-o", front, "--save-recipe", chosen, "--effective-bits", 6, *options, *more)
    return json.loads(front.read_text()), chosen


banks, _ = search("banks")
before = set(json.loads((work / "statistics.json").read_text())["sites"])
singles, chosen = search("singles", "--single-experts")
check(set(json.loads((work / "statistics.json").read_text())["sites"]) == before, "inputs were observed again")
names = {group["name"] for group in singles["groups"]}
check({f"layers.0.mlp.experts.{e}.{part}" for e in range(experts) for part in ("gate_up", "down")} <= names,
      "experts are no groups of their own")
kinds = {singles["candidates"][c] for group, c in zip(singles["groups"], singles["chosen"]["choice"])
         if "experts" in group["name"]}
check(len(kinds) > 1, f"all experts have {kinds}")
check(singles["chosen"]["bits"] <= 6, "over budget")
check(singles["chosen"]["kl"] <= banks["chosen"]["kl"] * 1.05,
      f"predicted KL {singles['chosen']['kl']} of experts, {banks['chosen']['kl']} of banks")
check("\nexperts: single\n" in chosen.read_text() and singles["experts"] == "single" and "experts" not in banks,
      "the form is not noted")
qplan("compile", model, "-o", work / "again.recipe", "--emit=recipe", "--recipe", chosen, *calibration)
lines = (work / "again.recipe").read_text().splitlines()
for group, c in zip(singles["groups"], singles["chosen"]["choice"]):
    for site in group["sites"]:
        check(f"{site} = {singles['candidates'][c]}" in lines, f"{site}: another treatment")
check("\nexperts: single\n" in (work / "again.recipe").read_text(), "a saved recipe lost its form")
qplan("search", "--front", work / "singles.json", "--effective-bits", 5, "--save-recipe", work / "five.recipe")
check("\nexperts: single\n" in (work / "five.recipe").read_text(), "the front lost its form")
qplan("search", model, "-o", work / "vllm.json", "--auto", "int4_g32,int8", "--for-export", "vllm", "--single-experts",
      *options[2:])
groups = {group["name"]: group["sites"] for group in json.loads((work / "vllm.json").read_text())["groups"]}
check(len(groups["layers.0.mlp.experts.down"]) == experts, "vLLM fuses experts, and they are not tied")

# What cannot be.
_, errors = qplan("compile", model, "-o", work / "no.qplan", "--recipe", work / "banks.recipe", "--single-experts",
                  *calibration, status=1)
check("every expert is a site, else every bank" in errors, f"a recipe of banks says: {errors}")
recipe.write_text(recipe.read_text().replace("experts: single\n", ""))
_, errors = qplan("compile", model, "-o", work / "no.qplan", "--recipe", recipe, *calibration, status=1)
check("every expert is a site, else every bank" in errors, f"a recipe of experts says: {errors}")
_, errors = qplan("search", "--front", work / "banks.json", "--single-experts", "--effective-bits", 5, status=2)
check("took banks of experts whole" in errors, f"a front of banks says: {errors}")
_, errors = qplan("compile", TINY, "-o", "-", "--emit=recipe", "--single-experts", "--quant", "int8",
                  "--save-recipe", work / "tiny.recipe")
check("no experts" in errors and "experts:" not in (work / "tiny.recipe").read_text(), f"a model without says: {errors}")
finish()
