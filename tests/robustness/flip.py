"""Feeds damaged inputs to the tools and checks how they end.

Each round damages one file of a good input (bits, bytes, lengths, JSON values, lines), runs
the tool under a limit of time and of memory, and demands one of the statuses that bad
input may have, with a message when it is not 0. A seed fixes all that is drawn: round R of
kind K with seed S is the same input always, so that `--kinds K --only R` replays it.
"""
import argparse
import collections
import json
import os
import random
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile

INPUTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "Inputs")
SECONDS = 60
MEMORY = 6 << 30
NUMBERS = [0, 1, -1, 2, 3, 7, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, 10**9, (1 << 63) - 1,
           1 << 63, (1 << 64) - 1, 10**30, 0.5, -0.0, 1e-320, 1e308, 1e300, 1e39, float("nan"), float("inf")]
VALUES = NUMBERS + [None, True, False, "", "x", "default", "\u0000", [], {}, [1], [[]], {"a": 1}, [None] * 40, "0" * 300]


def damage_bytes(rng, data, low=0, high=None):
    """Some of: flipped bits, new bytes, cut, removed, repeated or inserted parts."""
    data = bytearray(data)
    high = min(len(data), high or len(data))
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        if high <= low:
            break
        at = rng.randrange(low, high)
        what = rng.randrange(9)
        if what <= 2:
            data[at] ^= 1 << rng.randrange(8)
        elif what == 3:
            data[at] = rng.choice([0, 0xFF, 0x7F, 0x80, rng.randrange(256)])
        elif what == 4:
            del data[at:]
        elif what == 5:
            del data[at:at + rng.choice([1, 4, 8, 100])]
        elif what == 6:
            size = rng.choice([1, 8, 64])
            data[at:at] = data[at:at + size]
        elif what == 7:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 8, 40])))
        else:
            size = rng.choice([4, 8])
            number = rng.choice([v for v in NUMBERS if isinstance(v, int) and 0 <= v < 1 << 64])
            data[at:at + size] = struct.pack("<Q", number)[:size]
        high = min(len(data), high)
    return bytes(data)


def places(value, found, path=()):
    """All (path) of a JSON value, its own included."""
    found.append(path)
    for key, child in (value.items() if isinstance(value, dict) else
                       enumerate(value) if isinstance(value, list) else ()):
        places(child, found, path + (key,))
    return found


def damage_json(rng, text):
    """Puts a wrong value, drops or renames a key, or damages the bytes."""
    if rng.random() < 0.25:
        return damage_bytes(rng, text)
    root = json.loads(text)
    for _ in range(rng.choice([1, 1, 2, 3])):
        paths = [p for p in places(root, []) if p]
        if not paths:
            break
        # Each depth is drawn as often as another, so that long lists do not win.
        depth = rng.choice(sorted({len(p) for p in paths}))
        path = rng.choice([p for p in paths if len(p) == depth])
        parent = root
        for key in path[:-1]:
            parent = parent[key]
        what = rng.randrange(6)
        if what == 0:
            del parent[path[-1]]
        elif what == 1 and isinstance(parent, dict):
            parent[str(path[-1]) + "x"] = parent.pop(path[-1])
        elif what == 2:
            deep = rng.choice([1, 60, 100, 100000])
            parent[path[-1]] = "@deep@"
            return json.dumps(root).replace('"@deep@"', "[" * deep + "]" * deep).encode()
        else:
            parent[path[-1]] = rng.choice(VALUES)
    return json.dumps(root).encode()


def damage_text(rng, data):
    """Lines and words of a text: dropped, doubled, swapped, or replaced by a wild number."""
    lines = data.decode().split("\n")
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(lines))
        what = rng.randrange(7)
        words = re.split(r"([\s,<>(){}=:\[\]|*.]+)", lines[at])
        word = rng.randrange(len(words))
        if what == 0:
            del lines[at]
        elif what == 1:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif what == 2:
            lines[at] = ""
        elif what in (3, 4):
            numbers = [i for i, w in enumerate(words) if re.fullmatch(r"-?\d+(\.\d+)?(e[-+]?\d+)?", w)]
            if numbers:
                words[rng.choice(numbers)] = str(rng.choice(NUMBERS[:-2]))
                lines[at] = "".join(words)
        elif what == 5:
            other = re.split(r"([\s,<>(){}=:\[\]|*.]+)", lines[rng.randrange(len(lines))])
            words[word] = rng.choice(other)
            lines[at] = "".join(words)
        else:
            return damage_bytes(rng, "\n".join(lines).encode())
        if not lines:
            return b""
    return "\n".join(lines).encode()


def damage_safetensors(rng, data):
    length = struct.unpack("<Q", data[:8])[0]
    if rng.random() < 0.5:
        return damage_bytes(rng, data, 0, 8 + length + 8)
    header = damage_json(rng, data[8:8 + length])
    if rng.random() < 0.2:
        length = rng.choice([v for v in NUMBERS if isinstance(v, int) and 0 <= v < 1 << 64])
    else:
        length = len(header)
    return struct.pack("<Q", length) + header + data[8 + struct.unpack("<Q", data[:8])[0]:]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def folder_with(good, work, name, data):
    """A copy of the folder `good` by links, with the file `name` replaced."""
    folder = os.path.join(work, "in")
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    for entry in os.listdir(good):
        if entry != name and os.path.isfile(os.path.join(good, entry)):
            os.symlink(os.path.join(good, entry), os.path.join(folder, entry))
    write(os.path.join(folder, name), data)
    return folder


class Campaign:
    def __init__(self, tools, work):
        self.tools = tools
        self.work = work
        self.zoo = sorted(os.listdir(os.path.join(INPUTS, "zoo")))
        self.zoo = [m for m in self.zoo if os.path.isdir(os.path.join(INPUTS, "zoo", m))]
        self.cache = {}

    def made(self, name, make):
        """What `make(path)` leaves at a path of its own, made once."""
        path = os.path.join(self.work, "good-" + name)
        if name not in self.cache:
            make(path)
            self.cache[name] = path
        return path

    def qplan(self, *arguments):
        return [os.path.join(self.tools, "qplan"), *arguments]

    def emit(self, rng, model, *more):
        """Mostly stops before code is made, which is the slow part and sees no input."""
        stage = rng.choice(["qp", "plan", "plan", "plan", "recipe"])
        treatment = rng.choice([[], ["--quant", "int4_g32"], ["--quant", "f32"], ["--quant", "fp8"]])
        return self.qplan("compile", model, f"--emit={stage}", "--target=cpu:x86-64-v3", *treatment, *more)

    def plan(self, model="llama_gqa"):
        return self.made("plan", lambda path: subprocess.run(
            self.qplan("compile", os.path.join(INPUTS, "zoo", model), "-o", path, "--quant", "int4_g32"),
            check=True, capture_output=True))

    # One method for each kind of input; each returns a command line.

    def config(self, rng):
        good = os.path.join(INPUTS, "zoo", rng.choice(self.zoo))
        data = damage_json(rng, read(os.path.join(good, "config.json")))
        return self.emit(rng, folder_with(good, self.work, "config.json", data))

    def safetensors(self, rng):
        good = os.path.join(INPUTS, "zoo", rng.choice(self.zoo))
        data = damage_safetensors(rng, read(os.path.join(good, "model.safetensors")))
        return self.emit(rng, folder_with(good, self.work, "model.safetensors", data))

    def weights(self, rng):
        """Elements, read only when weights are packed: NaN, infinities, huge numbers."""
        good = os.path.join(INPUTS, "zoo", "llama_gqa")
        data = bytearray(read(os.path.join(good, "model.safetensors")))
        start = 8 + struct.unpack("<Q", data[:8])[0]
        for _ in range(rng.choice([1, 10, 1000])):
            at = start + rng.randrange((len(data) - start) // 4) * 4
            data[at:at + 4] = rng.choice([b"\0\0\x80\x7f", b"\0\0\xc0\x7f", b"\xff\xff\x7f\x7f", b"\1\0\0\0",
                                          bytes(rng.randrange(256) for _ in range(4))])
        model = folder_with(good, self.work, "model.safetensors", bytes(data))
        treatment = rng.choice(["int4_g32", "int8a8", "fp8", "f32", "bf16", "f16"])
        return self.qplan("compile", model, "-o", os.path.join(self.work, "out"), "--quant", treatment)

    def gguf(self, rng):
        folder = os.path.join(INPUTS, "gguf")
        name = rng.choice(sorted(f for f in os.listdir(folder) if f.endswith(".gguf")))
        data = read(os.path.join(folder, name))
        path = os.path.join(self.work, "in.gguf")
        write(path, damage_bytes(rng, data, 0, rng.choice([64, 2000, 8000, len(data)])))
        return rng.choice([self.emit(rng, path), self.qplan("inspect", path, "--json")])

    def index(self, rng):
        good = os.path.join(INPUTS, "zoo", "llama_gqa")
        data = read(os.path.join(good, "model.safetensors"))
        header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
        index = {"metadata": {"total_size": 1},
                 "weight_map": {name: "model.safetensors" for name in header if name != "__metadata__"}}
        return self.emit(rng, folder_with(good, self.work, "model.safetensors.index.json",
                                          damage_json(rng, json.dumps(index).encode())))

    def recipe(self, rng):
        good = os.path.join(INPUTS, "zoo", "mixtral")
        def make(path):
            subprocess.run(self.qplan("compile", good, "--emit=plan", "--quant", "int4_g32",
                                      "--save-recipe", path), check=True, capture_output=True)
        path = os.path.join(self.work, "in.recipe")
        write(path, damage_text(rng, read(self.made("recipe", make))))
        return self.qplan("compile", good, rng.choice(["--emit=recipe", "--emit=plan"]), "--recipe", path)

    def statistics(self, rng):
        good = os.path.join(INPUTS, "models", "tiny")
        def make(path):
            subprocess.run(self.qplan("compile", good, "--emit=plan", "--quant", "int8a8@smoothquant",
                                      "--calib", os.path.join(INPUTS, "text", "wikitext2-valid.txt"),
                                      "--calib-samples", "2", "--calib-length", "16", "--statistics", path),
                           check=True, capture_output=True)
        path = os.path.join(self.work, "in.statistics")
        data = read(self.made("statistics", make))
        write(path, damage_json(rng, data) if data[:1] == b"{" else damage_text(rng, data))
        return self.qplan("compile", good, "--emit=plan", "--quant", "int8a8@smoothquant", "--statistics", path)

    def tokenizer(self, rng):
        good = os.path.join(INPUTS, "models", "tiny")
        data = damage_json(rng, read(os.path.join(good, "tokenizer.json")))
        model = folder_with(good, self.work, "tokenizer.json", data)
        return self.qplan("compile", model, "--emit=qp", "--quant", "int8a8@smoothquant", "--calib",
                          os.path.join(INPUTS, "text", "wikitext2-valid.txt"),
                          "--calib-samples", "1", "--calib-length", "8")

    def manifest(self, rng):
        data = damage_json(rng, read(os.path.join(self.plan(), "manifest.json")))
        plan = folder_with(self.plan(), self.work, "manifest.json", data)
        return rng.choice([self.use(plan), self.qplan("inspect", plan, "--json")])

    def package(self, rng):
        """Files other than the manifest; of code only the length and the first bytes change."""
        name = rng.choice(["weights.bin", "model.so"])
        data = read(os.path.join(self.plan(), name))
        if name == "weights.bin":
            data = damage_bytes(rng, data, 0, rng.choice([64, len(data)]))
        else:
            data = rng.choice([data[:rng.randrange(len(data))], b"", data + b"x", damage_bytes(rng, data)])
        return self.use(folder_with(self.plan(), self.work, name, data))

    def use(self, plan):
        return self.qplan("logits", plan, "--input-ids", os.path.join(INPUTS, "zoo", "llama_gqa", "golden.safetensors"),
                          "-o", os.path.join(self.work, "logits.safetensors"))

    def mlir(self, rng):
        """The text forms of both dialects."""
        stage = rng.choice(["qp", "plan"])
        model = rng.choice(["llama_gqa", "mixtral", "gemma2"])
        treatment = rng.choice(["f32", "int4_g32", "int8a8"])
        def make(path):
            out = subprocess.run(self.qplan("compile", os.path.join(INPUTS, "zoo", model), f"--emit={stage}",
                                            "--quant", treatment), check=True, capture_output=True).stdout
            write(path, out)
        text = read(self.made(f"{stage}-{model}-{treatment}", make))
        path = os.path.join(self.work, "in.mlir")
        write(path, damage_text(rng, text))
        passes = {"qp": [[], ["--qp-fuse"], ["--qp-fuse", "--qp-to-plan"]],
                  "plan": [[], ["--plan-assign-memory"], ["--plan-assign-memory", "--plan-assign-weights"]]}
        return [os.path.join(self.tools, "qplan-opt"), path, "-o", "/dev/null", *rng.choice(passes[stage])]


KINDS = ["config", "safetensors", "gguf", "index", "recipe", "statistics", "tokenizer", "weights",
         "manifest", "package", "mlir"]
ALLOWED = {0, 1, 2}
MESSAGES = bool(os.environ.get("FLIP_MESSAGES"))


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(command):
    """The status, and what is wrong if the tool did not end as it should."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL,
                              preexec_fn=None if os.environ.get("ASAN_OPTIONS") else limits)
    except subprocess.TimeoutExpired:
        return None, f"ran longer than {SECONDS} s"
    text = done.stderr.decode(errors="replace")
    if done.returncode not in ALLOWED:
        return done.returncode, f"status {done.returncode}: {text[-600:]}"
    if done.returncode != 0 and not text.strip():
        return done.returncode, f"status {done.returncode} without a message"
    if "AddressSanitizer" in text or "runtime error:" in text:
        return done.returncode, text[-1200:]
    if MESSAGES:
        print(" ", text.strip().split("\n")[-1][:400])
    return done.returncode, None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tools", nargs="?", default=os.path.dirname(shutil.which("qplan") or "./qplan"),
                        help="folder of qplan and qplan-opt (default: where PATH finds them)")
    parser.add_argument("--rounds", type=int, default=20, help="of each kind")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--only", type=int, help="this round, shown")
    parser.add_argument("--keep", help="folder for inputs that failed")
    options = parser.parse_args()
    failures = 0
    total = 0
    with tempfile.TemporaryDirectory() as work:
        campaign = Campaign(os.path.abspath(options.tools), work)
        for kind in options.kinds.split(","):
            rounds = [options.only] if options.only is not None else range(
                options.first, options.first + options.rounds)
            statuses = collections.Counter()
            for number in rounds:
                command = getattr(campaign, kind)(random.Random(f"{options.seed}/{kind}/{number}"))
                if options.only is not None:
                    print(" ".join(command), flush=True)
                    subprocess.run(command)
                status, wrong = run(command)
                statuses[status] += 1
                total += 1
                if wrong:
                    failures += 1
                    print(f"{kind} --seed {options.seed} --only {number}: {wrong}", flush=True)
                    if options.keep:
                        keep(campaign, options.keep, f"{kind}-{number}")
            counts = ", ".join(f"{count} of status {status}" for status, count in sorted(statuses.items(), key=str))
            print(f"{kind}: {counts}", flush=True)
    print(f"{total} inputs, {failures} wrong")
    return 1 if failures else 0


def keep(campaign, folder, name):
    os.makedirs(folder, exist_ok=True)
    for entry in os.listdir(campaign.work):
        if entry.startswith("in"):
            source = os.path.join(campaign.work, entry)
            target = os.path.join(folder, f"{name}-{entry}")
            if os.path.isdir(source):
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(source, target, symlinks=True)
            else:
                shutil.copyfile(source, target)


if __name__ == "__main__":
    sys.exit(main())
