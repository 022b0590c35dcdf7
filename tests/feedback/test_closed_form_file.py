import numpy as np
import pytest
from safetensors.numpy import save_file

from cannabis_ml.datasets.closed_form import ClosedFormDataset
from cannabis_ml.errors import CheckpointError
from cannabis_ml.feedback.closed_form import ClosedFormHead, EmbeddedPhotos, RandomProjection
from cannabis_ml.feedback.closed_form_file import erase_photos, read_heads, write_heads

IDS = tuple(f"{i:064x}" for i in range(20))


def head(projection=None, ids=IDS):
    random = np.random.default_rng(len(ids))
    embeddings = random.normal(size=(len(ids), 6)).astype(np.float32)
    labels = tuple("leaf" if i % 3 else "bud" for i in range(len(ids)))
    return ClosedFormHead.of(EmbeddedPhotos(ids, embeddings, labels), projection)


@pytest.fixture
def heads():
    return {"kind": head(), "look/other": head(RandomProjection(6, 9, seed=2))}


def test_what_is_written_is_read(heads, tmp_path):
    entry = ClosedFormDataset(filepath=tmp_path / "heads.safetensors")
    entry.save(heads)
    found = entry.load()
    assert list(found) == list(heads)
    for name, one in heads.items():
        other = found[name]
        assert other.photos.photo_ids == one.photos.photo_ids
        assert other.projection == one.projection
        assert dict(other.sums.counts) == dict(one.sums.counts)
        np.testing.assert_array_equal(other.sums.solve(0.1).weights, one.sums.solve(0.1).weights)


def test_no_trace_of_an_erased_photo_is_left_in_any_version(heads, tmp_path):
    paths = [tmp_path / version / "heads.safetensors" for version in ("1", "2/deeper")]
    for path in paths:
        write_heads(path, heads)
    untouched = tmp_path / "3.safetensors"
    write_heads(untouched, {"kind": head(ids=IDS[10:])})
    before = untouched.read_bytes()
    gone = IDS[3]
    row = heads["kind"].photos.embeddings[3].tobytes()
    assert gone.encode() in paths[0].read_bytes()
    assert row in paths[0].read_bytes()

    assert erase_photos(tmp_path, {gone, "never there"}.__contains__) == 2
    for path in paths:
        assert gone.encode() not in path.read_bytes()
        assert row not in path.read_bytes()
        left = read_heads(path)
        for name, one in heads.items():
            kept = one.photos.at(np.array([i for i in range(20) if i != 3]))
            expected = ClosedFormHead.of(kept, one.projection).sums.solve(0.1)
            np.testing.assert_allclose(
                left[name].sums.solve(0.1).weights, expected.weights, rtol=1e-8, atol=1e-10
            )
    assert untouched.read_bytes() == before
    assert erase_photos(tmp_path, {gone}.__contains__) == 0


def test_other_files_are_left_alone(tmp_path):
    save_file({"a": np.zeros(3)}, tmp_path / "weights.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    assert erase_photos(tmp_path, IDS.__contains__) == 0
    assert (tmp_path / "broken.safetensors").read_bytes() == b"x"
    with pytest.raises(CheckpointError, match="add_class"):
        read_heads(tmp_path / "weights.safetensors")
