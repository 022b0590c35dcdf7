"""Hashes and thumbnails: the same for copies, different for different photos."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cannabis_ml.photo_sets.near_duplicates import (
    MAX_DIFFERENCE,
    MAX_DISTANCE,
    thumbnail_difference,
)
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.phash import (
    MIN_STRUCTURE,
    THUMBNAIL_BYTES,
    Fingerprint,
    fingerprint,
    perceptual_hash,
    structure,
)


def scene(seed: int, height: int = 256, width: int = 256) -> np.ndarray:
    """Something with large and small shapes, like a photo."""
    noise = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.float32)
    for cells in (3, 6, 12, 48):
        coarse = noise.normal(0, 45 / cells**0.5, (cells, cells, 3)).astype(np.float32)
        pixels += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(pixels + 120, 0, 255).astype(np.uint8)


def as_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def distance(left: int | None, right: int | None) -> int:
    assert left is not None
    assert right is not None
    return (left ^ right).bit_count()


def difference(left: Fingerprint, right: Fingerprint) -> float:
    thumbnails = [np.frombuffer(f.thumbnail, np.uint8)[None] for f in (left, right)]
    return float(thumbnail_difference(*thumbnails)[0])


COPIES = {
    "re-encoded at quality 50": lambda p: decode(as_jpeg(p, 50)),
    "half the size": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "enlarged": lambda p: cv2.resize(p, None, fx=1.7, fy=1.7, interpolation=cv2.INTER_LINEAR),
    "squashed": lambda p: cv2.resize(p, (320, 160), interpolation=cv2.INTER_AREA),
    "brighter": lambda p: np.clip(p.astype(np.int16) + 15, 0, 255).astype(np.uint8),
    "darker": lambda p: (p * 0.8).astype(np.uint8),
    "blurred": lambda p: cv2.GaussianBlur(p, (0, 0), 1.5),
    "a few pixels cropped": lambda p: p[2:-2, 2:-2],
}


def reference_hash(pixels: np.ndarray) -> int:
    """The definition, by OpenCV's DCT and plain loops."""
    grid = cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64)
    gray = grid @ np.array([0.299, 0.587, 0.114])
    coefficients = cv2.dct(gray)
    bits = ""
    for row in range(1, 9):
        for column in range(1, 9):
            bits += "1" if coefficients[row, column] > 0 else "0"
    return int(bits, 2)


@pytest.mark.parametrize("seed", range(5))
def test_hash_is_the_signs_of_the_dct(seed: int) -> None:
    pixels = scene(seed)
    assert perceptual_hash(pixels) == reference_hash(pixels)


def test_one_cosine_sets_the_bit_of_its_frequency() -> None:
    position = np.arange(256) + 0.5
    row, column = np.cos(np.pi * 3 * position / 256), np.cos(np.pi * 5 * position / 256)
    pixels = np.rint(128 + 100 * np.outer(row, column)).astype(np.uint8)
    value, opposite = perceptual_hash(pixels), perceptual_hash(255 - pixels)
    assert value is not None
    assert opposite is not None
    place = 63 - (8 * (3 - 1) + (5 - 1))
    assert value >> place & 1 == 1
    assert opposite >> place & 1 == 0


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("seed", range(5))
def test_a_copy_is_near(copy: str, seed: int) -> None:
    pixels = scene(seed)
    one, other = fingerprint(pixels), fingerprint(COPIES[copy](pixels))
    assert distance(one.phash, other.phash) <= MAX_DISTANCE
    assert difference(one, other) <= MAX_DIFFERENCE


def test_different_photos_are_far() -> None:
    hashes = [perceptual_hash(scene(seed)) for seed in range(40)]
    apart = [distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > MAX_DISTANCE
    assert 28 < np.mean(apart) < 36  # unrelated bits: 32 of 64


def test_a_mirrored_photo_is_another() -> None:
    pixels = scene(1)
    assert distance(perceptual_hash(pixels), perceptual_hash(pixels[:, ::-1])) > MAX_DISTANCE


def test_a_large_photo_decoded_at_reduced_scale_has_the_same_fingerprint() -> None:
    data = as_jpeg(scene(2, 3000, 4000), 90)
    whole, reduced = fingerprint(decode(data)), fingerprint(decode(data, reduce_to=256))
    assert distance(whole.phash, reduced.phash) <= 2
    assert difference(whole, reduced) < 0.001


def test_grayscale_is_the_gray_photo_in_colors() -> None:
    gray = cv2.cvtColor(scene(3), cv2.COLOR_RGB2GRAY)
    assert fingerprint(gray) == fingerprint(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB))


def test_thumbnail_is_the_average_over_areas() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pixels = np.repeat(np.repeat(colors, 16, axis=0), 16, axis=1)
    thumbnail = fingerprint(pixels).thumbnail
    assert len(thumbnail) == THUMBNAIL_BYTES
    assert thumbnail == colors.tobytes()


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_uniform_photo_has_no_hash(shade: int) -> None:
    wall = np.full((256, 256, 3), shade, np.uint8)
    assert perceptual_hash(wall) is None
    assert structure(wall) < 0.01


def test_sensor_noise_on_a_wall_is_no_structure() -> None:
    noise = np.random.default_rng(0).normal(128, 10, (256, 256, 3))
    wall = decode(as_jpeg(np.clip(noise, 0, 255).astype(np.uint8), 80))
    assert structure(wall) < MIN_STRUCTURE / 2
    assert fingerprint(wall).phash is None


def test_a_leaf_on_a_wall_is_structure() -> None:
    wall = np.full((256, 256, 3), 230, np.uint8)
    cv2.ellipse(wall, (120, 140), (60, 25), 30, 0, 360, (40, 120, 40), -1)
    assert structure(wall) > 5 * MIN_STRUCTURE


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (7, 5), (31, 33, 3)])
def test_any_size_gives_a_fingerprint(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert len(fingerprint(pixels).thumbnail) == THUMBNAIL_BYTES


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8,), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=["float", "four channels", "one dimension", "no pixels"],
)
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="photo"):
        fingerprint(pixels)


@pytest.mark.parametrize("copy", COPIES)
def test_copies_of_real_photos_are_near(copy: str, real_photos: Path) -> None:
    files = sorted((real_photos / "plantdoc_256/train").glob("*/*"))[::60]
    near = 0
    for file in files:
        pixels = decode(file.read_bytes())
        one, other = fingerprint(pixels), fingerprint(COPIES[copy](pixels))
        near += (
            distance(one.phash, other.phash) <= MAX_DISTANCE
            and difference(one, other) <= MAX_DIFFERENCE
        )
    assert near / len(files) >= 0.95
