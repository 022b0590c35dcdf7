"""A browser's decoders give the server's pixels: files of many kinds, in Chromium."""

import base64
import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from cannabis_ml.photos.checks.examined_file import WORKING_SIDE
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.resize import center_crop_resize, shrink

SIDES = [96, 160]


@pytest.fixture(scope="module")
def decoded(compiled, chromium):
    """`decoded(file)`: what the core makes of a file in a browser."""
    sync_api = pytest.importorskip("playwright.sync_api")
    script = compiled("browser_driver.ts", "--format=iife").read_text("utf-8")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = opened.new_page()
        page.add_script_tag(content=script)
        yield lambda file: page.evaluate(
            "([file, sides]) => decoded(file, sides)", [base64.b64encode(file).decode(), SIDES]
        )
        opened.close()


def photo(height, width, seed=0):
    """Smooth, with edges and colors; a letter-like corner tells how it is turned."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX)
    pixels[: height // 3, : width // 4] = (250, 20, 60)
    return pixels


def file_of(pixels, kind, *, orientation=None, mode="RGB", **options):
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    held = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(held, kind, **options)
    return held.getvalue()


def assert_alike(found, file):
    assert not isinstance(found, str), found
    pixels = decode(file)
    assert (found["height"], found["width"]) == pixels.shape[:2]
    for side, data in zip(SIDES, found["inputs"], strict=True):
        theirs = center_crop_resize(pixels, side)
        ours = np.frombuffer(base64.b64decode(data), np.uint8).reshape(theirs.shape)
        assert np.abs(ours.astype(int) - theirs).max() <= 1
    theirs = shrink(pixels, WORKING_SIDE)
    small = np.frombuffer(base64.b64decode(found["small"]["data"]), np.uint8)
    assert np.abs(small.reshape(theirs.shape).astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(decoded, kind, orientation):
    lossless = {"lossless": True} if kind == "WEBP" else {"quality": 92}
    file = file_of(photo(300, 431), kind, orientation=orientation, **lossless)
    assert_alike(decoded(file), file)


def _with_profile():
    """With a profile that a browser would have to exchange red and green by."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, green = (profile.index(tag) for tag in (b"rXYZ", b"gXYZ"))
    swapped = bytearray(profile)
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    return file_of(photo(300, 400), "JPEG", icc_profile=bytes(swapped))


def _transparent():
    alpha = np.tile(np.linspace(0, 255, 333).astype(np.uint8), (280, 1))
    rgba = np.dstack([photo(280, 333), alpha])
    held = io.BytesIO()
    Image.fromarray(rgba, "RGBA").save(held, "PNG")
    return held.getvalue()


FILES = {
    "12 megapixels": lambda: file_of(photo(3000, 4000), "JPEG", quality=90, orientation=6),
    "420": lambda: file_of(photo(301, 403), "JPEG", subsampling=2),
    "444": lambda: file_of(photo(301, 403), "JPEG", subsampling=0),
    "progressive": lambda: file_of(photo(301, 403), "JPEG", progressive=True),
    "gray": lambda: file_of(photo(300, 400), "JPEG", mode="L"),
    "CMYK": lambda: file_of(photo(300, 400), "JPEG", mode="CMYK"),
    "palette": lambda: file_of(photo(300, 400), "PNG", mode="P"),
    "profile": _with_profile,
    "transparent": _transparent,
    "tiny": lambda: file_of(photo(20, 31), "PNG"),
    "thin": lambda: file_of(photo(1400, 9), "PNG"),
    "gif": lambda: file_of(photo(200, 300), "GIF"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_all_kinds_are_decoded_alike(decoded, name):
    file = FILES[name]()
    assert_alike(decoded(file), file)


@pytest.mark.parametrize("file", [b"", b"hello", b"\xff\xd8\xff\xe0" + b"\0" * 50])
def test_other_files_are_refused(decoded, file):
    assert decoded(file).startswith("PhotoError: The file is no photo")
