"""Any bytes give upright RGB pixels or a verdict."""

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cannabis_ml.photos.decode import FORMATS, UnreadableError, decode, examine, read_header

RED, BLUE = (255, 0, 0), (0, 0, 255)


def verdict(data, **options):
    with pytest.raises(UnreadableError) as caught:
        decode(data, **options)
    assert caught.value.detail
    return caught.value.defect


def png_chunk(kind, body):
    total = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + total


def png_header_saying(width, height):
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", size) + pixels + png_chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "AVIF"])
def test_every_format_gives_its_pixels(kind, draw, encode):
    image = draw()
    pixels = decode(encode(image, kind))
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    # Lossy ones, and GIF's palette, come near.
    assert np.abs(pixels.astype(int) - np.asarray(image)).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, draw, encode):
    image = draw()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(image, "PNG", exif=exif)
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    photo = examine(data)
    np.testing.assert_array_equal(photo.pixels, expected)
    assert (photo.height, photo.width) == expected.shape[:2]
    assert photo.orientation == orientation


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_nonsense_orientation_is_ignored(orientation, draw, encode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(encode(draw(), "PNG", exif=exif)), np.asarray(draw()))


def test_transparency_is_laid_on_white(encode):
    image = Image.new("RGBA", (4, 2), (255, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 255, 255))
    image.putpixel((1, 0), (0, 0, 0, 128))
    pixels = decode(encode(image, "PNG"))
    assert tuple(pixels[1, 1]) == (255, 255, 255)
    assert tuple(pixels[0, 0]) == BLUE
    np.testing.assert_allclose(pixels[0, 1], 127, atol=1)


def test_palette_transparency_is_laid_on_white(encode):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((0, 0), 0)
    pixels = decode(encode(image, "PNG", transparency=0))
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    assert tuple(pixels[2, 2]) == RED


def test_gray_and_transparent_gray_become_rgb(encode):
    assert (decode(encode(Image.new("L", (3, 3), 90), "PNG")) == 90).all()
    assert (decode(encode(Image.new("LA", (3, 3), (90, 0)), "PNG")) == 255).all()
    assert (decode(encode(Image.new("1", (3, 3), 1), "PNG")) == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind, encode):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    pixels = decode(encode(Image.fromarray(values), kind))
    np.testing.assert_array_equal(pixels[0, :, 0], [0, 1, 128, 255])


@pytest.mark.parametrize("top", [1.0, 255.0, 4000.0])
def test_floating_gray_is_scaled_by_its_white(top, encode):
    values = np.array([[0.0, top / 2, top, np.nan]], dtype=np.float32)
    pixels = decode(encode(Image.fromarray(values), "TIFF"))
    np.testing.assert_array_equal(pixels[0, :, 1], [0, 128, 255, 0])


def test_cmyk_becomes_rgb(encode):
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    np.testing.assert_allclose(decode(encode(red))[8, 8], RED, atol=6)


def test_lab_becomes_rgb(encode):
    white = Image.new("LAB", (4, 4), (255, 128, 128))
    np.testing.assert_allclose(decode(encode(white, "TIFF"))[2, 2], 255, atol=3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animation_gives_its_first_frame(kind, encode):
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, BLUE)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(decode(data)[4, 4], RED, atol=3)


def test_several_pictures_in_one_jpeg_give_the_first(encode):
    frames = [Image.new("RGB", (64, 64), color) for color in (RED, BLUE)]
    data = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(decode(data, reduce_to=16)[2, 2], RED, atol=3)


def test_reducing_keeps_at_least_what_is_asked_for(draw, encode):
    data = encode(draw(width=640, height=480))
    assert decode(data, reduce_to=100).shape == (120, 160, 3)
    assert decode(data, reduce_to=121).shape == (240, 320, 3)
    assert decode(data, reduce_to=481).shape == (480, 640, 3)
    photo = examine(data, reduce_to=100)
    assert (photo.width, photo.height) == (640, 480)


def test_header_has_format_and_size(draw, encode):
    exif = Image.Exif()
    exif[0x0112] = 6
    header = read_header(encode(draw(width=64, height=48).convert("L"), exif=exif))
    assert (header.format, header.mode, header.orientation) == ("JPEG", "L", 6)
    assert (header.width, header.height) == (48, 64)
    assert header.has_metadata


def test_reduced_photo_looks_the_same(draw, encode):
    data = encode(draw(width=640, height=480), quality=95)
    small = np.asarray(Image.fromarray(decode(data)).reduce(4)).astype(int)
    assert np.abs(decode(data, reduce_to=100) - small).mean() < 2


def test_verdicts_on_what_is_no_photo(encode):
    assert verdict(b"") == "empty"
    assert verdict(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n") == "lfs_pointer"
    assert verdict(b"<html>404</html>") == "not_an_image"
    assert verdict(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "not_an_image"
    assert verdict(b"\0\0\0\x18ftypheic" + b"\0" * 40) == "unreadable"


def test_damaged_png_is_no_noisy_photo(encode):
    good = encode(kind="PNG")
    middle = len(good) // 2
    assert verdict(good[:middle] + b"xxxx" + good[middle + 4 :]) == "unreadable"
    assert verdict(good[:middle]) == "truncated"


MUCH = "x" * (2 << 20)
PNG_TEXTS = {
    "zTXt": png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(MUCH.encode())),
    "iTXt, packed": png_chunk(b"iTXt", b"prompt\0\1\0en\0p\0" + zlib.compress(MUCH.encode())),
    "iTXt, not Latin": png_chunk(
        b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(("x" + MUCH.replace("x", "é")).encode())
    ),
    "iTXt, plain": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + MUCH.encode()),
    "tEXt, 70 MB": png_chunk(b"tEXt", b"Comment\0" + MUCH.encode() * 35),
    "iCCP": png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(MUCH.encode())),
    "100 of 0.9 MB": png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 900_000)) * 100,
}


@pytest.mark.parametrize("text", PNG_TEXTS)
@pytest.mark.parametrize("place", ["before the pixels", "after them"])
def test_png_with_much_metadata_gives_its_pixels(place, text, draw, encode):
    image = draw()
    plain = encode(image, "PNG")
    at = 33 if place == "before the pixels" else -12  # signature and IHDR; IEND
    assert plain[12:16] == b"IHDR"
    assert plain[-8:-4] == b"IEND"
    data = plain[:at] + PNG_TEXTS[text] + plain[at:]
    np.testing.assert_array_equal(decode(data), np.asarray(image))
    assert read_header(data).width == image.width


def test_way_up_in_xmp_of_any_length_is_heard(draw, encode):
    image = draw()
    plain = encode(image, "PNG")
    xmp = b'<x:xmpmeta tiff:Orientation="3">' + MUCH.encode()
    text = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp))
    upside_down = decode(plain[:33] + text + plain[33:])
    np.testing.assert_array_equal(upside_down, np.asarray(image)[::-1, ::-1])


def test_metadata_within_the_limits_stays(draw, encode):
    plain = encode(draw(), "PNG")
    data = plain[:33] + png_chunk(b"iCCP", b"p\0\0" + zlib.compress(b"profile")) + plain[33:]
    assert read_header(data).color_profile == b"profile"


@pytest.mark.parametrize("reduce_to", [None, 8])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_jpeg_cut_short_is_truncated(share, progressive, reduce_to, draw, encode):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encode(noise, progressive=progressive)
    assert verdict(data[: int(len(data) * share)], reduce_to=reduce_to) == "truncated"


@pytest.mark.parametrize("kept", [4, 30, 200])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_file_cut_in_its_header_is_truncated(kind, kept, encode):
    assert verdict(encode(kind=kind)[: max(kept, 8 if kind == "PNG" else 0)]) == "truncated"


def test_decompression_bomb_is_too_large_and_never_decoded():
    assert verdict(png_header_saying(60_000, 60_000)) == "too_large"
    assert verdict(png_header_saying(20_000, 15_000)) == "too_large"


def test_limits_are_the_callers(encode, draw):
    data = encode(draw(width=48, height=40))
    assert decode(data, max_pixels=48 * 40).shape == (40, 48, 3)
    assert verdict(data, max_pixels=48 * 40 - 1) == "too_large"
    assert decode(data, min_side=40).shape == (40, 48, 3)
    assert verdict(data, min_side=41) == "too_small"


def test_errors_of_the_decoder_for_size_are_verdicts(draw, encode, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # WebP's plugin has a check of its own
    assert verdict(encode(draw(width=48, height=40), "WEBP")) == "too_large"


def test_verdict_survives_a_process_border():
    error = pickle.loads(pickle.dumps(UnreadableError("empty", "The file has no bytes.")))
    assert (error.defect, error.detail) == ("empty", "The file has no bytes.")


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_pixels_or_a_verdict(data):
    assert_pixels_or_verdict(data)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_photos_give_pixels_or_a_verdict(data, encode):
    kind = data.draw(st.sampled_from(FORMATS))
    good = bytearray(encode(kind=kind))
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(good)))
    assert_pixels_or_verdict(bytes(good[:cut]))


def assert_pixels_or_verdict(data):
    try:
        pixels = decode(data, max_pixels=1_000_000)
    except UnreadableError as error:
        assert error.detail  # noqa: PT017
        return
    read_header(data)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.size > 0


def test_real_bad_files_get_sensible_verdicts(real_photos):
    expected = {
        "zero_byte": {"empty"},
        "lfs_pointer": {"lfs_pointer"},
        "truncated_256KiB": {"truncated"},
        "exif_rotated": {"upright"},
        "huge": {"sound"},
    }
    for folder, verdicts in expected.items():
        for path in (real_photos / "naturally_bad" / folder).iterdir():
            try:
                photo = examine(path.read_bytes(), reduce_to=64)
                seen = "upright" if photo.orientation != 1 else "sound"
                assert folder != "exif_rotated" or photo.height > photo.width
            except UnreadableError as error:
                seen = error.defect
            assert seen in verdicts, path


def test_header_of_too_many_pixels_is_refused_before_one_is_decoded():
    row = zlib.compress(bytes(1000))  # decoding would fail: there are not enough of them
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", row), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    for limit in ({}, {"max_pixels": 1_000_000}):
        with pytest.raises(UnreadableError, match="30000 x 30000"):
            read_header(data, **limit)
