"""Blur is flagged, at the same measure for a large photo and a small one."""

import numpy as np
import pytest
from PIL import Image, ImageFilter


def texture(side):
    """Blobs a hundredth of the photo in size."""
    rng = np.random.default_rng(0)
    cells = Image.fromarray(rng.integers(0, 256, (100, 100, 3), dtype=np.uint8))
    return cells.resize((side, side), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("side", [256, 700, 2048])
def test_blur_of_a_twentieth_of_the_photo(side, told, encode):
    sharp = texture(side)
    assert "blurred" not in told(encode(sharp, quality=92))
    assert "blurred" in told(encode(sharp.filter(ImageFilter.GaussianBlur(side / 40)), quality=92))


def test_threshold(told, encode):
    data = encode(texture(256))
    assert "blurred" in told(data, blurred_below=1e6)
    assert "blurred" not in told(data, blurred_below=0)


def test_few_false_alarms(told, real_photos):
    """At most 1 in 100, of photos that people published as good."""
    photos = sorted(real_photos.glob("plantdoc_256/t*/*/*"))[::10]
    flagged = [path for path in photos if "blurred" in told(path.read_bytes())]
    assert len(flagged) <= len(photos) / 100
