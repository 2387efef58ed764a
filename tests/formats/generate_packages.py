#!/usr/bin/env python3
"""Writes the files of tests/formats/golden/ whose reference is a package of PyTorch.

  mxfp8, mxfp8_e5m2, mxfp6, mxfp6_e2m3, mxfp4   torchao (ScaleCalculationMode.RCEIL)
  nvfp4                                         nvidia-modelopt (NVFP4QTensor)
  nf4, fp4, nf4_dq, fp4_dq                      bitsandbytes (quantize_4bit, blocks of 64)

Run after generate.py, whose inputs.txt it reads. Needs numpy, torch, torchao, nvidia-modelopt and
bitsandbytes; the tests need the written files only.
"""
import sys

import bitsandbytes.functional as bnb
import generate
import numpy as np
import torch
from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor
from torchao.prototype.mx_formats.config import ScaleCalculationMode
from torchao.prototype.mx_formats.mx_tensor import to_dtype, to_mx

HERE = generate.HERE
COLUMNS = generate.COLUMNS


def nibbles(codes):
    """Codes of 4 bits, the first in the low half."""
    return codes[0::2] | codes[1::2] << 4


def mx(element, bits):
    def encode(x):
        scale, data = to_mx(torch.from_numpy(x)[None], element, 32, ScaleCalculationMode.RCEIL)
        values = to_dtype(data, scale, element, 32, torch.float32)
        codes = data.view(torch.uint8).numpy().ravel()
        if bits == 6:  # torchao keeps a code in a byte
            codes = np.frombuffer(generate.pack_bits(codes, 6), np.uint8)
        return codes.tobytes() + scale.view(torch.uint8).numpy().tobytes(), values.numpy()[0]

    return encode


def nvfp4(x):
    row = torch.from_numpy(x)[None].clone()
    second = NVFP4QTensor.get_weights_scaling_factor_2(row)
    if second == 0:
        second = torch.tensor(1.0)
    quantized, scale, _ = NVFP4QTensor.quantize(row, 16, weights_scaling_factor_2=second)
    packed = quantized._quantized_data.numpy().ravel()
    # The numbers, from the bytes: 16 values a block.
    e2m1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    codes = np.stack([packed & 15, packed >> 4], 1).ravel()
    values = np.where(codes & 8, -1, 1).astype(np.float32) * e2m1[codes & 7]
    factor = scale.to(torch.float32).numpy().ravel() * np.float32(second)
    data = packed.tobytes() + scale.view(torch.uint8).numpy().tobytes()
    return data, values * np.repeat(factor, 16), np.array([second], np.float32)


def bnb_rows(x, kind, nested):
    """All inputs as one tensor, row by row."""
    packed, state = bnb.quantize_4bit(
        torch.from_numpy(x), blocksize=64, quant_type=kind, compress_statistics=nested
    )
    values = bnb.dequantize_4bit(packed, state).numpy()
    raw = packed.numpy().reshape(len(x), COLUMNS // 2)
    codes = raw >> 4 | (raw & 15) << 4  # the first code is in the high half there
    scales = state.absmax.numpy().reshape(len(x), COLUMNS // 64)
    side = np.zeros(0, np.float32)
    if nested:
        side = np.concatenate([[state.offset.item()], state.state2.absmax.numpy()])
    side = side.astype(np.float32)
    for i in range(len(x)):
        yield (COLUMNS, i, codes[i].tobytes() + scales[i].tobytes(), values[i], side, i)


def main():
    if sys.byteorder != "little":
        sys.exit("generate_packages.py: needs a little-endian machine")
    x = generate.inputs()
    elements = {
        "mxfp8": (torch.float8_e4m3fn, 8),
        "mxfp8_e5m2": (torch.float8_e5m2, 8),
        "mxfp6": ("fp6_e3m2", 6),
        "mxfp6_e2m3": ("fp6_e2m3", 6),
        "mxfp4": (torch.float4_e2m1fn_x2, 4),
    }
    for name, (element, bits) in elements.items():
        encode = mx(element, bits)
        generate.write(name, [(COLUMNS, i, *encode(row)) for i, row in enumerate(x)])
    rows = [(COLUMNS, i, *nvfp4(row), 0) for i, row in enumerate(x)]
    generate.write("nvfp4", rows)
    for kind in ("nf4", "fp4"):
        generate.write(kind, list(bnb_rows(x, kind, False)))
        generate.write(f"{kind}_dq", list(bnb_rows(x, kind, True)))


if __name__ == "__main__":
    main()
