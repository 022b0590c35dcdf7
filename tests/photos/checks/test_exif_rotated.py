"""Every orientation but upright is noted."""

import pytest
from PIL import Image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(orientation, told, encode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert ("exif_rotated" in told(encode(exif=exif))) == (orientation != 1)
