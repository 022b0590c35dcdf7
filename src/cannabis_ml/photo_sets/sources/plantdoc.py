"""Source of kind `plantdoc`: folders `Crop condition leaf`, in no regular order of words."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cannabis_ml.photo_sets.sources.class_table import (
    class_folders,
    class_heads,
    class_table,
    folded,
)
from cannabis_ml.photo_sets.sources.folder import ClassFolders
from cannabis_ml.text import counted, did_you_mean

_TABLE = "plantdoc"


class PlantDocSource(ClassFolders):
    """PlantDoc (Singh et al. 2020, doi 10.1145/3371158.3371196).

    No rule separates crop from condition in its names, so plantdoc.csv lists them, spelt as
    for PlantVillage where it is the same thing. A name that speaks of the leaf alone
    (`Apple leaf`) means a healthy one, as in the paper. The photos come from all over the web:
    their names do not show which belong together.
    """

    kind: Literal["plantdoc"]

    @property
    def heads(self) -> list[str]:
        return class_heads(_TABLE)

    def explain(self, folder: str) -> dict[str, str | None] | None:
        return class_table(_TABLE).get(folded(folder))

    def unexplained(self, counts: dict[str, int], root: Path) -> str:
        of_each = [
            f"'{name}' ({counted(n, 'photo')}{did_you_mean(name, class_folders(_TABLE))})"
            for name, n in counts.items()
        ]
        return (
            f"{counted(len(counts), 'class folder')} in {root} "
            f"{'is' if len(counts) == 1 else 'are'} none of PlantDoc's: {', '.join(of_each)}.\n"
            "Map them under the source's label_map, as NAME: {species: …, condition: …}"
            " (null: unknown)."
        )
