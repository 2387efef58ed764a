"""Attempts to break the driver, each with the status and words that must answer it.

Every case was a defect or is one that a change could bring back: counts that would keep a
loop busy, settings whose tables hold no finite number, weights that are NaN, files that are
links to themselves, disks that end, interrupts.
"""
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

INPUTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "Inputs")
ZOO = os.path.join(INPUTS, "zoo")
TARGET = "--target=cpu:x86-64-v3"
QPLAN = shutil.which("qplan") or sys.exit("qplan is not in PATH")
cases = 0
failures = 0


def check(label, status, words, command):
    """Runs `command` and compares status and words of stderr."""
    global cases, failures
    cases += 1
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
        found, text = done.returncode, done.stderr.decode(errors="replace")
    except subprocess.TimeoutExpired:
        found, text = "a time-out", ""
    if found != status or words not in text:
        failures += 1
        print(f"{label}: status {status} with '{words}' expected, found {found}: {text[-400:]}")


def copy_of(model):
    folder = os.path.join(tempfile.mkdtemp(dir="."), model)
    shutil.copytree(os.path.join(ZOO, model), folder)
    return folder


def config(model, status, words, **changes):
    folder = copy_of(model)
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        values = json.load(file)
    values.update(changes)
    with open(path, "w") as file:
        json.dump(values, file)
    check(f"{model} {changes}", status, words, [QPLAN, "compile", folder, "--emit=plan", TARGET])


def configurations():
    for count in (10**9, 2**31 - 1):
        config("llama_gqa", 1, "model.layers.2.", num_hidden_layers=count)
        config("gpt2", 1, "h.2.", n_layer=count)
        config("llama_gqa", 1, "head_dim", head_dim=count)
        config("mixtral", 1, "gate.weight", num_local_experts=count)
    for value in (0, -1, 1.5, "x", [], 2**31, 1e300):
        config("llama_gqa", 1, "hidden_size", hidden_size=value)
    config("llama_gqa", 1, "divisor", num_attention_heads=3)
    config("llama_gqa", 1, "[300, 64]", vocab_size=300)
    config("llama_gqa", 1, "rms_norm_eps", rms_norm_eps=-1)
    config("llama_gqa", 1, "nearest known ones are llama", model_type="lama")
    config("gemma2", 1, "query_pre_attn_scalar", query_pre_attn_scalar=0)
    config("gemma2", 1, "attn_logit_softcapping", attn_logit_softcapping=-3)
    config("gemma2", 1, "layer_types", layer_types=["x"] * 4)
    rope = {"rope_type": "yarn", "factor": 4, "rope_theta": 10000, "original_max_position_embeddings": 64}
    for key, value in (("factor", 0), ("factor", -4), ("original_max_position_embeddings", 0),
                       ("attention_factor", 1e300), ("beta_fast", 0), ("rope_theta", 1e308)):
        config("llama_gqa", 1, key, rope_parameters={**rope, key: value})
    config("llama_gqa", 1, "factor", rope_parameters={"rope_type": "linear", "factor": 0})


def weights_with(model, tensor, change):
    """A model whose header entry and bytes of `tensor` went through `change`."""
    folder = copy_of(model)
    path = os.path.join(folder, "model.safetensors")
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + length]), bytearray(data[8 + length:])
    begin, end = header[tensor]["data_offsets"]
    part = body[begin:end]
    change(header[tensor], part)
    body[begin:end] = part
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)
    return folder


def element(value):
    def change(_, part):
        part[37 * 4:38 * 4] = struct.pack("<f", value)
    return change


def weights():
    names = {"model.layers.1.self_attn.v_proj.weight": "row 0: column 37", "model.norm.weight": "element 37",
             "model.embed_tokens.weight": "row 0: column 37"}
    for name, place in names.items():
        folder = weights_with("llama_gqa", name, element(float("nan")))
        for treatment in ("f32", "bf16", "int4_g32"):
            check(f"NaN in {name}, {treatment}", 1, f"{name}'" , [QPLAN, "compile", folder, "-o", "x", TARGET,
                                                               "--quant", treatment])
        check(f"place of NaN in {name}", 1, place, [QPLAN, "compile", folder, "-o", "x", TARGET])
    large = weights_with("llama_gqa", "model.layers.0.mlp.up_proj.weight", element(3e38))
    check("more than f16 holds", 1, "more than f16 can hold",
          [QPLAN, "compile", large, "-o", "x", TARGET, "--quant", "f16"])
    shape = lambda value: lambda entry, _: entry.update(shape=value)
    for model, tensor, value in (("llama_gqa", "model.layers.0.mlp.up_proj.weight", [64, 32]),
                                 ("gpt2", "transformer.h.0.attn.c_attn.weight", [192, 64]),
                                 ("gpt2", "transformer.h.0.attn.c_attn.bias", [192, 1])):
        check(f"{tensor} as {value}", 1, tensor, [QPLAN, "compile", weights_with(model, tensor, shape(value)),
                                                  "--emit=plan", TARGET])


def files():
    def model(change, status, words):
        folder = copy_of("llama_gqa")
        change(folder)
        check(words, status, words, [QPLAN, "compile", folder, "--emit=qp", TARGET])

    def replaced(name, target):
        def change(folder):
            path = os.path.join(folder, name)
            if os.path.exists(path):
                os.remove(path)
            os.symlink(target, path)
        return change

    model(replaced("model.safetensors", "nowhere"), 1, "model.safetensors: no such file")
    model(replaced("model.safetensors", "model.safetensors"), 1, "model.safetensors: is no path")
    model(replaced("model.safetensors.index.json", "model.safetensors.index.json"), 1, "index.json: is no path")
    model(replaced("config.json", "/dev/zero"), 1, "is not a regular file")
    for name in ("../model.safetensors", "/etc/passwd", "..", ""):
        def index(folder):
            with open(os.path.join(folder, "model.safetensors.index.json"), "w") as file:
                json.dump({"weight_map": {"model.norm.weight": name}}, file)
        model(index, 1, "a file name without a folder is expected")
    os.symlink("loop", "loop")
    check("a link to itself", 1, "loop", [QPLAN, "compile", "loop", "-o", "x"])


def outputs():
    compile = [QPLAN, "compile", os.path.join(ZOO, "llama_gqa"), TARGET, "--quant", "int4_g32"]
    os.mkdir("full")
    open("full/note", "w").close()
    check("a folder that is no plan", 2, "is no plan", compile + ["-o", "full"])
    check("a file in the way", 2, "in the way", compile + ["-o", "full/note"])
    check("no such folder", 4, "cannot make a plan", compile + ["-o", "none/x"])
    for blocks in ("20", "100"):
        check("a limit of file sizes", 4, "File too large",
              ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *compile, "-o", "limited"])
    slow = [QPLAN, "compile", os.path.join(INPUTS, "models", "tiny"), TARGET, "--quant", "int4_g32@mse", "-o", "stopped"]
    for seconds in (0.3, 0.8):
        global cases, failures
        cases += 1
        process = subprocess.Popen(slow, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        # A fast machine may be done already.
        if process.wait(timeout=30) not in (0, 130):
            failures += 1
            print(f"interrupted after {seconds} s: status {process.returncode}")
    left = [name for name in os.listdir(".") if "unfinished" in name or name == "limited"]
    if left:
        failures += 1
        print("left behind:", left)


with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    configurations()
    weights()
    files()
    outputs()
    os.chdir("/")
print(f"{cases} cases, {failures} wrong")
sys.exit(1 if failures else 0)
