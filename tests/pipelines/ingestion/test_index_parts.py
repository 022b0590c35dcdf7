"""An interrupted indexing goes on where it was, for the same photos, thresholds and code."""

import pandas as pd
import pytest

from cannabis_ml.errors import SourceError
from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.pipelines.ingestion.index_parts import PART_PHOTOS, IndexParts
from cannabis_ml.pipelines.ingestion.nodes import index_photos
from cannabis_ml.pipelines.ingestion.params import IndexParams
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy(heads=[{"name": "kind", "classes": ["a", "b"]}])

BROKEN = "nowhere://bucket/a.jpg"
"""An address of no file system: whoever reads it ends the run."""


def index(paths, workspace, **thresholds):
    columns = {"source": "s", "group": None, "given_split": None, "kind": "a"}
    listed = pd.DataFrame({"path": paths, **columns})
    thresholds = DefectParams(**thresholds)
    return index_photos(listed, TAXONOMY, IndexParams(), thresholds, workspace=workspace)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, write_photo):
    """Paths, and the workspace in which their indexing broke off at the last of them."""
    folder, workspace = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("parts")
    some = [str(write_photo(folder / f"{i}.jpg", i)) for i in range(4)]
    some.append(str(folder / "missing.jpg"))
    paths = [some[i % 5] for i in range(PART_PHOTOS + 2)] + [BROKEN]
    with pytest.raises(SourceError, match="nowhere"):
        index(paths, workspace)
    return paths, workspace


def test_what_was_done_is_kept_as_it_was_found(interrupted):
    paths, workspace = interrupted
    (part,) = IndexParts.of(workspace, paths, DefectParams()).read()
    whole = index(paths[:-1], None)
    names = list(part)
    pd.testing.assert_frame_equal(part, whole[names].iloc[:PART_PHOTOS].reset_index(drop=True))


def test_the_next_run_does_not_look_at_it_again(interrupted, tmp_path):
    paths, workspace = interrupted
    paths = paths[:-1]
    (part,) = IndexParts.of(workspace, [*paths, BROKEN], DefectParams()).read()
    marked = part.assign(brightness=-1.0)
    IndexParts.of(tmp_path, paths, DefectParams()).keep(0, marked)
    found = index(paths, tmp_path)
    assert (found["brightness"].iloc[:PART_PHOTOS] == -1).all()
    pd.testing.assert_frame_equal(found.iloc[PART_PHOTOS:], index(paths, None).iloc[PART_PHOTOS:])
    assert list(tmp_path.iterdir()) == []  # files may change before the next run


@pytest.mark.parametrize("other", ["paths", "thresholds"])
def test_other_photos_or_thresholds_begin_anew(tmp_path, write_photo, other):
    path = str(write_photo(tmp_path / "a.jpg"))
    workspace = tmp_path / "parts"
    workspace.mkdir()
    kept = IndexParts.of(workspace, [path], DefectParams())
    kept.keep(0, index([path], None)[list(_columns())].assign(brightness=-1.0))
    paths = [path, path] if other == "paths" else [path]
    thresholds = {"dark_below": 1.0} if other == "thresholds" else {}
    found = index(paths, workspace, **thresholds)
    assert (found["brightness"] >= 0).all()


def _columns():
    from cannabis_ml.pipelines.ingestion.one_photo import INDEX_TYPES

    return INDEX_TYPES
