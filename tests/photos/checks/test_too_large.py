"""More pixels than allowed are refused before one is decoded."""

import struct
import time
import tracemalloc
import zlib


def bomb(side):
    """A PNG of side x side black pixels, deflated twice over: little more than a header."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    packed = b"".join(rows.compress(row) for _ in range(side)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def test_bomb_costs_neither_time_nor_memory(told):
    data = bomb(30_000)
    assert len(data) < 200_000
    tracemalloc.start()
    start = time.perf_counter()
    found = told(data)
    seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(found) == {"too_large"}
    assert seconds < 1
    assert peak < 10_000_000


def test_limit_is_what_is_allowed(told, draw, encode):
    data = encode(draw(1, 80, 50))
    assert told(data, too_large_pixels=4000) == {}
    assert set(told(data, too_large_pixels=3999)) == {"too_large"}
