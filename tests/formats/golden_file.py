"""The form of golden files that are made from rows of random bits."""
import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).parent / "golden"


def hundredths_of(width):
    """Hundredths of a bit a weight of a format's width: "3_44" is 344."""
    return round(100 * float(width.replace("_", ".")))


def write(name, rows):
    """Writes golden/NAME.txt of (columns, side numbers or None, row, the f32 bytes it means); the
    values of the first row are written out, those of the others as their CRC."""
    lines = [f"format {name}"]
    for columns, side, row, values in rows:
        lines.append(f"columns {columns} input -")
        if side is not None:
            lines.append("side " + struct.pack(f"<{len(side)}f", *side).hex())
        lines += [f"bytes {row.hex()}", f"crc {zlib.crc32(values):08x}"]
        if values is rows[0][3]:
            lines.append(f"values {values.hex()}")
    (HERE / f"{name}.txt").write_text("\n".join(lines) + "\n")
