"""Bundles in the catalog."""

from __future__ import annotations

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

    def load(self) -> Bundle:
        return Bundle.open(self.local_path())

    def save(self, data: BundleContents) -> None:
        with self.saving() as path:
            write_bundle(path, data)

    def preview(self) -> JSONPreview:
        """`bundle.json`, for kedro-viz."""
        path = self.local_path() / MANIFEST
        return JSONPreview(path.read_text(encoding="utf-8"))
