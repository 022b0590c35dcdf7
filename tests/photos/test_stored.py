"""Photos as a photo set stores them are read as any other decoder reads them."""

import io

import numpy as np
import pytest
from PIL import Image

from cannabis_ml.photos.stored import decode_stored


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_stored_photo_is_read_as_pillow_reads_it(draw, encode, kind):
    data = encode(draw(3, 61, 47), kind)
    found = decode_stored(data)
    assert (found.shape, found.dtype) == ((47, 61, 3), np.uint8)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    # Builds of the JPEG library may round differently.
    assert np.abs(found.astype(int) - expected).max() <= (0 if kind == "PNG" else 1)


def test_what_is_not_an_image_is_refused():
    with pytest.raises(ValueError, match="11 bytes that are not an image"):
        decode_stored(b"not a photo")
