"""Versions, and where the hub's client is missing."""

import sys

import pytest

from cannabis_ml._io.hub import Tagged, Version, highest, is_commit, version_of
from cannabis_ml.errors import HubError
from cannabis_ml.inference import Bundle


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1.2.0", (1, 2, 0)),
        ("v1.2.0", (1, 2, 0)),
        ("01.2.0", None),
        ("1.2", None),
        ("1.2.0-rc1", None),
        ("main", None),
    ],
)
def test_a_version_has_three_numbers(name, version):
    assert version_of(name) == version


def test_versions_compare_as_numbers():
    tags = {"1.9.0": "a", "v1.10.0": "b", "1.10.0-rc1": "c", "nightly": "d"}
    assert highest(tags) == Tagged(Version(1, 10, 0), "b")
    assert highest({"nightly": "d"}) is None


def test_a_commit_has_forty_hex_digits():
    assert is_commit("0123456789abcdef" * 2 + "01234567")
    assert not is_commit("0123456")


@pytest.mark.parametrize("version", ["1.0.0", "latest", "0" * 40])
def test_the_client_of_the_hub_is_named_where_it_is_missing(monkeypatch, version):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match="pip install huggingface_hub"):
        Bundle.from_hub("me/leaves", version)
