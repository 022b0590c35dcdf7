"""A colour profile is whole, or noted."""

import pytest
from PIL import ImageCms

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
