#!/usr/bin/env python3
"""Writes tests/formats/golden/tcq*.txt: rows of random bits, and the values that they mean.

An implementation of ir/codecs/Trellis.h's statement in exact rationals, rounded to f32 once. Needs
the standard library alone. Golden files are frozen; their form is generate.py's.
"""
import random
import struct
from fractions import Fraction

from golden_file import hundredths_of, write

NAMES = ["2", "2_4", "2_5", "3", "3_44", "3_5", "4", "4_25", "4_31", "4_5", "5", "5_5", "6"]
FACTOR = 2178900867


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
    """trellisValue."""
    return Fraction(sum((state * FACTOR % 2**32).to_bytes(4, "little")) - 510, 128)


def decode(row, columns):
    bits = int.from_bytes(row, "big")
    total = 8 * len(row)
    step = (total - 16) * 65536 // columns
    scale = struct.unpack(">e", row[:2])[0]
    out = b""
    for c in range(columns):
        end = 16 + ((c + 1) * step >> 16)
        state = bits >> (total - end) & 0xFFFF
        out += struct.pack("<f", float(rounded(Fraction(scale) * value(state))))
    return out


def main():
    for name in NAMES:
        hundredths = hundredths_of(name)
        generator = random.Random(hundredths)
        rows = []
        for columns in [48, 32, 33, 100, 512]:
            scale = struct.pack(">e", generator.choice([0.02, 1.0, 3e-6, 700.0]))
            row = scale + generator.randbytes(columns * hundredths // 800 - 2)
            rows.append((columns, None, row, decode(row, columns)))
        write(f"tcq{name}", rows)


if __name__ == "__main__":
    main()
