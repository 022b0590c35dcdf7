"""Source of kind `table`: a row per photo."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pandas as pd
from pydantic import Field

from cannabis_ml._io.photo_files import is_url
from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources.base import (
    SOURCE_COLUMNS,
    HeadMap,
    SplitSource,
    Text,
    as_text,
    label_column,
    some,
    source_frame,
    split_column,
)
from cannabis_ml.photo_sets.sources.listed_photos import as_url, find_photos
from cannabis_ml.photo_sets.sources.split_names import (
    warn_of_split_columns,
    warn_of_unlisted_splits,
)
from cannabis_ml.photo_sets.sources.table_files import read_table
from cannabis_ml.text import Name, counted

logger = logging.getLogger(__name__)


class TableSource(SplitSource):
    """A table with a row per photo and a column per head.

    A photo may have several rows, such as one per head: their labels are merged.

    A multilabel head is either one column of attributes separated by `;` (`-` or `none`: none of
    them), or one column `head.attribute` each with 1, 0 or nothing. An empty cell means unknown.
    """

    kind: Literal["table"]
    photos_root: Text | None = Field(
        default=None, description="What paths start from; null: the table's own folder"
    )
    read_urls: bool = Field(
        default=False,
        description="Whether addresses in path_column, such as s3://bucket/a.jpg, are read where"
        " they are, by every machine of a cluster; false: their photos are looked for below"
        " photos_root",
    )
    path_column: Name = Field(default="path", description="Column with each photo's path")
    group_column: Name | None = Field(
        default="group",
        description="Photos that must share a split; the default need not be there, null: none."
        " Where its cell is empty, group_pattern speaks",
    )
    split_column: Name | None = Field(
        default="split",
        description="Splits that are given; the default need not be there, null: none are given",
    )
    label_map: HeadMap = Field(
        default_factory=dict, description="Head -> label as written -> class, or null (unknown)"
    )

    def read(self) -> pd.DataFrame:
        path = self.found_path()
        table = read_table(path)
        self._check_columns(table, path)
        root = path.parent / Path(self.photos_root or "").expanduser()
        listed = [as_text(value) for value in table[self.path_column]]
        nameless = sum(not name for name in listed)
        if nameless:
            logger.warning("%s of %s have no path: left out", counted(nameless, "row"), path)
        keep = [i for i, name in enumerate(listed) if name]
        named = [str(listed[i]) for i in keep]
        urls = [is_url(name) for name in named] if self.read_urls else [False] * len(named)
        files = [name for name, there in zip(named, urls, strict=True) if not there]
        found = iter(find_photos(files, root, path) if files or not named else [])
        photos = [
            as_url(name) if there else next(found) for name, there in zip(named, urls, strict=True)
        ]
        paths = [photo.path for photo in photos]
        rows = table.iloc[keep]
        group = self.group_column if self.group_column in table else None
        split = self.split_column if self.split_column in table else None
        if self.split_column and not split:
            self._warn_of_splits(rows, [photo.name for photo in photos], path)
        columns: dict[str, list[Any]] = {
            "path": paths,
            "group": merged_groups(
                [as_text(v) for v in rows[group]] if group else None,
                self.groups_by_name([photo.name for photo in photos]),
            ),
            "given_split": split_column(rows[split], self.split_map, path)
            if split
            else [None] * len(keep),
        }
        taken = (self.path_column, group, split, "split", *SOURCE_COLUMNS)
        for head in [*(c for c in table.columns if c not in taken), *self.defaults]:
            columns[head] = label_column(
                rows[head] if head in table else [None] * len(keep),
                self.label_map.get(head, {}),
                self.defaults.get(head),
                paths,
            )
        return source_frame(columns)

    def _warn_of_splits(self, rows: pd.DataFrame, names: list[str], path: Path) -> None:
        other = [c for c in rows.columns if c not in (self.path_column, *self.label_map)]
        warn_of_split_columns({c: map(as_text, rows[c]) for c in other}, path)
        warn_of_unlisted_splits(
            [PurePosixPath(name).parts[:-1] for name in names],
            path,
            "If they are splits, give each photo's in a column 'split'; if not, set split_column:"
            " null.",
        )

    def exists(self) -> bool:
        return bool(self.path) and Path(str(self.path)).expanduser().is_file()

    def _check_columns(self, table: pd.DataFrame, path: Path) -> None:
        if table.empty:
            raise SourceError(f"{path} has no rows.\nAdd a row per photo.")
        named = {
            "path_column": self.path_column,
            "group_column": self.group_column,
            "split_column": self.split_column,
        }
        missing = [
            f"'{name}' ({key})"
            for key, name in named.items()
            if name and name not in table
            if key == "path_column" or key in self.model_fields_set
        ]
        missing += [f"'{head}' (label_map)" for head in self.label_map if head not in table]
        if missing:
            columns = list(map(str, table.columns))
            hint = (
                "\nIt has a single column: are its cells separated by commas?"
                if len(columns) == 1 and path.suffix.lower() == ".csv"
                else ""
            )
            raise SourceError(
                f"{path} lacks the {'column' if len(missing) == 1 else 'columns'} "
                f"{', '.join(missing)}; it has {some([repr(c) for c in columns])}.{hint}\n"
                "Name its columns under the source in catalog_ingestion.yml."
            )


def merged_groups(given: Sequence[str | None] | None, named: list[str | None]) -> list[str | None]:
    """The group in a column's cell; where that is empty, the one in the photo's name."""
    if given is None:
        return named
    return [mine or theirs for mine, theirs in zip(given, named, strict=True)]
