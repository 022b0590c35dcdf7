"""Bundles in the catalog."""

from __future__ import annotations

from pathlib import Path

from kedro_datasets._typing import JSONPreview

from cannabis_ml.datasets.path import PathDataset
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.bundle_writer import BundleContents, write_bundle
from cannabis_ml.inference.manifest import MANIFEST

__all__ = ["Bundle", "BundleContents", "BundleDataset"]


class BundleDataset(PathDataset[BundleContents, Bundle]):
    """Saves `BundleContents` as a folder and a `.zip` beside it; loads a `Bundle` from the folder.

    Args:
        filepath: The folder; the other arguments are those of `PathDataset`.
    """

    MARKER = MANIFEST

    def local_path(self) -> Path:
        """The folder; of another file system, a copy of it, with its `.zip` beside it."""
        path = super().local_path()
        if self.remote is not None:
            packed = path.with_name(f"{path.name}.zip")
            if not packed.is_file() or self._version is None:
                there = self._at(self._get_load_path())
                (there.parent / packed.name).download(packed)
        return path

    def load(self) -> Bundle:
        return Bundle.open(self.local_path())

    def save(self, data: BundleContents) -> None:
        with self.saving() as path:
            write_bundle(path, data)

    def preview(self) -> JSONPreview:
        """`bundle.json`, for kedro-viz."""
        path = self.local_path() / MANIFEST
        return JSONPreview(path.read_text(encoding="utf-8"))
