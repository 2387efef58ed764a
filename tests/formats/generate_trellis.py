#!/usr/bin/env python3
"""Writes tests/formats/golden/tcq*.txt: rows of random bits, and the values that they mean.

An implementation of ir/codecs/Trellis.h's statement in exact rationals, rounded to f32 after each
step. Needs the standard library alone. Golden files are frozen; their form is generate.py's.
"""
import pathlib
import random
import struct
import zlib
from fractions import Fraction

HERE = pathlib.Path(__file__).parent / "golden"
NAMES = ["2", "2_4", "2_5", "3", "3_44", "3_5", "4", "4_25", "4_31", "4_5", "5", "5_5", "6"]
CUBIC = [Fraction(float.fromhex(c)) for c in
         ("-0x1.870fd8p+0", "-0x1.c442dap-28", "-0x1.048064p-58", "-0x1.f68bf2p-91")]


def rounded(x):
    """The nearest f32 of a rational of moderate size, ties to even."""
    if x == 0:
        return x
    exponent = 0
    while abs(x) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 23)
    return round(x / unit) * unit


def value(state):
    """trellisValue: (sign, magnitude with its own sign)."""
    product = state * 40503 % 65536
    signed = product - 65536 if product >= 32768 else product
    f = struct.unpack("<I", struct.pack("<f", float(signed * 65536)))[0]
    l = struct.unpack("<i", struct.pack("<I", f << 4 & 0xFFFFFFFF))[0]
    p = CUBIC[3]
    for c in reversed(CUBIC[:3]):
        p = rounded(p * l + c)
    return -float(p) if f >> 31 else float(p)


def decode(row, columns):
    bits = int.from_bytes(row, "big")
    total = 8 * len(row)
    step = (total - 16) * 65536 // columns
    scale = struct.unpack(">e", row[:2])[0]
    out = b""
    for c in range(columns):
        end = 16 + ((c + 1) * step >> 16)
        state = bits >> (total - end) & 0xFFFF
        out += struct.pack("<f", float(rounded(Fraction(scale) * Fraction(value(state)))))
    return out


def main():
    for name in NAMES:
        hundredths = round(100 * float(name.replace("_", ".")))
        generator = random.Random(hundredths)
        lines = [f"format tcq{name}"]
        for number, columns in enumerate([48, 32, 33, 100, 512]):
            scale = struct.pack(">e", generator.choice([0.02, 1.0, 3e-6, 700.0]))
            row = scale + generator.randbytes(columns * hundredths // 800 - 2)
            values = decode(row, columns)
            lines += [f"columns {columns} input -", f"bytes {row.hex()}",
                      f"crc {zlib.crc32(values):08x}"]
            if number == 0:
                lines.append(f"values {values.hex()}")
        (HERE / f"tcq{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
