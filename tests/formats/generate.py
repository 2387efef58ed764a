#!/usr/bin/env python3
"""Writes tests/formats/golden/: what other implementations store and read.

GGML's formats come from the gguf package, f8E4M3FN and bfloat16 from ml_dtypes, our own
integer formats from the few lines of numpy below. Needs numpy, gguf and ml_dtypes; the tests
need the written files only. Golden files are frozen: bytes behind a name never change.
What GGML stores as K-quants (*_encoded.txt) comes from its own library, and is written when that
is given: generate.py PATH/libggml-base.so.

A file holds, for each row, `columns N`, the input (an index into inputs.txt, or `-`), the stored
bytes in hex and the CRC-32 of the decoded f32 values; the first row also has all the values.
What PyTorch's packages store is written by generate_packages.py, tcq rows by
generate_trellis.py.
"""
import ctypes
import pathlib
import sys
import zlib

import gguf
import ml_dtypes
import numpy as np

HERE = pathlib.Path(__file__).parent / "golden"
COLUMNS = 256
F32 = np.float32


def inputs():
    """Rows of 256 values that have been trouble somewhere."""
    rng = np.random.default_rng(7)
    normal = rng.standard_normal(COLUMNS)
    outlier = rng.standard_normal(COLUMNS) * 0.01
    outlier[77] = -9.5
    rows = [
        normal,
        rng.standard_normal(COLUMNS) * 0.02 + 0.01,
        np.zeros(COLUMNS),
        np.full(COLUMNS, 0.75),
        np.full(COLUMNS, -3.0),
        (np.arange(COLUMNS) % 31 - 15) / 2,  # ties of 4-bit grids
        np.arange(COLUMNS) - 127.5,  # ties of 8-bit grids
        outlier,
        rng.standard_normal(COLUMNS) * 3e-7,  # subnormal f16 scales
        np.abs(rng.standard_normal(COLUMNS)),
        np.where(np.arange(COLUMNS) % 2, 1.0, -1.0),
        rng.standard_normal(COLUMNS) * 9000,
        rng.laplace(size=COLUMNS) * np.repeat(10.0 ** rng.uniform(-3, 1, 8), 32),
    ]
    return np.stack(rows).astype(F32)


def stored_f16(scale):
    """f16 of a scale; subnormal ones are rounded up."""
    half = F32(scale).astype(np.float16)
    if half.view(np.uint16) < 0x0400 and F32(half) < F32(scale):
        half = (half.view(np.uint16) + np.uint16(1)).view(np.float16)
    return half


def pack_bits(codes, bits):
    spread = (codes.astype(np.uint8)[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(spread.ravel(), bitorder="little").tobytes()


def integer(bits, group=0, zero=False, scale_type=np.float16, activation=False, scale=None):
    """Encoder and decoder of [codes][scales][zero points]."""
    top = 2**bits - 1

    def encode(x):
        codes, scales, zeros = [], [], []
        for part in np.split(x, range(group, len(x), group)) if group else [x]:
            offset = 2 ** (bits - 1)
            if scale is not None:
                s = F32(scale)
            elif zero:
                low, high = min(part.min(), F32(0)), max(part.max(), F32(0))
                s = F32(stored_f16(high / F32(top) - low / F32(top)))
                offset = int(np.rint(np.clip(-low / s, 0, top))) if s else 0
            else:
                divisor = F32(127 if bits == 8 else top / 2)
                s = np.abs(part).max() / divisor
                s = F32(stored_f16(s)) if scale_type == np.float16 else s
            q = np.rint(part / s) + offset if s else np.full(len(part), offset)
            codes.append(np.clip(q, 1 if activation else 0, top))
            scales.append(s)
            zeros.append(offset)
        data = pack_bits(np.concatenate(codes), bits)
        if scale is None:
            data += np.array(scales, dtype=scale_type).tobytes()
        if zero:
            data += pack_bits(np.array(zeros), bits)
        values = [
            s * (c.astype(F32) - F32(z)) for c, s, z in zip(codes, np.array(scales, F32), zeros)
        ]
        return data, np.concatenate(values)

    return encode


def fp8(scale=None, dtype=ml_dtypes.float8_e4m3fn, group=0):
    """Codes, then the scales of groups of columns (0: of the row) unless they are given."""
    largest = F32(ml_dtypes.finfo(dtype).max)

    def encode(x):
        data, scales, values = b"", b"", []
        for i, part in enumerate(np.split(x, range(group, len(x), group)) if group else [x]):
            s = np.abs(part).max() / largest if scale is None else F32(scale[i])
            codes = np.zeros(len(part), dtype)
            if s:
                codes = np.clip(part / s, -largest, largest).astype(dtype)
            data += codes.tobytes()
            scales += s.tobytes() if scale is None else b""
            values.append(s * codes.astype(F32))
        return data + scales, np.concatenate(values)

    return encode


def e2m5(scale=None):
    """Numbers of 5 mantissa bits: multiples of 1/32 below 2, of 1/16 to 4, of 1/8 to 7.875."""

    def encode(x):
        s = np.abs(x).max() / F32(7.875) if scale is None else F32(scale[0])
        v = np.clip(x / s if s else x * 0, F32(-7.875), F32(7.875))
        step = np.where(np.abs(v) < 2, 1 / 32, np.where(np.abs(v) < 4, 1 / 16, 1 / 8))
        v = (np.rint(v / step.astype(F32)) * step).astype(F32)
        a = np.abs(v)
        e = np.where(a < 1, 0, np.where(a < 2, 1, np.where(a < 4, 2, 3)))
        fraction = np.where(e == 0, a, a / 2.0 ** (e - 1.0) - 1)
        codes = (np.signbit(v) * 128 + e * 32 + fraction * 32).astype(np.uint8)
        return codes.tobytes() + (s.tobytes() if scale is None else b""), s * v

    return encode


def fp4_row(magnitudes):
    """4-bit floats of these 8 magnitudes by code, ties to the even code; one f32 scale."""
    table = np.array(magnitudes, np.float64)

    def encode(x):
        s = np.abs(x).max() / F32(table[-1])
        v = x / s if s else x * F32(0)
        distance = np.abs(np.abs(v).astype(np.float64)[:, None] - table)
        distance += (np.arange(8) % 2) * 1e-12  # odd codes lose ties
        code = distance.argmin(axis=1)
        data = pack_bits(code + 8 * np.signbit(v), 4) + s.tobytes()
        return data, s * np.where(np.signbit(v), -1, 1).astype(F32) * table[code].astype(F32)

    return encode


def mxint8(x):
    """OCP MX: two's complement in 1/64, here with offset 128; blocks of 32."""
    codes, scales, values = [], [], []
    for part in x.reshape(-1, 32):
        exponent = np.frexp(np.abs(part).max())[1] - 1 if part.any() else -127
        step = F32(2.0) ** F32(exponent - 6)
        q = np.clip(np.rint(part / step), -127, 127)
        codes.append((q + 128).astype(np.uint8))
        scales.append(exponent + 127)
        values.append(q.astype(np.int32).astype(F32) * step)
    data = np.concatenate(codes).tobytes() + np.array(scales, np.uint8).tobytes()
    return data, np.concatenate(values)


def plain(dtype):
    def encode(x):
        stored = x.astype(dtype)
        return stored.tobytes(), stored.astype(F32)

    return encode


def sparse24(inner):
    """Two of four by magnitude (of equals the first), then a nibble for each four: the place of
    the first kept, and four times that of the second."""

    def encode(x):
        quads = x.reshape(-1, 4)
        places = np.sort(np.argsort(-np.abs(quads), axis=1, kind="stable")[:, :2], axis=1)
        data, kept = inner(np.take_along_axis(quads, places, axis=1).ravel())
        values = np.zeros_like(quads)
        np.put_along_axis(values, places, kept.reshape(-1, 2), axis=1)
        return data + pack_bits(places[:, 0] + 4 * places[:, 1], 4), values.ravel()

    return encode


def ggml(kind):
    def encode(x):
        with np.errstate(over="ignore"):
            stored = gguf.quants.quantize(x[None], kind)
        return stored.tobytes(), gguf.quants.dequantize(stored, kind)[0]

    return encode


def q8_k(x):
    """GGML's activation format of 256 values, from its description."""
    largest = x[np.abs(x).argmax()]
    if largest == 0:
        return bytes(292), np.zeros(256, F32)
    inverse = F32(-127) / largest
    codes = np.minimum(np.rint(inverse * x), 127).astype(np.int8)
    scale = F32(1) / inverse
    sums = codes.astype(np.int16).reshape(16, 16).sum(axis=1, dtype=np.int16)
    return scale.tobytes() + codes.tobytes() + sums.tobytes(), scale * codes.astype(F32)


def random_blocks(kind, halves, seed):
    """Stored blocks of random bytes, with finite f16 numbers at the byte offsets `halves`."""
    rng = np.random.default_rng(seed)
    size = gguf.GGML_QUANT_SIZES[kind][1]
    for _ in range(4):
        block = rng.integers(0, 256, size, dtype=np.uint8)
        for at in halves:
            block[at : at + 2] = (rng.standard_normal(1) * 0.01).astype(np.float16).view(np.uint8)
        yield block.tobytes(), gguf.quants.dequantize(block[None], kind)[0]


def importances():
    """Weights of columns: spread over decades, partly zero, all equal."""
    rng = np.random.default_rng(11)
    spread = np.exp(rng.standard_normal(COLUMNS) * 2)
    partly = np.where(rng.random(COLUMNS) < 0.4, 0, rng.random(COLUMNS))
    partly[64:128] = 0
    return np.stack([spread, partly, np.ones(COLUMNS)]).astype(F32)


def name_of(kind):
    """Our name of one of GGML's types."""
    return kind.lower() if kind.startswith("IQ") else kind[:2].lower() + kind[2:]


def write_kquants(library, x, kinds):
    """GGML's types of every input, without and with importance, by ggml_quantize_chunk."""
    ggml = ctypes.CDLL(library)
    quantize = ggml.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    floats = ctypes.POINTER(ctypes.c_float)
    quantize.argtypes = [ctypes.c_int, floats, ctypes.c_void_p, *[ctypes.c_int64] * 3, floats]
    weights = importances()
    (HERE / "importances.txt").write_text("".join(f"{row.tobytes().hex()}\n" for row in weights))
    for kind in ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "Q4_0", "Q4_1",
                 "Q5_0", "Q5_1"]:
        block, size = gguf.GGML_QUANT_SIZES[kinds[kind]]
        size *= COLUMNS // block
        rows = []
        for i, row in enumerate(x):
            for w in [None, *range(len(weights))]:
                out = np.zeros(size, np.uint8)
                given = None if w is None else weights[w].ctypes.data_as(floats)
                quantize(int(kinds[kind]), row.ctypes.data_as(floats), out.ctypes.data, 0, 1,
                         COLUMNS, given)
                source = i if w is None else f"{i} importance {w}"
                rows.append((COLUMNS, source, out.tobytes(),
                             gguf.quants.dequantize(out[None], kinds[kind])[0]))
        write(f"{name_of(kind)}_encoded", rows)


def write(name, rows):
    """rows: (columns, input index or None, stored bytes, values), and where the tensor has
    numbers beside its rows, those and (if it is not 0) the number of the row."""
    lines = [f"format {name}"]
    for number, (columns, source, data, values, *side) in enumerate(rows):
        values = np.ascontiguousarray(values, dtype=F32)
        lines.append(f"columns {columns} input {'-' if source is None else source}")
        if side:
            lines.append(f"side {side[0].tobytes().hex()}")
            lines += [f"row {row}" for row in side[1:]]
        lines.append(f"bytes {data.hex()}")
        lines.append(f"crc {zlib.crc32(values.tobytes()):08x}")
        if number == 0:
            lines.append(f"values {values.tobytes().hex()}")
    (HERE / f"{name}.txt").write_text("\n".join(lines) + "\n")


def write_numbers():
    """CRCs of conversions of every small float, of the midpoints between them and their neighbours."""
    lines = []
    for name, dtype, bits, count in [
        ("f16", np.float16, np.uint16, 0x7C00),
        ("bf16", ml_dtypes.bfloat16, np.uint16, 0x7F80),
        ("e4m3", ml_dtypes.float8_e4m3fn, np.uint8, 0x7F),
    ]:
        values = np.arange(count, dtype=bits).view(dtype).astype(F32)
        middle = (values[:-1].astype(np.float64) + values[1:].astype(np.float64)) / 2
        middle = middle.astype(F32)
        near = np.concatenate([np.nextafter(middle, F32(0)), middle, np.nextafter(middle, F32(np.inf))])
        codes = near.astype(dtype).view(bits)
        lines.append(f"{name} decode {zlib.crc32(values.tobytes()):08x} "
                     f"encode {zlib.crc32(codes.tobytes()):08x}")
    (HERE / "numbers.txt").write_text("\n".join(lines) + "\n")


def main():
    if sys.byteorder != "little":
        sys.exit("generate.py: needs a little-endian machine")
    HERE.mkdir(exist_ok=True)
    x = inputs()
    (HERE / "inputs.txt").write_text("".join(f"{row.tobytes().hex()}\n" for row in x))
    kinds = gguf.GGMLQuantizationType
    encoders = {
        "f32": plain(F32),
        "f16": plain(np.float16),
        "bf16": plain(ml_dtypes.bfloat16),
        "int8": integer(8, scale_type=F32),
        "int4": integer(4, scale_type=F32),
        "int8_token": integer(8, scale_type=F32, activation=True),
        "int8_tensor": integer(8, activation=True, scale=0.0625),
        "fp8_e4m3": fp8(),
        "fp8_e4m3_token": fp8(),
        "fp8_e4m3_tensor": fp8([0.0625]),
        "fp8_e4m3_head": fp8([0.0625]),
        "fp8_e4m3_g128": fp8(group=128),
        "mxint8": mxint8,
        "fp4_e1m2": fp4_row(np.arange(8) / 4),
        "fp4_e2m1": fp4_row([0, 0.5, 1, 1.5, 2, 3, 4, 6]),
        "fp4_e3m0": fp4_row([0, 0.25, 0.5, 1, 2, 4, 8, 16]),
        "int8_b256": q8_k,
        "int8_b32": ggml(kinds.Q8_0),
    }
    for name in ("e5m2", "e3m4"):
        dtype = getattr(ml_dtypes, f"float8_{name}")
        encoders[f"fp8_{name}"] = encoders[f"fp8_{name}_token"] = fp8(dtype=dtype)
        encoders[f"fp8_{name}_tensor"] = fp8([0.0625], dtype)
    encoders["fp8_e2m5"] = encoders["fp8_e2m5_token"] = e2m5()
    encoders["fp8_e2m5_tensor"] = e2m5([0.0625])
    for name, inner in [("f16", plain(np.float16)), ("bf16", plain(ml_dtypes.bfloat16)),
                        ("int8", integer(8, scale_type=F32)), ("fp8_e4m3", fp8()),
                        ("int4_g64", integer(4, 32)), ("int4_g128", integer(4, 64))]:
        encoders[f"{name}_24"] = sparse24(inner)
    for kind in ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]:
        encoders[kind.lower()] = ggml(kinds[kind])
    for bits in (2, 3, 5, 6, 7):
        encoders[f"int{bits}"] = integer(bits, scale_type=F32)
    for bits in range(2, 9):
        for group in (32, 64, 128) if bits in (4, 8) else (16, 32, 64, 128):
            encoders[f"int{bits}_g{group}"] = integer(bits, group)
            encoders[f"int{bits}_g{group}_asym"] = integer(bits, group, zero=True)
    for name, encode in encoders.items():
        rows = [(COLUMNS, i, *encode(row)) for i, row in enumerate(x)]
        small = name[:3] == "int" and name[3] != "8"
        if small or name.startswith("int8_g") or name in ("int8", "fp8_e4m3", "f16"):
            lengths = [(204, 0), (48, 1), (4, 0)] if name.endswith("_24") else [(203, 0), (48, 1), (1, 0)]
            rows += [(n, i, *encode(x[i][:n])) for n, i in lengths]
        write(name, rows)
    blocks = np.array([0.0625, 0.25], F32)
    rows = [(COLUMNS, i, *fp8(blocks, group=128)(row), blocks) for i, row in enumerate(x)]
    write("fp8_e4m3_b128", rows)
    choice = np.array([2], F32)
    write("llm_fp4", [(COLUMNS, i, *encoders["fp4_e3m0"](row), choice) for i, row in enumerate(x)])
    halves = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
              "IQ4_NL": (0,), "IQ4_XS": (0,)}
    for seed, (kind, at) in enumerate(halves.items()):
        columns = gguf.GGML_QUANT_SIZES[kinds[kind]][0]
        rows = [(columns, None, *pair) for pair in random_blocks(kinds[kind], at, seed)]
        write(name_of(kind), rows)
    write_numbers()
    if len(sys.argv) > 1:
        write_kquants(sys.argv[1], x, kinds)


if __name__ == "__main__":
    main()
