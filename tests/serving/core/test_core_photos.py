"""The phone sees the server's pixels: resizing, turning and WebP, by Python and by TypeScript."""

import base64
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from cannabis_ml.photos.checks.examined_file import WORKING_SIDE
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.resize import center_crop_resize, shrink

SIDES = [16, 96, 128, 160]
ORIENTATIONS = range(1, 9)


def stored(pixels):
    height, width = pixels.shape[:2]
    return {"width": width, "height": height, "data": base64.b64encode(pixels.tobytes()).decode()}


def read(found, shape):
    return np.frombuffer(base64.b64decode(found), np.uint8).reshape(shape)


def _random_photos():
    """Of many sizes: multiples of the sides, smaller, just larger, long and thin."""
    rng = np.random.default_rng(7)
    sizes = [(96, 96), (192, 192), (320, 480), (161, 160), (97, 300), (257, 256), (1, 1), (5, 200)]
    sizes += [(384, 384), (512, 768), (640, 480), (15, 17), (768, 1025)]
    sizes += [tuple(int(side) for side in rng.integers(2, 600, 2)) for _ in range(40)]
    for height, width in sizes:
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        smooth = cv2.GaussianBlur(noise, (0, 0), 3)
        yield noise if rng.random() < 0.5 else smooth


@pytest.fixture(scope="module")
def photos():
    return list(_random_photos())


def test_inputs_are_within_a_gray_level(core, photos):
    strips = [7, 64, 256]
    found = core(
        "resized",
        [
            {"photo": stored(photo), "sides": SIDES, "strip": strips[i % len(strips)]}
            for i, photo in enumerate(photos)
        ],
    )
    apart = []
    for photo, one in zip(photos, found, strict=True):
        for side, data in zip(SIDES, one["inputs"], strict=True):
            ours, theirs = read(data, (side, side, 3)), center_crop_resize(photo, side)
            apart.append(np.abs(ours.astype(int) - theirs))
        theirs = shrink(photo, WORKING_SIDE)
        assert (one["small"]["height"], one["small"]["width"]) == theirs.shape[:2]
        apart.append(np.abs(read(one["small"]["data"], theirs.shape).astype(int) - theirs))
    assert max(one.max() for one in apart) <= 1
    # Rounding aside they are the very same pixels.
    assert np.mean([one.mean() for one in apart]) < 0.01


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_turned_photos_are_those_of_the_server(core, orientation):
    rng = np.random.default_rng(orientation)
    for height, width, strip in [(13, 21, 5), (21, 13, 4), (8, 8, 100), (1, 6, 2)]:
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        file = _with_orientation(pixels, orientation, "PNG")
        expected = decode(file)
        (found,) = core(
            "upright",
            [{"photo": stored(pixels), "orientation": orientation, "strip": strip}],
        )
        assert (found["height"], found["width"]) == expected.shape[:2]
        assert (read(found["data"], expected.shape) == expected).all()


def test_webp_is_given_to_the_browser_without_its_orientation(core):
    pixels = np.random.default_rng(0).integers(0, 256, (13, 21, 3), dtype=np.uint8)
    files = [_with_orientation(pixels, orientation, "WEBP") for orientation in ORIENTATIONS]
    found = core("webp", [{"file": base64.b64encode(file).decode()} for file in files])
    assert [one["orientation"] for one in found] == list(ORIENTATIONS)
    for one in found:
        with Image.open(io.BytesIO(base64.b64decode(one["file"]))) as image:
            assert not image.getexif()
            assert (np.asarray(image.convert("RGB")) == pixels).all()


@pytest.mark.parametrize("file", ["png", "cut", "plain", "damaged"])
def test_other_files_are_left_alone(core, file):
    pixels = np.zeros((4, 4, 3), np.uint8)
    turned = _with_orientation(pixels, 6, "WEBP")
    tag = b"\x01\x12\x00\x03" if b"MM\x00*" in turned else b"\x12\x01\x03\x00"
    damaged = turned.replace(tag, tag[:2] + b"\x07\x07")
    data = {
        "png": _with_orientation(pixels, 6, "PNG"),
        "cut": turned[: turned.index(b"EXIF") + 14],
        "plain": _file(pixels, "WEBP"),
        "damaged": damaged,
    }[file]
    (found,) = core("webp", [{"file": base64.b64encode(data).decode()}])
    assert found is None if file == "png" else found["orientation"] == 1


def test_gray_levels_apart(core):
    one, other = np.full(12, 7, np.uint8), np.full(12, 7, np.uint8)
    other[3] = 4
    encoded = [base64.b64encode(a.tobytes()).decode() for a in (one, other, one[:3])]
    pairs = [(0, 1), (0, 0), (0, 2)]
    cases = [{"ours": encoded[a], "theirs": encoded[b]} for a, b in pairs]
    assert core("apart", cases) == [3, 0, 255]


def _with_orientation(pixels, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _file(pixels, kind, exif=exif)


def _file(pixels, kind, **options):
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, kind, lossless=True, **options)
    return held.getvalue()
