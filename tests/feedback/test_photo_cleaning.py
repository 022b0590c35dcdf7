"""A stranger's photo becomes pixels and nothing else, or is refused with a reason."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from cannabis_ml.errors import FeedbackError, FeedbackRefusedError
from cannabis_ml.feedback.photo_cleaning import clean_photo
from cannabis_ml.feedback.photo_store import PhotoStore
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.fingerprint import photo_id

SECRETS = (b"Canon", b"SN-12345", b"Erica", b"a comment", b"GPS", b"sRGB")


def exif(orientation=1):
    found = Image.Exif()
    found[0x0112] = orientation
    found[0x010F] = "Canon"
    found[0x8298] = "Erica"
    found.get_ifd(0x8769)[0xA431] = "SN-12345"
    found.get_ifd(0x8825).update({1: "N", 2: (19.0, 25.0, 57.0), 3: "W", 4: (99.0, 7.0, 59.0)})
    return found


def profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def telling(encode, draw):
    """A photo with place, serial number, owner, comment and profile, by format."""

    def telling(kind="JPEG", orientation=1):
        options = {"exif": exif(orientation), "icc_profile": profile()}
        if kind == "JPEG":
            options |= {"comment": b"a comment", "quality": 85}
        if kind == "PNG":
            texts = PngImagePlugin.PngInfo()
            texts.add_text("Author", "Erica")
            options["pnginfo"] = texts
        return encode(draw(width=64, height=40), kind, **options)

    return telling


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_place_serial_numbers_and_owner_are_gone(telling, kind):
    sent = telling(kind)
    clean = clean_photo(sent)
    assert [secret for secret in SECRETS if secret in clean.data] == []
    image = Image.open(io.BytesIO(clean.data))
    assert set(image.getexif()) <= {0x0112}
    assert not {"icc_profile", "comment", "xmp", "Author"} & set(image.info)
    assert clean.suffix == (".png" if kind in ("PNG", "TIFF") else ".jpg")
    assert (clean.sent_sha256, clean.photo_id) == (photo_id(sent), photo_id(clean.data))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_keeps_every_pixel_and_which_way_is_up(telling, orientation):
    sent = telling(orientation=orientation)
    clean = clean_photo(sent)
    assert np.array_equal(decode(clean.data), decode(sent))
    assert decode(clean.data).shape == (clean.height, clean.width, 3)
    assert set(Image.open(io.BytesIO(clean.data)).getexif()) <= {0x0112}
    assert clean_photo(clean.data).data == clean.data


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_a_photo_without_loss_keeps_every_pixel(telling, encode, kind):
    sent = encode(kind=kind) if kind == "BMP" else telling(kind)
    assert np.array_equal(decode(clean_photo(sent).data), decode(sent))


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "JPEG2000"])
def test_other_lossy_formats_become_jpegs_that_look_the_same(encode, draw, kind):
    sent = encode(draw(width=64, height=40), kind)
    difference = decode(clean_photo(sent).data).astype(int) - decode(sent)
    assert np.abs(difference).mean() < 2


def test_cmyk_is_encoded_anew(encode, draw):
    clean = clean_photo(encode(draw().convert("CMYK")))
    assert Image.open(io.BytesIO(clean.data)).mode == "RGB"


def test_a_preview_in_the_header_is_gone(encode, draw):
    """JFIF may carry uncropped pixels as a preview, and EXIF too."""
    plain = encode()
    preview = bytes(range(1, 28)) * 1
    header = b"\xff\xe0" + struct.pack(">H", 16 + 27) + b"JFIF\0\1\1\0\0\1\0\1\3\3" + preview
    clean = clean_photo(plain[:2] + header + plain[20:])
    assert preview not in clean.data
    assert np.array_equal(decode(clean.data), decode(plain))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_is_clean_already_stays_byte_by_byte(encode, telling, kind):
    plain = encode(kind=kind)
    assert clean_photo(plain).data == plain
    once = clean_photo(telling(kind)).data
    assert clean_photo(once).data == once


def test_progressive_and_grey_jpegs_are_clean_too(encode, draw):
    for plain in (
        encode(draw(), "JPEG", progressive=True),
        encode(draw().convert("L"), "JPEG", restart_marker_rows=1),
    ):
        assert clean_photo(plain).data == plain


def archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("evil.class", b"payload" * 20)
    return buffer.getvalue()


POLYGLOTS = {
    "an archive": archive(),
    "a PDF": b"%PDF-1.7\n1 0 obj",
    "a PHP script": b"<?php system($_GET['c']); ?>",
    "a script": b"*/<ScRiPt>alert(1)</script>",
    "HTML": b"<HTML><body>",
    "SVG": b"<svg onload=alert(1)>",
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
@pytest.mark.parametrize("what", POLYGLOTS)
def test_a_photo_that_is_something_else_as_well_is_refused(encode, kind, what):
    with pytest.raises(FeedbackRefusedError, match=f"is {what} as well"):
        clean_photo(encode(kind=kind) + POLYGLOTS[what])


def test_a_script_in_a_comment_is_refused(encode):
    with pytest.raises(FeedbackRefusedError, match="a script as well"):
        clean_photo(encode(comment=b"<script>alert(1)</script>"))


def test_what_a_camera_appended_is_dropped(encode):
    """Motion photos carry a video after the photo: a good photo all the same."""
    plain = encode()
    clean = clean_photo(plain + b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 8)
    assert b"ftypmp42" not in clean.data
    assert clean.data == plain


def png_header(width, height):
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", body), (b"IDAT", zlib.compress(b"\0" * 10_000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks
    )


def test_thirty_thousand_pixels_square_are_refused_undecoded():
    with pytest.raises(
        FeedbackRefusedError, match="30000 x 30000 pixels, more than the 64,000,000"
    ):
        clean_photo(png_header(30_000, 30_000))


def test_too_many_bytes_are_refused_unread(encode):
    photo = encode()
    with pytest.raises(FeedbackRefusedError, match=f"{len(photo):,} bytes, more than"):
        clean_photo(photo, max_bytes=len(photo) - 1)


@pytest.mark.parametrize(
    "data",
    [b"", b"<html></html>", b"GIF89a", b"\xff\xd8\xff\xe0", archive(), b"%PDF-1.7", b"\0" * 5000],
    ids=["empty", "html", "gif", "jpeg", "zip", "pdf", "zeros"],
)
def test_what_is_not_a_photo_is_refused(data):
    with pytest.raises(FeedbackRefusedError, match="photo: "):
        clean_photo(data)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(cut=st.integers(0, 3000), at=st.integers(0, 3000), put=st.binary(max_size=12))
def test_a_damaged_photo_is_cleaned_or_refused(telling, cut, at, put):
    sent = telling()
    damaged = sent[:at] + put + sent[at + len(put) : len(sent) - cut // 4]
    try:
        clean = clean_photo(damaged)
    except FeedbackRefusedError:
        return
    assert decode(clean.data).shape == (clean.height, clean.width, 3)
    assert b"SN-12345" not in clean.data


def test_no_refused_photo_leaves_a_row_or_a_file(store, submit, tmp_path):
    for data in (b"<html>", png_header(30_000, 30_000)):
        with pytest.raises(FeedbackRefusedError):
            store.add(submit(), data)
    assert store.summary().submissions == store.summary().photos == 0
    assert [path for path in tmp_path.rglob("*") if path.suffix in (".jpg", ".png")] == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "A" * 64, "a" * 63, ""])
def test_no_name_leads_out_of_the_photo_store(tmp_path, name):
    with pytest.raises(FeedbackError, match="is not a photo's id"):
        PhotoStore(str(tmp_path)).get(name, ".jpg")


def test_photos_lie_on_any_file_system(encode):
    files, clean = PhotoStore("memory://feedback-photos"), clean_photo(encode())
    files.put(clean)
    files.put(clean)
    assert files.get(clean.photo_id, clean.suffix) == clean.data
    assert files.address(clean.photo_id, clean.suffix).startswith("memory://")
    assert [found for found, _, _ in files] == [clean.photo_id]
    files.remove(clean.photo_id, clean.suffix)
    assert not files.holds(clean.photo_id, clean.suffix)
    with pytest.raises(FeedbackError, match="is missing"):
        files.get(clean.photo_id, clean.suffix)
