#!/usr/bin/env python3
"""Smoothing undoes outliers that were put into a model without changing what it computes:
some channels of every norm are made 64 times as large and the columns of the weights that
read them 64 times as small, exactly, since the factor is a power of two.

usage: outliers.py WORK_FOLDER
"""
import json
import shutil
import struct
import sys
from pathlib import Path

from e2e import CALIBRATION, TINY, check, compiled, distance, finish, logits, tiny_ids

CHANNELS = [3, 77, 130, 201]
READERS = {"input_layernorm": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
           "post_attention_layernorm": ["mlp.gate_proj", "mlp.up_proj"]}


def scaled(data, at, steps):
    """Adds `steps` to the exponent of the bf16 number at byte `at`, unless it is zero."""
    bits = struct.unpack_from("<H", data, at)[0]
    exponent = bits >> 7 & 0xFF
    if bits & 0x7FFF:
        assert 0 < exponent + steps < 255 and exponent > 0
        struct.pack_into("<H", data, at, bits + (steps << 7))


def with_outliers(source, target):
    shutil.copytree(source, target, dirs_exist_ok=True)
    data = bytearray((source / "model.safetensors").read_bytes())
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(bytes(data[8:8 + size]))
    for name, entry in header.items():
        for norm, readers in READERS.items():
            begin = 8 + size + entry["data_offsets"][0] if "shape" in entry else 0
            if name.endswith(f"{norm}.weight"):
                for channel in CHANNELS:
                    scaled(data, begin + 2 * channel, 6)
            if any(name.endswith(f"{reader}.weight") for reader in readers):
                rows, columns = entry["shape"]
                for row in range(rows):
                    for channel in CHANNELS:
                        scaled(data, begin + 2 * (row * columns + channel), -6)
    (target / "model.safetensors").write_bytes(data)
    return target


work = Path(sys.argv[1])
work.mkdir(parents=True, exist_ok=True)
ids = tiny_ids(work / "ids.safetensors")
calibration = ["--calib", CALIBRATION, "--calib-samples", 8, "--calib-length", 256]
exact = logits(compiled(TINY, work / "f32.qplan", "--quant", "f32"), ids, work / "f32.safetensors")
injected = with_outliers(TINY, work / "outliers")
same = distance(compiled(injected, work / "same.qplan", "--quant", "f32"), ids, exact)
check(same["max_difference"] <= 1e-4, "the model with outliers is not the same function")


def divergence(model, treatment):
    plan = compiled(model, work / "plan.qplan", "--quant", treatment, *calibration)
    return distance(plan, ids, exact)["kl_mean"]


before = divergence(TINY, "int8a8s")
hurt = divergence(injected, "int8a8s")
smoothed = divergence(injected, "int8a8s@smoothquant{search=1}")
print(f"KL {before:.4f} before, {hurt:.4f} with outliers, {smoothed:.4f} smoothed")
check(hurt > 2 * before, "the outliers do not hurt")
check(smoothed <= 1.5 * before, "smoothing does not restore the model")
finish()
