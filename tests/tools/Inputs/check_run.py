"""Compares `qplan run --json` (stdin) with the greedy ids recorded for the first prompt."""
import json
import sys

found = json.load(sys.stdin)["ids"]
recorded = json.load(open(sys.argv[1]))["prompts"][0]["greedy_ids"]
print("the recorded ids" if found == recorded[: len(found)] else f"{found} instead of {recorded}")
