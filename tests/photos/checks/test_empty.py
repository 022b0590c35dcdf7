"""A file without a byte."""


def test_no_bytes(told):
    assert set(told(b"")) == {"empty"}


def test_one_byte_is_something_else(told):
    assert set(told(b"\0")) == {"not_an_image"}
