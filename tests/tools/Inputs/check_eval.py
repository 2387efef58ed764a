"""Compares `qplan eval --json` (stdin) with the mean loss recorded for the first windows."""
import json
import sys

found = json.load(sys.stdin)
recorded = json.load(open(sys.argv[1]))["wikitext2_first_windows"]["mean_nll"]
count = found["scored_tokens"] // 511
expected = sum(recorded[:count]) / count
apart = abs(found["nll_per_token"] - expected)
wanted = {"perplexity", "nll_per_token", "tokens", "scored_tokens", "bits_per_byte"}
print("nll agrees" if apart < 1e-4 else f"nll is {found['nll_per_token']}, recorded is {expected}",
      f"fields {sorted(wanted & set(found))}", sep=", ")
