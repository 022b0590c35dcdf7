"""Several frames are noted, and the first is what is seen."""

import numpy as np
import pytest

from cannabis_ml.photos.decode import decode


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
