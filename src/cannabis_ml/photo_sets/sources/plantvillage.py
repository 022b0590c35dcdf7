"""Source of kind `plantvillage`: folders `Species___Condition`."""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field

from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources.base import NamedPattern, Text
from cannabis_ml.photo_sets.sources.class_table import class_heads, class_table, folded
from cannabis_ml.photo_sets.sources.folder import ClassFolders, labels_by_pattern
from cannabis_ml.text import counted, normal

_TABLE = "plantvillage"
_FOLDER = r"(?P<species>.+?)___(?P<condition>.+)"

_UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}___"
CAPTURE = (
    r"(?P<folder>[^/]+)/"
    rf"(?:{_UUID}(?P<series>[^/]*?)|(?P<bare>[A-Za-z.]+_[A-Za-z.]+))"
    r" (?P<number>\d+)(?:[ ._][^/]*)?\.\w+$"
)
"""Class folder, series and number of a capture: `…___FREC_Scab 3335.JPG`, `RS_Rust 1584.JPG`."""


class PlantVillageSource(ClassFolders):
    """PlantVillage (Hughes & Salathé 2015, arXiv 1511.08060), or other folders laid out like it.

    The class folders of PlantVillage's editions get the names that plantvillage.csv gives them;
    any other `Species___Condition` folder keeps its own.

    **What shows the same leaf.** Each leaf was photographed several times in a row. File names
    carry the series (who photographed what) and the camera's number, not the leaf. Photos of one
    leaf thus have neighbouring numbers, and where one leaf ends and the next begins cannot be seen
    from the name. By default, runs of 50 numbers of one series and class folder are a group. A
    leaf mostly takes 3 to 5 numbers, up to a dozen in some series, so of twenty leaves about one
    or two lie across the end of a run and may show up in two splits; a longer `group_run` cuts
    fewer and leaves fewer groups to divide. Copies (`… copy 2.jpg`), masked and grey versions
    share the number of their original, hence its group. Editions that renumbered their files, as
    `Healthy (100).jpg` of some grapes and the backgrounds, name no leaf: each photo is on its own.

    The authors publish which photos show one leaf: give their `leaf-map.json` as `leaf_map`, and
    the photos in it are grouped exactly.
    """

    kind: Literal["plantvillage"]
    group_pattern: NamedPattern | None = Field(
        default=CAPTURE, description="Which captures belong together, as for other kinds of source"
    )
    group_run: int = Field(
        default=50, ge=1, description="Consecutive numbers of one series that make one group"
    )
    leaf_map: Text | None = Field(
        default=None,
        description="leaf-map.json of github.com/spMohanty/PlantVillage-Dataset: which photos show"
        " one leaf; comes before group_pattern",
    )

    @property
    def heads(self) -> list[str]:
        return class_heads(_TABLE)

    def explain(self, folder: str) -> dict[str, str | None] | None:
        return class_table(_TABLE).get(folded(folder)) or labels_by_pattern(_FOLDER, folder)

    def unexplained(self, counts: dict[str, int], root: Path) -> str:
        of_each = [f"'{name}' ({counted(n, 'photo')})" for name, n in counts.items()]
        return (
            f"{counted(len(counts), 'class folder')} in {root} "
            f"{'is' if len(counts) == 1 else 'are'} not called Species___Condition: "
            f"{', '.join(of_each)}.\n"
            "Map them under the source's label_map, as NAME: {species: …, condition: …}"
            " (null: unknown), or use a source of kind 'folder'."
        )

    def groups(self, names: list[str]) -> list[str | None]:
        by_name = self.groups_by_name(names)
        if not self.leaf_map:
            return by_name
        leaves = [self._leaf(name) for name in names]
        if names and not any(leaves):
            raise SourceError(
                f"{self.leaf_map} lists none of the {counted(len(names), 'photo')}, as"
                f" '{names[0]}'.\nIs it PlantVillage's leaf-map.json? Leave leaf_map out otherwise."
            )
        return [leaf or group for leaf, group in zip(leaves, by_name, strict=True)]

    def _leaf(self, name: str) -> str | None:
        """The leaf that a photo shows, as `class:::leaf`; None if the map does not give it."""
        stem = re.sub(_UUID, "", normal(PurePosixPath(name).stem)).casefold()
        stem = stem.removesuffix("_final_masked").partition(" copy")[0].strip()
        leaves = self._leaves.get(stem, [])
        folder = folded(PurePosixPath(name).parent.name)
        of_folder = [leaf for leaf in leaves if folded(leaf.partition(":::")[0]) == folder]
        candidates = of_folder or leaves
        return candidates[0] if len(candidates) == 1 else None

    @cached_property
    def _leaves(self) -> dict[str, list[str]]:
        path = Path(str(self.leaf_map)).expanduser()
        try:
            leaves = json.loads(path.read_text(encoding="utf-8"))
            return {normal(str(k)).casefold(): [str(leaf) for leaf in v] for k, v in leaves.items()}
        except OSError as error:
            raise SourceError(
                f"The leaf_map {path} cannot be opened ({error.strerror}).\nCheck the path."
            ) from error
        except (ValueError, AttributeError, TypeError) as error:
            raise SourceError(
                f"{path} is not a leaf map: it is not JSON of the form"
                ' {"series number": ["class:::leaf"]}.\n'
                "Download leaf-map.json from github.com/spMohanty/PlantVillage-Dataset."
            ) from error
