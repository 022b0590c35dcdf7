"""The champion in a bucket: two machines, a killed promotion, two promotions at once."""

from datetime import UTC, datetime

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cannabis_ml._io.remote import RemotePath
from cannabis_ml.errors import PromotionError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.promotion.records import Standing
from cannabis_ml.promotion.remote_store import champion_store

ADDRESS = "memory://models/champion"


def why(reason="better"):
    return Standing(by="Ada", reason=reason, at=datetime(2026, 11, 27, tzinfo=UTC))


@pytest.fixture(scope="module")
def bundles(onnx_contents, tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    return [write_bundle(root / name / "bundle", onnx_contents(name=name)) for name in "abc"]


@pytest.fixture
def machine(tmp_path):
    """The store as one machine sees it: `machine("one")`."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    return lambda name: champion_store(ADDRESS, cache=str(tmp_path / name))


def id_of(bundle):
    return bundle.manifest.content_sha256


def served():
    return RemotePath.at(f"{ADDRESS}/bundle.zip")


def test_another_machine_sees_the_champion_and_goes_back(machine, bundles, tmp_path):
    assert machine("one").current() is None
    weights = tmp_path / "tier1.safetensors"
    weights.write_bytes(b"weights")
    machine("one").promote(bundles[0], why("first"), {"tier1": weights})
    machine("one").promote(bundles[1], why("second"))
    other = machine("other")
    assert [record.reason for record in other.records()] == ["first", "second"]
    assert id_of(other.open()) == id_of(bundles[1])
    assert other.checkpoint("tier1", id_of(bundles[0])).read_bytes() == b"weights"
    assert other.checkpoint("tier1", id_of(bundles[1])) is None
    other.roll_back(why("worse"))
    one = machine("one")
    assert id_of(one.open()) == id_of(bundles[0])
    served().download(tmp_path / "served.zip")
    assert id_of(Bundle.open(tmp_path / "served.zip")) == id_of(bundles[0])
    assert one.address == f"{ADDRESS}/bundle.zip".replace("memory://", "memory:///")


@pytest.mark.parametrize("uploads", range(3))
def test_a_promotion_killed_between_uploads(machine, bundles, tmp_path, monkeypatch, uploads):
    """Either it has not happened, or it has and the file for clients follows."""
    machine("one").promote(bundles[0], why())
    left, real = uploads, RemotePath.upload

    def die(self, local, last=""):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        real(self, local, last)

    with monkeypatch.context() as patch:
        patch.setattr(RemotePath, "upload", die)
        with pytest.raises(KeyboardInterrupt):
            machine("one").promote(bundles[1], why())
    happened = uploads == 2
    for name in ("one", "other"):
        assert id_of(machine(name).open()) == id_of(bundles[happened])
    machine("other").promote(bundles[happened], why())
    served().download(tmp_path / "served.zip")
    assert id_of(Bundle.open(tmp_path / "served.zip")) == id_of(bundles[happened])


def test_of_two_machines_that_promote_at_once_one_is_refused(machine, bundles, monkeypatch):
    one, other = machine("one"), machine("other")
    one.promote(bundles[0], why())
    real = type(one)._write

    def slow(self, path, record):
        monkeypatch.undo()
        other.promote(bundles[2], why("faster"))
        real(self, path, record)

    monkeypatch.setattr(type(one), "_write", slow)
    with pytest.raises(PromotionError, match="Another machine changed the champion"):
        one.promote(bundles[1], why("slower"))
    assert [record.reason for record in one.records()] == ["better", "faster"]
    assert id_of(one.open()) == id_of(bundles[2])
