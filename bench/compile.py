#!/usr/bin/env python3
"""What compiling costs: wall time, processor time and peak anonymous memory.

    bench/compile.py MODEL [--arguments "--quant int4_g64"] [--layers 30,60]

Anonymous memory is what the compiler itself asks for; the mapped checkpoint and the plan
being written are not in it. It is sampled from smaps_rollup, so that a peak shorter than
the sampling step is missed; the resident peak beside it comes from the kernel.
`--layers` also compiles a generated model of narrow layers at both depths, where packing
weights is cheap: equal layers share their kernels, so twice the layers must not take twice
the time.
"""
import argparse
import json
import os
import random
import shlex
import struct
import subprocess
import sys
import tempfile
import time

import common

SAMPLING_STEP = 0.02  # seconds


def anonymous_bytes(process_id):
    try:
        with open(f"/proc/{process_id}/smaps_rollup") as rollup:
            return next((int(line.split()[1]) << 10 for line in rollup if line.startswith("Anonymous:")), 0)
    except OSError:  # the process has just ended
        return 0


def measure(command):
    """Wall seconds, processor seconds, and peaks of memory in bytes of one run."""
    start = time.perf_counter()
    messages = tempfile.TemporaryFile()  # a pipe that nobody reads would stop the compiler
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=messages)
    peak = 0
    while True:
        peak = max(peak, anonymous_bytes(process.pid))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(SAMPLING_STEP)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        messages.seek(0)
        sys.exit(f"{' '.join(command)}: status {process.returncode}\n{messages.read().decode()[-2000:]}")
    return {"wall_s": round(wall, 3), "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            "peak_anonymous_bytes": peak, "peak_resident_bytes": usage.ru_maxrss << 10}


def tensors(hidden, intermediate, layers, heads, kv_heads, vocabulary):
    """Names and shapes of a Llama-layout checkpoint with tied embeddings."""
    head = hidden // heads
    yield "model.embed_tokens.weight", [vocabulary, hidden]
    yield "model.norm.weight", [hidden]
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", [hidden]
        yield prefix + "post_attention_layernorm.weight", [hidden]
        for name, rows in (("q", heads * head), ("k", kv_heads * head), ("v", kv_heads * head)):
            yield f"{prefix}self_attn.{name}_proj.weight", [rows, hidden]
        yield prefix + "self_attn.o_proj.weight", [hidden, heads * head]
        yield prefix + "mlp.gate_proj.weight", [intermediate, hidden]
        yield prefix + "mlp.up_proj.weight", [intermediate, hidden]
        yield prefix + "mlp.down_proj.weight", [hidden, intermediate]


def write_model(folder, layers, hidden=256, intermediate=768, heads=4, kv_heads=2, vocabulary=1024):
    """A Hugging Face folder with random bf16 weights; no package is needed for it."""
    os.makedirs(folder, exist_ok=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
              "intermediate_size": intermediate, "num_hidden_layers": layers, "num_attention_heads": heads,
              "num_key_value_heads": kv_heads, "vocab_size": vocabulary, "max_position_embeddings": 512,
              "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
              "tie_word_embeddings": True, "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 0}
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    header, offset = {}, 0
    for name, shape in tensors(hidden, intermediate, layers, heads, kv_heads, vocabulary):
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    generator = random.Random(layers)
    # bf16 is the upper half of a float32; a block of values is repeated, which no codec notices.
    block = b"".join(struct.pack("<f", generator.gauss(0, 0.05))[2:] for _ in range(1 << 15))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while offset > 0:
            file.write(block[:offset])
            offset -= len(block)


def compile_depths(options, arguments):
    """Figures of generated models at each depth: a whole compilation, and code generation alone
    (`--emit=obj`, which packs no weights; least of five, as it is short)."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for layers in options.layers:
            model = os.path.join(folder, f"model-{layers}")
            write_model(model, layers)
            figure = measure([options.qplan, "compile", model, "-o", os.path.join(folder, f"{layers}.qplan"),
                              *arguments])
            code = [options.qplan, "compile", model, "--emit=obj", "-o", os.path.join(folder, "m.o"), *arguments]
            figure["code_s"] = min(measure(code)["wall_s"] for _ in range(5))
            figures[f"generated, {layers} layers"] = figure
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--arguments", default="--quant int4_g64", help="of `qplan compile`")
    parser.add_argument("--layers", type=lambda text: [int(part) for part in text.split(",")], default=[])
    parser.add_argument("--qplan", default=common.QPLAN)
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    arguments = shlex.split(options.arguments)
    figures = {}
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            figures[os.path.basename(os.path.normpath(model))] = measure([options.qplan, "compile", model, "-o", os.path.join(folder, "m.qplan"),
                                      *arguments])
    figures.update(compile_depths(options, arguments))
    if not figures:
        parser.error("name a MODEL, or --layers 30,60")
    rows = [[name, f"{figure['wall_s']:.2f}", f"{figure['cpu_s']:.2f}",
             f"{figure['peak_anonymous_bytes'] / 1e6:,.0f}", f"{figure['peak_resident_bytes'] / 1e6:,.0f}",
             f"{figure['code_s']:.2f}" if "code_s" in figure else ""]
            for name, figure in figures.items()]
    print(common.markdown(["model", "wall, s", "processor, s", "peak anonymous, MB", "peak resident, MB",
                           "code alone, s"], rows))
    if not options.no_record:
        common.write_record("compile", {"arguments": arguments, "figures": figures})


if __name__ == "__main__":
    main()
