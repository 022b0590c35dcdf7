"""A file's id is the hash of its bytes."""

from cannabis_ml.photos.fingerprint import photo_id


def test_photo_id_is_sha256():
    # FIPS 180-2, appendix B.1
    assert photo_id(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
