"""Draws a page with headless Chromium and says what came out: picture.py PAGE FOLDER.

Screenshots in light and dark, and a PDF. The browser has no network: a page that fetched
anything would lack it here. PNGs are decoded with zlib alone.
"""
import os
import pathlib
import re
import struct
import subprocess
import sys
import zlib

WIDTH, HEIGHT = 1180, 2000


def chromium(folder, *arguments):
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
               "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND",
               f"--user-data-dir={folder}/profile", *arguments]
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr


def pixels(path):
    """(width, height, channels, rows of bytes) of an 8-bit PNG without interlacing."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    assert depth == 8 and kind in (2, 6) and not interlaced, (depth, kind, interlaced)
    packed, at = b"", 8
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at:at + 8])
        packed += data[at + 8:at + 8 + size] if name == b"IDAT" else b""
        at += 12 + size
    channels = 3 if kind == 2 else 4
    return width, height, channels, unfilter(zlib.decompress(packed), width * channels, channels)


def unfilter(data, length, channels):
    rows, before = [], bytearray(length)
    for start in range(0, len(data), length + 1):
        kind, row = data[start], bytearray(data[start + 1:start + 1 + length])
        if kind == 2:  # the common one, without a step for each byte
            row = bytearray((a + b) & 255 for a, b in zip(row, before))
        elif kind:
            for i in range(length):
                left = row[i - channels] if i >= channels else 0
                up, corner = before[i], before[i - channels] if i >= channels else 0
                if kind == 1:
                    row[i] = row[i] + left & 255
                elif kind == 3:
                    row[i] = row[i] + (left + up >> 1) & 255
                else:
                    guess = left + up - corner
                    near = min((abs(guess - left), 0, left), (abs(guess - up), 1, up),
                               (abs(guess - corner), 2, corner))[2]
                    row[i] = row[i] + near & 255
        rows.append(bytes(row))
        before = row
    return rows


def describe(path):
    width, height, channels, rows = pixels(path)
    colors = {row[i:i + 3] for row in rows[::3] for i in range(0, len(row), channels)}
    paper = rows[4][:3]
    side = "white" if min(paper) > 240 else "dark" if max(paper) < 60 else paper.hex()
    return f"{width} x {height}, {len(colors)} shades on {side} paper"


def main(page, folder):
    folder = pathlib.Path(folder).resolve()
    address = pathlib.Path(page).resolve().as_uri()
    for name, option in (("light", []), ("dark", ["--blink-settings=preferredColorScheme=0"])):
        shot = folder / f"{name}.png"
        chromium(folder, *option, f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={shot}", address)
        print(f"{name}: {describe(shot)}")
    printed = folder / "printed.pdf"
    chromium(folder, "--no-pdf-header-footer", f"--print-to-pdf={printed}", address)
    pages = len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes()))
    print(f"printed: {pages} pages")


main(*sys.argv[1:])
