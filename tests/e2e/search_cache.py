#!/usr/bin/env python3
"""What a search over caches leaves on the tiny model.

usage: search_cache.py WORK_FOLDER (of search-cache.test)

The plan has the cache that its recipe names; a wider cache is never much worse than a narrow one;
what was measured is in the statistics.
"""
import json
import sys
from pathlib import Path

from e2e import check, finish

work = Path(sys.argv[1])
front = json.loads((work / "front.json").read_text())
kl = {cache["format"]: cache["kl"] for cache in front["caches"]}
size = {cache["format"]: cache["bytes_per_token"] for cache in front["caches"]}
check("int8_g64" in kl and "int8_g128" not in kl, "heads of 64 columns have two names for one layout")
check(kl["f32"] == 0 < kl["f16"] < kl["int8"] < kl["int4_g32_asym"], "wider caches are worse")
check(kl["fp8_e4m3_head"] < kl["nvfp4"], "fp8 is worse than nvfp4")
check(size["f32"] == 2 * size["f16"] > 2 * size["int8"] > 2 * size["nvfp4"], "sizes are in another order")
kept = json.loads((work / "statistics.json").read_text())["scores"]["kv_cache"]
check({**kept, "f32": 0} == kl, "the statistics do not hold what the front does")

plan = json.loads((work / "m.qplan/manifest.json").read_text())
search = json.loads((work / "m.qplan/search.json").read_text())
recipe = dict(line.split(": ", 1) for line in (work / "r.recipe").read_text().splitlines() if ": " in line)
check(plan["kv_cache"] == recipe["kv-cache"] == search["chosen"]["cache"], "the plan has another cache")
memory = plan["memory"]
check(memory["kv_page_bytes"] == size[plan["kv_cache"]] * memory["kv_page_tokens"],
      "pages have another size than the search counted")
finish()
