#!/usr/bin/env python3
"""Scales of keys and values that a checkpoint brings are those of the fp8 cache.

usage: cache_scales.py WORK_FOLDER

Scales are added to folders of Inputs/quantized, as compressed-tensors and ModelOpt name them; the
imported graph must have them in its attention, and its cache the format that they are for.
"""
import json
import re
import shutil
import struct
import sys
from pathlib import Path

from e2e import INPUTS, check, finish, qplan

work = Path(sys.argv[1])
HALVES = [0.5, 0.25, 0.125, 0.0625]


def with_scales(source, name, settings, scales):
    """A copy of a folder with f32 tensors {name: (shape, values)} and settings of quantization."""
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(INPUTS / "quantized" / source, folder)
    path = folder / "model.safetensors"
    image = path.read_bytes()
    size = struct.unpack("<Q", image[:8])[0]
    header, data = json.loads(image[8:8 + size]), image[8 + size:]
    for tensor, (shape, values) in scales.items():
        chunk = struct.pack(f"<{len(values)}f", *values)
        header[tensor] = {"dtype": "F32", "shape": shape,
                          "data_offsets": [len(data), len(data) + len(chunk)]}
        data += chunk
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    side = folder / "hf_quant_config.json"
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"].update(settings)
    (folder / "config.json").write_text(json.dumps(config))
    if side.exists():
        content = json.loads(side.read_text())
        content["quantization"].update(settings)
        side.write_text(json.dumps(content))
    return folder


def attention(folder, *options):
    """(format, scales of keys, of values) of the layers' caches."""
    text = qplan("compile", folder, "-o", work / "graph.mlir", "--emit=qp", *options)[1]
    graph = (work / "graph.mlir").read_text()
    found = []
    for line in re.findall(r"qp\.attention.*", graph):
        get = lambda key: re.search(key + r" = (?:array<f64: ([^>]*)>|\"(\w+)\")", line)
        numbers = lambda key: [float(n) for n in get(key)[1].split(",")] if get(key) else None
        kv_format = get("kv_format")
        found.append((kv_format[2] if kv_format else "f32", numbers("key_scales"),
                      numbers("value_scales")))
    return found, text


config = json.loads((INPUTS / "quantized/ct_w4a16/config.json").read_text())
layers, heads = config["num_hidden_layers"], config["num_key_value_heads"]
scheme = {"kv_cache_scheme": {"num_bits": 8, "type": "float", "strategy": "tensor",
                              "dynamic": False, "symmetric": True}}


def scales(names, shape, per_layer):
    return {f"model.layers.{i}.self_attn.{name}": (shape, [(i + 1) * v for v in per_layer])
            for i in range(layers) for name in names}


def expected(kv_format, keys):
    return [(kv_format, [(i + 1) * v for v in keys], [(i + 1) * v for v in keys])
            for i in range(layers)]


def expect(found, wanted, what):
    check(found == wanted, f"{what}: caches {found}, expected {wanted}")


folder = with_scales("ct_w4a16", "tensor", scheme, scales(["k_scale", "v_scale"], [1], [0.5]))
expect(attention(folder)[0], expected("fp8_e4m3_tensor", [0.5]), "one scale")
expect(attention(folder, "--kv-cache", "fp8_head")[0], expected("fp8_e4m3_head", [0.5] * heads),
       "one scale for every head")
expect(attention(folder, "--kv-cache", "f16")[0], [("f16", None, None)] * layers, "another cache")
expect(attention(folder, "--quant", "f32")[0], [("f32", None, None)] * layers, "f32")
qplan("compile", folder, "-o", work / "plan.qplan", "--json")

folder = with_scales("ct_w4a16", "heads", scheme,
                     scales(["k_scale", "v_scale"], [heads, 1, 1], HALVES[:heads]))
expect(attention(folder)[0], expected("fp8_e4m3_head", HALVES[:heads]), "scales of heads")
expect(attention(folder, "--kv-cache", "fp8")[0], expected("fp8_e4m3_tensor", [0.5]),
       "the largest of heads")
qplan("compile", folder, "-o", work / "plan.qplan", "--json")

folder = with_scales("ct_w4a16", "none", {"kv_cache_scheme": None},
                     scales(["k_scale", "v_scale"], [1], [0.5]))
found, text = attention(folder)
expect(found, [("f32", None, None)] * layers, "scales that nothing asks for")
check("are not used" in text, f"scales are left out without a word: {text}")

folder = with_scales("modelopt_fp8", "modelopt", {"kv_cache_quant_algo": "FP8"},
                     scales(["k_proj.k_scale", "v_proj.v_scale"], [], [0.25]))
expect(attention(folder)[0], expected("fp8_e4m3_tensor", [0.25]), "ModelOpt's")
finish()
