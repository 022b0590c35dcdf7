"""Closed-form heads in the catalog."""

from __future__ import annotations

from cannabis_ml.datasets.path import PathDataset
from cannabis_ml.feedback.closed_form import ClosedFormHead
from cannabis_ml.feedback.closed_form_file import read_heads, write_heads


class ClosedFormDataset(PathDataset[dict[str, ClosedFormHead], dict[str, ClosedFormHead]]):
    """Closed-form heads of one tier by name, with the embeddings they are made from.

    Args:
        filepath: The `.safetensors` file; the other arguments are those of `PathDataset`.
    """

    def load(self) -> dict[str, ClosedFormHead]:
        return read_heads(self.local_path())

    def save(self, data: dict[str, ClosedFormHead]) -> None:
        with self.saving() as path:
            write_heads(path, data)
