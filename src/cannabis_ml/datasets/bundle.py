"""Bundles in the catalog."""

from __future__ import annotations

from pathlib import Path

from kedro_datasets._typing import JSONPreview

from cannabis_ml.datasets.local import LocalDataset
from cannabis_ml.inference.bundle import Bundle, BundleContents, write_bundle
from cannabis_ml.inference.manifest import MANIFEST

__all__ = ["Bundle", "BundleContents", "BundleDataset"]


class BundleDataset(LocalDataset[BundleContents, Bundle]):
    """Saves `BundleContents` as a folder and a `.zip` beside it; loads a `Bundle` from the folder.

    Args:
        filepath: Local path of the folder.
        version: Kedro's version, where the entry is versioned.
        metadata: For plugins; Kedro ignores it.
    """

    def load(self) -> Bundle:
        return Bundle.open(Path(self._get_load_path()))

    def save(self, data: BundleContents) -> None:
        write_bundle(Path(self._get_save_path()), data)

    def preview(self) -> JSONPreview:
        """`bundle.json`, for kedro-viz."""
        path = Path(self._get_load_path()) / MANIFEST
        return JSONPreview(path.read_text(encoding="utf-8"))

    def _is_there(self, path: Path) -> bool:
        return (path / MANIFEST).is_file()
