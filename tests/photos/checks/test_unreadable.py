"""Damage, and kinds that are not read here."""

import struct


def test_damaged_header(told, encode):
    data = bytearray(encode(kind="PNG"))
    data[20] ^= 0xFF
    assert set(told(bytes(data))) == {"unreadable"}


def test_heic_is_told_with_a_hint(told):
    header = struct.pack(">I4s4sI4s", 20, b"ftyp", b"heic", 0, b"mif1")
    assert "convert them to JPEG" in told(header + bytes(100), "photo.heic")["unreadable"]


def test_damage_in_the_middle_is_told_once(told, draw, encode):
    data = bytearray(encode(draw(1, 64, 64), "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert set(told(bytes(data))) == {"unreadable"}
