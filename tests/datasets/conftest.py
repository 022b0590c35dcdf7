"""What tests of photo sources share."""

from pathlib import Path

import pytest
from kedro.io import DatasetError

from cannabis_ml.datasets.source_photos import SourcePhotosDataset
from cannabis_ml.errors import SourceError


@pytest.fixture
def load():
    """The table of one source: `load(kind="folder", path=…)`."""
    return lambda **source: SourcePhotosDataset(source=source).load()


@pytest.fixture
def complaint():
    """The message that a person reads: our error, found among the causes of Kedro's."""

    def complaint(sources=None, **source):
        with pytest.raises(DatasetError) as caught:
            SourcePhotosDataset(source=source or None, sources=sources).load()
        assert isinstance(caught.value.__cause__, SourceError)
        return str(caught.value.__cause__)

    return complaint


@pytest.fixture
def below():
    """The paths of photos below a root: `below(photos, root)`."""
    return lambda photos, root: [Path(p).relative_to(root).as_posix() for p in photos["path"]]


@pytest.fixture
def tree(tmp_path):
    """Make empty files: `tree("a/1.jpg", "b/2.png")`. Sources look at names alone."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make
