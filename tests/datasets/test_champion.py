import pytest
from kedro.io import DatasetError

from cannabis_ml.datasets.champion import Candidate, ChampionDataset, ChampionStartDataset
from cannabis_ml.datasets.photo_folder import PhotoFolderDataset
from cannabis_ml.errors import PromotionError
from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.inference.cards import NetworkCard
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.promotion import registry
from cannabis_ml.promotion.records import Standing

STANDING = {"by": "Ada", "reason": "x", "at": "2026-11-27T12:00:00+00:00"}


@pytest.fixture
def candidate(onnx_contents, tmp_path):
    """A bundle of a name that asks to be champion: `candidate("a", promote=False)`."""

    def candidate(name, promote=True, tracked=False, **other):
        bundle = write_bundle(tmp_path / name / "bundle", onnx_contents(name=name))
        standing = Standing.model_validate(STANDING)
        return Candidate(bundle, promote, standing, "model", tracked, **other)

    return candidate


@pytest.fixture
def entry(tmp_path):
    return ChampionDataset(filepath=tmp_path / "champion")


def test_the_entry_loads_what_was_promoted(entry, candidate):
    assert entry.load() is None
    assert not entry.exists()
    entry.save(candidate("a"))
    entry.save(candidate("b", promote=False))
    assert entry.load().manifest.name == "a"
    assert entry.exists()


def test_a_champion_that_cannot_be_opened_can_be_replaced(entry, candidate):
    entry.save(candidate("a"))
    (kept,) = (entry.store.root / "bundles").glob("*.zip")
    kept.write_bytes(kept.read_bytes()[:-100])
    with pytest.raises(DatasetError, match="kedro promote") as caught:
        entry.load()
    assert isinstance(caught.value.__cause__, PromotionError)
    entry.save(candidate("b"))
    assert entry.load().manifest.name == "b"


def test_the_registry_follows_where_the_run_is_tracked(entry, candidate, monkeypatch):
    told = []
    for alias in ("champion", "challenger"):
        monkeypatch.setattr(
            registry,
            f"register_{alias}",
            lambda model, bundle, alias=alias: told.append((alias, model, bundle.manifest.name)),
        )
    entry.save(candidate("a", tracked=True))
    entry.save(candidate("b", promote=False, tracked=True))
    entry.save(candidate("c"))
    assert told == [("champion", "model", "a"), ("challenger", "model", "b")]


def test_training_starts_from_the_champion_or_from_one_that_was(
    entry, candidate, taxonomy, tmp_path
):
    def start(**options):
        return ChampionStartDataset(filepath=tmp_path / "champion", tier="tier1", **options)

    assert start().load() is None
    checkpoints = [
        Checkpoint({}, NetworkCard(taxonomy=taxonomy, image_size=32, training_key=key))
        for key in "ab"
    ]
    made = [
        candidate(name, checkpoints={"tier1": checkpoint})
        for name, checkpoint in zip("ab", checkpoints, strict=True)
    ]
    for one in made:
        entry.save(one)
    first = made[0].bundle.manifest.content_sha256
    assert start().load().card.training_key == "b"
    assert start(bundle=first).load().card.training_key == "a"
    with pytest.raises(DatasetError, match="never was champion"):
        start(bundle="f" * 64).load()


def test_photos_of_a_folder_that_need_not_be_there(tmp_path, write_photo):
    entry = PhotoFolderDataset(filepath=tmp_path / "unlabelled")
    assert entry.load() == []
    paths = [write_photo(tmp_path / "unlabelled" / name) for name in ("b/2.jpg", "a.png")]
    (tmp_path / "unlabelled" / "notes.txt").write_text("x")
    (tmp_path / "unlabelled" / ".hidden.jpg").write_bytes(b"x")
    assert entry.load() == sorted(paths)
    with pytest.raises(DatasetError, match="read-only"):
        entry.save([])
