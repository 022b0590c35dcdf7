"""Files that give no usable photo: found, told apart, and nothing else with them."""

import struct
import tracemalloc
import zlib

import pytest

from cannabis_ml.photos.checks import SET_ASIDE
from cannabis_ml.photos.checks.examined_file import examine_file
from cannabis_ml.photos.checks.params import DefectParams

# ------------------------------------------------------------------ missing

MISSING = next(check for check in SET_ASIDE if check.name == "missing")


def test_no_file(tmp_path):
    file = examine_file(str(tmp_path / "gone.jpg"), DefectParams())
    assert MISSING.find(file, DefectParams()) == "There is no such file."
    assert (file.bytes, file.photo_id, file.photo) == (None, None, None)


def test_file_that_is_there(tmp_path, write_photo):
    file = examine_file(str(write_photo(tmp_path / "a.jpg")), DefectParams())
    assert MISSING.find(file, DefectParams()) is None


# ------------------------------------------------------------------ too_large


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


def test_bomb_is_not_unpacked(told):
    data = bomb(30_000)
    assert len(data) < 200_000
    tracemalloc.start()
    found = told(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(found) == {"too_large"}
    assert peak < 10_000_000


def test_limit_is_what_is_allowed(told, draw, encode):
    data = encode(draw(1, 80, 50))
    assert told(data, too_large_pixels=4000) == {}
    assert set(told(data, too_large_pixels=3999)) == {"too_large"}


# ------------------------------------------------------------------ empty


def test_no_bytes(told):
    assert set(told(b"")) == {"empty"}


def test_one_byte_is_something_else(told):
    assert set(told(b"\0")) == {"not_an_image"}


# ------------------------------------------------------------------ lfs_pointer


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 18234\n"


def test_pointer(told):
    assert "git lfs pull" in told(POINTER)["lfs_pointer"]


def test_other_text(told):
    assert "lfs_pointer" not in told(b"see https://git-lfs.github.com/spec/v1")


# ------------------------------------------------------------------ not_an_image


@pytest.mark.parametrize(
    "data", [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7"]
)
def test_other_files(data, told):
    assert set(told(data)) == {"not_an_image"}


def test_photo_under_a_wrong_name_is_one(told, encode):
    assert "not_an_image" not in told(encode(), "photo.txt")


# ------------------------------------------------------------------ truncated


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_cut_files(kind, share, told, draw, encode):
    data = encode(draw(1, 640, 480), kind)
    assert set(told(data[: int(len(data) * share)])) == {"truncated"}


def test_every_end_of_a_jpeg_is_missed(told, draw, encode):
    data = encode(draw(1, 64, 48), progressive=False)
    for end in range(len(data) - 40, len(data)):
        assert set(told(data[:end])) == {"truncated"}


def test_download_into_reserved_space(told, draw, encode):
    data = encode(draw(1, 640, 480))
    half = data[: len(data) // 2]
    assert set(told(half + bytes(len(data) - len(half)))) == {"truncated"}


def test_preview_has_an_end_of_its_own(told, draw, encode):
    """An EXIF thumbnail is a whole JPEG within the file."""
    preview = b"Exif\0\0" + encode(draw(2, 32, 24))
    data = encode(draw(1, 640, 480))
    segment = b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview
    whole = data[:2] + segment + data[2:]
    assert told(whole) == {}
    half = whole[: len(whole) // 2]
    assert set(told(half + bytes(9999))) == {"truncated"}


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_what_cameras_append_does_no_harm(options, told, draw, encode):
    data = encode(draw(1, 640, 480), **options)
    assert told(data) == {}
    assert told(data + b"MotionPhoto" + bytes(5000)) == {}


# ------------------------------------------------------------------ unreadable


def test_damaged_header(told, encode):
    data = bytearray(encode(kind="PNG"))
    data[20] ^= 0xFF
    assert set(told(bytes(data))) == {"unreadable"}


def test_heic_is_reported_with_a_hint(told):
    header = struct.pack(">I4s4sI4s", 20, b"ftyp", b"heic", 0, b"mif1")
    assert "convert them to JPEG" in told(header + bytes(100), "photo.heic")["unreadable"]


def test_damage_in_the_middle_is_reported_once(told, draw, encode):
    data = bytearray(encode(draw(1, 64, 64), "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert set(told(bytes(data))) == {"unreadable"}


# ------------------------------------------------------------------ too_small


@pytest.mark.parametrize(
    ("size", "is_small"), [((32, 32), False), ((31, 400), True), ((400, 31), True)]
)
def test_short_side_counts(size, is_small, told, draw, encode):
    assert ("too_small" in told(encode(draw(1, *size)))) == is_small


def test_limit_can_be_lifted(told, draw, encode):
    assert "too_small" not in told(encode(draw(1, 3, 3)), too_small_side=0)
