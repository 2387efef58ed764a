#!/usr/bin/env python3
"""Searches over all sites of a mixture of experts and of a model with tied embeddings.

usage: search_sites.py WORK_FOLDER

A bank of experts is one group, and so is a table with the head that is tied to it; what is only
looked up takes no treatment that needs to see inputs. The plan stores what the search counted.
"""
import json
import shutil
import sys
from pathlib import Path

from e2e import CALIBRATION, INPUTS, TINY, byte_tokenizer, check, finish, qplan

work = Path(sys.argv[1])


def search(model, name, candidates, bits):
    """The front and the plan of a search over all sites."""
    front, recipe, plan = work / f"{name}.json", work / f"{name}.recipe", work / f"{name}.qplan"
    statistics = work / f"{name}.statistics"
    calibration = ["--calib", CALIBRATION, "--calib-samples", 2, "--calib-length", 64, "--statistics", statistics]
    qplan("search", model, "-o", front, "--auto", candidates, "--sites", "layers+lm_head+embedding",
          "--effective-bits", bits, "--save-recipe", recipe, *calibration)
    qplan("compile", model, "-o", plan, "--recipe", recipe, "--sites", "layers+lm_head+embedding", *calibration)
    return json.loads(front.read_text()), json.loads((plan / "manifest.json").read_text())


def check_plan(front, manifest, bits):
    sites = {site["name"]: site for site in manifest["sites"]}
    chosen = front["chosen"]["choice"]
    elements = stored = 0
    for group, candidate in zip(front["groups"], chosen):
        for site in group["sites"]:
            check(sites[site]["treatment"] == front["candidates"][candidate], f"{site}: another treatment")
        elements += group["elements"]
        stored += group["bits"][candidate]
        check(group["allowed"][candidate], f"{group['name']}: what is not allowed was chosen")
        first = sites[group["sites"][0]]
        check(abs(first["bits"] * group["elements"] - group["bits"][candidate]) < 1,
              f"{group['name']}: the plan stores {first['bits']} bits a weight, the search counted "
              f"{group['bits'][candidate] / group['elements']}")
    check(stored <= bits * elements and abs(stored / elements - front["chosen"]["bits"]) < 1e-9, "over budget")


moe = work / "moe"
shutil.copytree(INPUTS / "zoo/mixtral", moe)
byte_tokenizer(moe / "tokenizer.json")
front, manifest = search(moe, "moe-front", "int4_g32,int4_g32@imatrix,int8,bf16", 7)
check_plan(front, manifest, 7)
groups = {group["name"]: group for group in front["groups"]}
banks = [group for name, group in groups.items() if "experts" in name]
experts = json.loads((moe / "config.json").read_text())
check(sum(group["elements"] for group in banks) ==
      3 * experts["num_hidden_layers"] * experts["num_local_experts"] * experts["hidden_size"] *
      experts["intermediate_size"], "banks do not hold all experts")
check(len(banks) <= 3 * experts["num_hidden_layers"], "experts of a bank are groups of their own")
check({"embedding", "lm_head"} <= set(groups), "the head is not by itself")
weighted = front["candidates"].index("int4_g32@imatrix")
check(not groups["embedding"]["allowed"][weighted] and groups["lm_head"]["allowed"][weighted],
      "what is looked up has no inputs, what is multiplied has")

front, manifest = search(TINY, "tied", "int4_g64,int4_g64@imatrix,int8", 5)
check_plan(front, manifest, 5)
tied = [group for group in front["groups"] if set(group["sites"]) & {"embedding", "lm_head"}]
check(len(tied) == 1 and set(tied[0]["sites"]) == {"embedding", "lm_head"}, "tied tables are not one group")
config = json.loads((Path(TINY) / "config.json").read_text())
check(tied[0]["elements"] == config["vocab_size"] * config["hidden_size"], "a tied tensor counts twice")
finish()
