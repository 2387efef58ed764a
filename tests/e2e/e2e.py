"""What the end-to-end tests share: running qplan, token ids of real text, distances.

Tests compile small checkpoints, run the plans and compare logits; `qplan logits --compare`
does the arithmetic. Only the standard library is used, so that a test needs nothing but
Python. A check that fails prints what was found and expected and ends with status 1.
"""
import json
import struct
import subprocess
import sys
import time
from pathlib import Path

INPUTS = Path(__file__).resolve().parent.parent / "Inputs"
TINY = INPUTS / "models" / "tiny"
CALIBRATION = INPUTS / "text" / "wikitext2-valid.txt"

failures = []


def check(fact, text):
    """Notes that `text` is not so, unless `fact`."""
    if not fact:
        failures.append(text)
        print(f"FAILED: {text}", flush=True)


def finish():
    """Ends the program: status 1 when a check failed."""
    print(f"{len(failures)} failed" if failures else "all as expected")
    sys.exit(1 if failures else 0)


def qplan(*arguments, status=0):
    """Runs `qplan ARGUMENTS`; returns (stdout, stderr). Another exit status than `status`
    ends the test."""
    done = subprocess.run(["qplan", *map(str, arguments)], capture_output=True)
    errors = done.stderr.decode(errors="replace")
    if done.returncode != status:
        command = " ".join(map(str, arguments))
        sys.exit(f"qplan {command}: status {done.returncode}, expected {status}\n{errors}")
    return done.stdout, errors


def stopped(arguments, statistics, signal):
    """Runs `qplan ARGUMENTS` and sends it `signal` when the file `statistics` holds scores;
    returns (exit status, stderr)."""
    process = subprocess.Popen(["qplan", *map(str, arguments)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        if statistics.exists() and json.loads(statistics.read_text())["scores"]:
            process.send_signal(signal)
            break
        time.sleep(0.005)
    errors = process.communicate()[1]
    return process.returncode, errors


def compiled(model, output, *options):
    """Compiles `model` to the plan `output` and returns its path."""
    qplan("compile", model, "-o", output, "--json", *options)
    return output


def write_tensors(path, tensors):
    """A safetensors file of {name: (shape, i32 values)}."""
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        chunk = struct.pack(f"<{len(values)}i", *values)
        header[name] = {"dtype": "I32", "shape": list(shape),
                        "data_offsets": [len(data), len(data) + len(chunk)]}
        data += chunk
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_tensor(path, name):
    """(shape, values) of an F32 or I32 tensor of a safetensors file."""
    raw = Path(path).read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    entry = json.loads(raw[8:8 + size])[name]
    first, last = entry["data_offsets"]
    code = {"F32": "f", "I32": "i"}[entry["dtype"]]
    return entry["shape"], struct.unpack(f"<{(last - first) // 4}{code}",
                                         raw[8 + size + first:8 + size + last])


def byte_tokenizer(path):
    """A tokenizer of 256 tokens, one for each byte."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}
    stage = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    path.write_text(json.dumps({
        "version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": stage, "decoder": stage,
        "post_processor": None, "model": {"type": "BPE", "vocab": letters, "merges": []}}))


def tiny_ids(path, rows=2, positions=160):
    """Token ids of real text for the tiny model: the beginnings of two windows of WikiText-2."""
    windows = json.loads((TINY / "reference.json").read_text())["wikitext2_first_windows"]["ids"]
    values = [token for window in windows[:rows] for token in window[:positions]]
    write_tensors(path, {"input_ids": ((rows, positions), values)})
    return path


def counted_ids(path, vocabulary, rows=2, positions=40):
    """Token ids without meaning, for checkpoints of random weights."""
    values = [(7919 * i + 104729) % vocabulary for i in range(rows * positions)]
    write_tensors(path, {"input_ids": ((rows, positions), values)})
    return path


def logits(plan, ids, output, greedy=0):
    """Writes the logits of `plan` for `ids`; the file also holds `input_ids` when it came from
    a golden file."""
    qplan("logits", plan, "--input-ids", ids, "-o", output, "--greedy", greedy)
    return output


def distance(plan, ids, golden):
    """How far the logits of `plan` are from those of `golden`: max_difference and
    rms_difference in standard deviations of the golden logits, kl_mean in nats."""
    out, _ = qplan("logits", plan, "--input-ids", ids, "--compare", golden, "--tolerance", 1e30,
                   "--json")
    return json.loads(out)


def describe(found):
    return (f"max {found['max_difference']:.2e} rms {found['rms_difference']:.2e} "
            f"KL {found['kl_mean']:.2e}")
