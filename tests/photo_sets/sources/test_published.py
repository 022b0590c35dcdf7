"""Photos that `cannabis_ml publish photos` wrote, as a source."""

import importlib.util
import uuid
from pathlib import Path

import pytest

from cannabis_ml._io.hub import Version
from cannabis_ml.publishing.hub_commit import Target
from cannabis_ml.publishing.photos import PhotosToPublish, publish_photos

_spec = importlib.util.spec_from_file_location(
    "photos_to_publish", Path(__file__).parents[2] / "publishing/conftest.py"
)
made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(made)


@pytest.fixture
def published(hub_here):
    """Publish photos; gives repository and commit: `published("1.0.0", count=24)`."""
    repo = f"me/source-{uuid.uuid4().hex[:8]}"

    def run(version, count=24):
        target = Target(repo, "dataset", Version(*map(int, version.split("."))), public=True)
        ready = PhotosToPublish(made.ingested(count, rights_holder="Ann"), made.FREE, target)
        return repo, publish_photos(ready).commit

    return run


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
def test_splits_groups_and_labels_come_back(read, published, tmp_path, streaming):
    repo, commit = published("1.0.0")
    photos = read(repo=repo, revision=commit, path=str(tmp_path), streaming=streaming)
    assert "error" not in photos
    given = {made.picture(n): row for n, row in enumerate(made.rows(24))}
    groups = set()
    for at, path in enumerate(photos["path"]):
        row = given.pop(Path(path).read_bytes())
        assert photos["given_split"][at] == row["split"]
        assert photos["kind"][at] == row["kind"]
        assert photos["looks.dry"][at] == (
            None if row["looks.dry"] is None else str(row["looks.dry"])
        )
        groups.add((row["group"], photos["group"][at]))
    assert not given
    assert len(groups) == len({name for name, _ in groups}) == len({name for _, name in groups})
    assert set(photos["licence"]) == {"cc-by-4.0"}
    assert set(photos["rights_holder"]) == {"Ann"}


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
def test_an_altered_label_or_photo_is_refused(read, published, hub_here, tmp_path, streaming):
    repo, commit = published("1.0.0")
    files = hub_here.repos["dataset", repo].commits[commit]
    name = next(n for n in files if n.startswith("data/test"))
    whole = files[name]
    at = whole.index(b"\xff\xd8\xff") + 700  # within a photo
    files[name] = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    photos = read(repo=repo, revision=commit, path=str(tmp_path), streaming=streaming)
    assert "The split 'test'" in photos["error"]
    assert "photos or labels were altered" in photos["error"]
    assert not list(tmp_path.glob("*/*"))


@pytest.mark.slow
def test_rows_that_are_missing_are_noticed(read, published, hub_here, tmp_path):
    repo, commit = published("1.0.0")
    _, fewer = published("1.1.0", count=12)
    files = hub_here.repos["dataset", repo].commits
    old, new = (next(n for n in files[c] if n.startswith("data/train")) for c in (commit, fewer))
    files[commit][old] = files[fewer][new]
    photos = read(repo=repo, revision=commit, path=str(tmp_path))
    assert "6 photos came, and 12 were published" in photos["error"]


@pytest.mark.slow
def test_a_truncated_file_is_refused_and_read_later(read, published, hub_here, tmp_path):
    repo, commit = published("1.0.0")
    files = hub_here.repos["dataset", repo].commits[commit]
    name = next(n for n in files if n.startswith("data/train"))
    whole = files[name]
    files[name] = whole[:-200]
    photos = read(repo=repo, revision=commit, path=str(tmp_path))
    assert f"{repo} cannot be read" in photos["error"]
    assert not list(tmp_path.glob("*/*"))
