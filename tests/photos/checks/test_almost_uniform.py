"""A photo of one colour is flagged, one of two is not."""

import numpy as np
from PIL import Image


def test_noise_on_a_wall(told, encode):
    noise = np.random.default_rng(0).normal(120, 4, (128, 128, 3)).clip(0, 255).astype(np.uint8)
    assert "almost_uniform" in told(encode(Image.fromarray(noise), "PNG"))


def test_colour_alone_may_vary(told, encode):
    """Red and green of the same luma."""
    image = Image.new("RGB", (64, 64), (153, 0, 0))
    image.paste((0, 78, 0), (0, 0, 32, 64))
    assert "almost_uniform" not in told(encode(image, "PNG"))


def test_threshold(told, draw, encode):
    data = encode(draw())
    assert "almost_uniform" in told(data, almost_uniform_below=255)
    assert "almost_uniform" not in told(data, almost_uniform_below=0)
