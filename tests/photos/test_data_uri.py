import base64
import io

from PIL import Image

from cannabis_ml.photos.data_uri import GONE, jpeg_uri, thumbnail_uri


def test_a_thumbnail_is_a_jpeg_of_the_size_asked_for(tmp_path, draw, encode):
    (tmp_path / "a.png").write_bytes(encode(draw(0, 300, 200), "PNG"))
    uri = thumbnail_uri(str(tmp_path / "a.png"), 90)
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as small:
        assert small.size == (90, 60)


def test_a_small_photo_is_not_enlarged(draw, encode):
    data = jpeg_uri(encode(draw(0, 48, 40)), 90).partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(data))) as same:
        assert same.size == (48, 40)


def test_what_cannot_be_opened_has_a_stand_in(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"oops")
    assert thumbnail_uri(str(tmp_path / "bad.jpg")) == GONE
    assert thumbnail_uri(str(tmp_path / "none.jpg")) == GONE
