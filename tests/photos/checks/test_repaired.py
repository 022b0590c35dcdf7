"""What decoding mends is noted, and what needs no mending is not."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from cannabis_ml.photos.decode import decode

# ------------------------------------------------------------------ exif_rotated


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(orientation, told, encode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert ("exif_rotated" in told(encode(exif=exif))) == (orientation != 1)


# ------------------------------------------------------------------ cmyk


def test_cmyk(told, draw, encode):
    assert set(told(encode(draw().convert("CMYK")))) == {"cmyk"}
    assert "cmyk" not in told(encode())


# ------------------------------------------------------------------ sixteen_bit


def color_png_of_48_bits(side=64):
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
def test_deep_gray(kind, told, encode):
    values = np.random.default_rng(0).integers(0, 65536, (64, 64), dtype=np.uint16)
    found = told(encode(Image.fromarray(values), kind), f"x.{kind.lower()}")
    assert set(found) == {"sixteen_bit", "grayscale"}


def test_deep_color(told):
    assert set(told(color_png_of_48_bits(), "x.png")) == {"sixteen_bit"}


def test_eight_bits(told, encode):
    assert told(encode(kind="PNG"), "x.png") == {}


# ------------------------------------------------------------------ greyscale


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_gray(mode, told, draw, encode):
    assert "grayscale" in told(encode(draw().convert(mode), "PNG"), "x.png")


def test_color(told, encode):
    assert "grayscale" not in told(encode())


# ------------------------------------------------------------------ palette


def test_palette(told, draw, encode):
    assert set(told(encode(draw().convert("P"), "PNG"), "x.png")) == {"palette"}
    assert set(told(encode(draw(), "GIF"), "x.gif")) == {"palette"}
    assert "palette" not in told(encode())


# ------------------------------------------------------------------ alpha


def test_alpha(told, draw, encode):
    image = draw().convert("RGBA")
    image.putalpha(draw(1).convert("L"))
    assert set(told(encode(image, "PNG"), "x.png")) == {"alpha"}
    assert set(told(encode(image, "WEBP"), "x.webp")) == {"alpha"}
    see_through = encode(draw().convert("P"), "PNG", transparency=0)
    assert set(told(see_through, "x.png")) == {"palette", "alpha"}
    assert "alpha" not in told(encode(kind="PNG"), "x.png")


# ------------------------------------------------------------------ animated


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_frames(kind, told, draw, encode):
    frames = [draw(seed, 64, 64) for seed in range(3)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    assert "animated" in told(data, f"x.{kind.lower()}")
    first = decode(data).astype(int)
    assert np.abs(first - np.asarray(frames[0])).mean() < 12  # GIF has 256 colours


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_one_frame(kind, told, encode):
    assert "animated" not in told(encode(kind=kind), f"x.{kind.lower()}")


def test_previews_of_a_camera_are_no_frames(told, draw, encode):
    data = encode(draw(0, 64, 64), "MPO", save_all=True, append_images=[draw(1, 64, 64)])
    assert told(data, "x.jpg") == {}


# ------------------------------------------------------------------ wrong_suffix


@pytest.mark.parametrize(
    ("kind", "path", "is_wrong"),
    [
        ("PNG", "x.jpg", True),
        ("JPEG", "x.png", True),
        ("WEBP", "x.jpeg", True),
        ("JPEG", "x", True),
        ("JPEG", "x.JPG", False),
        ("JPEG", "a.b/x.jfif", False),
        ("TIFF", "x.tif", False),
        ("JPEG2000", "x.jp2", False),
    ],
)
def test_names(kind, path, is_wrong, told, encode):
    assert ("wrong_suffix" in told(encode(kind=kind), path)) == is_wrong


# ------------------------------------------------------------------ broken_icc


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    "profile",
    [b"x" * 200, b"short", SRGB[:300], SRGB[:128] + b"\xff" * 4 + SRGB[132:]],
    ids=["noise", "short", "cut", "too many tags"],
)
def test_broken(profile, told, encode):
    assert set(told(encode(icc_profile=profile))) == {"broken_icc"}


def test_tag_beyond_the_end(told, encode):
    profile = bytearray(SRGB)
    profile[136:140] = (10**6).to_bytes(4, "big")  # where the first tag's data begin
    assert "beyond its end" in told(encode(icc_profile=bytes(profile)))["broken_icc"]


def test_whole_or_none(told, encode):
    assert told(encode(icc_profile=SRGB)) == {}
    assert told(encode()) == {}
