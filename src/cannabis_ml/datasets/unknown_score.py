"""Unknown scores in the catalog."""

from __future__ import annotations

from cannabis_ml._io.files import written_aside
from cannabis_ml.datasets.path import PathDataset
from cannabis_ml.inference.unknown import UnknownScore


class UnknownScoreDataset(PathDataset[UnknownScore, UnknownScore]):
    """An `UnknownScore` in one `.npz` file, as bundles hold it.

    Args:
        filepath: The file; the other arguments are those of `PathDataset`.
    """

    def load(self) -> UnknownScore:
        return UnknownScore.from_bytes(self.local_path().read_bytes())

    def save(self, data: UnknownScore) -> None:
        with self.saving() as path, written_aside(path) as aside:
            aside.write_bytes(data.to_bytes())
