"""More than 8 bits are noted, also where the decoder passes them off as 8."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image


def colour_png_of_48_bits(side=64):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    values = (
        np.random.default_rng(0).integers(0, 65536, (side, side * 3), dtype=np.uint16).astype(">u2")
    )
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey(kind, told, encode):
    values = np.random.default_rng(0).integers(0, 65536, (64, 64), dtype=np.uint16)
    found = told(encode(Image.fromarray(values), kind), f"x.{kind.lower()}")
    assert set(found) == {"sixteen_bit", "greyscale"}


def test_colour(told):
    assert set(told(colour_png_of_48_bits(), "x.png")) == {"sixteen_bit"}


def test_eight_bits(told, encode):
    assert told(encode(kind="PNG"), "x.png") == {}
