#!/usr/bin/env python3
"""Writes tests/formats/golden/mix*.txt: rows of random bits, and the values that they mean.

An implementation of ir/codecs/MixedCodec.cpp's statement in exact rationals. Needs the standard
library alone. Golden files are frozen; their form is generate.py's.
"""
import random
import struct
from fractions import Fraction

from golden_file import hundredths_of, write

NAMES = ["2_5", "3", "3_5", "4", "4_5", "5", "6"]
WIDTHS = [2, 3, 4, 5, 6, 8]


def e4m3(byte):
    exponent, mantissa = byte >> 3 & 15, byte & 7
    value = Fraction(8 + mantissa, 8) if exponent else Fraction(mantissa, 8)
    value *= Fraction(2) ** (max(exponent, 1) - 7)
    return -value if byte & 128 else value


def random_widths(generator, groups, total):
    """Widths of the given sum: equal ones, of which pairs then exchange bits."""
    widths = [total // groups + (g < total % groups) for g in range(groups)]
    for _ in range(20 * groups):
        a, b, bits = generator.randrange(groups), generator.randrange(groups), generator.choice([1, 2])
        if a != b and widths[a] + bits in WIDTHS and widths[b] - bits in WIDTHS:
            widths[a] += bits
            widths[b] -= bits
    assert sum(widths) == total
    return widths


def decode(row, widths, scale):
    out, at = b"", 0
    for width, byte in zip(widths, row[4 * sum(widths):]):
        codes = int.from_bytes(row[at:at + 4 * width], "little")
        at += 4 * width
        for i in range(32):
            code = codes >> (width * i) & (1 << width) - 1
            value = scale * e4m3(byte) / 2 ** (width - 1) * (code - 2 ** (width - 1))
            if value == 0 and byte & 128 and code == 1 << width - 1:
                out += struct.pack("<f", -0.0)  # 0 times a negative scale
            else:
                out += struct.pack("<f", float(value))
                assert Fraction(float(value)) == value
    return out


def main():
    for name in NAMES:
        hundredths = hundredths_of(name)
        generator = random.Random(hundredths)
        rows = []
        for columns in [64, 32, 96, 256, 512]:
            groups, size = columns // 32, columns * hundredths // 800
            total = (size - groups) // 4
            widths = random_widths(generator, groups, total)
            scale = Fraction(2) ** generator.choice([-9, 0, -30, 5])
            scales = bytes(generator.choice([0, 128]) | generator.randrange(1, 127)
                           for _ in range(groups))
            row = generator.randbytes(4 * total) + scales
            row += bytes(size - len(row))
            digits = [WIDTHS.index(w) for w in widths]
            side = [float(scale)]
            for first in range(0, groups, 8):
                side.append(float(sum(d << 3 * i for i, d in enumerate(digits[first:first + 8]))))
            rows.append((columns, side, row, decode(row, widths, scale)))
        write(f"mix{name}", rows)


if __name__ == "__main__":
    main()
