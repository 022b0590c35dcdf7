"""Source of kind `table`: a row per photo."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field

from cannabis_ml.datasets.sources.base import (
    SOURCE_COLUMNS,
    GroupedSource,
    HeadMap,
    Text,
    as_text,
    count,
    label_column,
    printable,
    some,
    source_frame,
    split_column,
)
from cannabis_ml.errors import SourceError

log = logging.getLogger(__name__)

_SUFFIXES = (".csv", ".jsonl", ".parquet")


class TableSource(GroupedSource):
    """A table with a row per photo and a column per head.

    A multilabel head is either one column of attributes separated by `;` (`-` or `none`: none of
    them), or one column `head.attribute` each with 1, 0 or nothing. An empty cell means unknown.
    """

    kind: Literal["table"]
    photos_root: Text | None = Field(
        default=None, description="What paths start from; null: the table's own folder"
    )
    path_column: str = Field(default="path", description="Column with each photo's path")
    group_column: str | None = Field(
        default=None,
        description="Photos that must share a split; null: 'group' if there is one. Where its cell"
        " is empty, group_pattern speaks",
    )
    split_column: str | None = Field(
        default=None, description="Splits that are given; null: 'split' if there is one"
    )
    label_map: HeadMap = Field(
        default_factory=dict, description="Head -> label as written -> class, or null (unknown)"
    )

    def read(self) -> pd.DataFrame:
        path = self.found_path()
        table = _read_table(path)
        self._check_columns(table, path)
        root = path.parent / Path(self.photos_root or "").expanduser()
        listed = [as_text(value) for value in table[self.path_column]]
        nameless = sum(not name for name in listed)
        if nameless:
            log.warning("%s of %s have no path: left out", count(nameless, "row"), path)
        keep = [i for i, name in enumerate(listed) if name]
        names = [str(listed[i]) for i in keep]
        paths = [printable(root / name) for name in names]
        check_some_exist(paths, path, f"Paths in column '{self.path_column}' start from {root}")
        rows = table.iloc[keep]
        group = self.group_column or ("group" if "group" in table else None)
        split = self.split_column or ("split" if "split" in table else None)
        columns: dict[str, list[Any]] = {
            "path": paths,
            "group": merged_groups(
                [as_text(v) for v in rows[group]] if group else None,
                self.groups_by_name([Path(name).as_posix() for name in names]),
            ),
            "given_split": split_column(rows[split], path) if split else [None] * len(keep),
        }
        taken = (self.path_column, group, split, *SOURCE_COLUMNS)
        for head in [*(c for c in table.columns if c not in taken), *self.defaults]:
            columns[head] = label_column(
                rows[head] if head in table else [None] * len(keep),
                self.label_map.get(head, {}),
                self.defaults.get(head),
                paths,
            )
        return source_frame(columns)

    def exists(self) -> bool:
        return bool(self.path) and Path(str(self.path)).expanduser().is_file()

    def _check_columns(self, table: pd.DataFrame, path: Path) -> None:
        if table.empty:
            raise SourceError(f"{path} has no rows.\nAdd a row per photo.")
        asked = {
            "path_column": self.path_column,
            "group_column": self.group_column,
            "split_column": self.split_column,
        }
        missing = [f"'{name}' ({key})" for key, name in asked.items() if name and name not in table]
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
    """The group that a column gives; where it gives none, the one that the name tells."""
    if given is None:
        return named
    return [mine or theirs for mine, theirs in zip(given, named, strict=True)]


def check_some_exist(paths: Sequence[str], where: Path, start: str) -> None:
    """Refuse a list of photos of which not one is there: its root is wrong.

    Single missing ones stay in the list: they are set aside later, and reported.

    Raises:
        SourceError: If none exists.
    """
    if not any(Path(p).exists() for p in paths):
        raise SourceError(
            f"None of the {count(len(paths), 'photo')} listed in {where} exists"
            + (f", as {paths[0]}" if paths else "")
            + f".\n{start}; set photos_root to the folder that they start from."
        )


def _read_table(path: Path) -> pd.DataFrame:
    kind = path.suffix.lower()
    if kind not in _SUFFIXES or not path.is_file():
        raise SourceError(
            f"{path} is not a table of a kind that is read here: {', '.join(_SUFFIXES)}.\n"
            "Save it as CSV, or use a source of kind 'folder' for a folder of class folders."
        )
    try:
        if kind == ".csv":
            # Only an empty cell means unknown: a class may be called NA or null.
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        elif kind == ".jsonl":
            table = pd.DataFrame(_json_lines(path), dtype=object)
        else:
            table = pd.read_parquet(path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except SourceError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise SourceError(
            f"{path} cannot be read as {kind[1:].upper()}: {said}\nSave it anew, in UTF-8."
        ) from error
    table.columns = [str(name).strip() for name in table.columns]
    return table


def _json_lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = json.loads(line) if line.lstrip().startswith("{") else None
            if row is None:
                raise SourceError(
                    f"Line {number} of {path} is not a JSON object: {line.strip()[:80]!r}.\n"
                    'Write one object per line, as {"path": "a.jpg", "label": "x"}.'
                )
            rows.append(row)
    return rows
