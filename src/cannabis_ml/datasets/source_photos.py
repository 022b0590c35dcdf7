"""Photos as they are found, with whatever labels they came with, as one catalog entry."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import TablePreview
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from cannabis_ml import photos
from cannabis_ml.errors import SourceError
from cannabis_ml.photos.decode import SUFFIXES

log = logging.getLogger(__name__)

SPLIT_NAMES = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "calibration": "calibration",
    "test": "test",
}
"""What folders and split columns may call the four splits, in lower case."""

SOURCE_COLUMNS = ("path", "group", "given_split")
"""The columns of every source beside the labels."""

_SKIPPED_FOLDERS = {"__MACOSX", "@eaDir"}
_TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")
_SHOWN = 8
"""How many names an error lists before it says `and N more`."""

# YAML reads a folder called 2024 as a number.
_Text = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int | float) else v)]


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    path: _Text | None = Field(
        default=None, description="Where the photos are; null: nobody has said yet"
    )

    def found_path(self) -> Path:
        """The path with `~` expanded.

        Raises:
            SourceError: If no path was given, or nothing is there.
        """
        if not self.path:
            raise SourceError(
                "No photos were given to this source (its `path` is null).\n"
                "Say which photos, as in: kedro run --env folder --params photos=PATH"
            )
        path = Path(self.path).expanduser()
        if not path.exists():
            near = next((p for p in path.parents if p.exists()), None)
            raise SourceError(
                f"{path} does not exist{f' (up to {near} it does)' if near else ''}.\n"
                "Check the path for typing errors; a relative one starts at the project's folder."
            )
        return path

    def exists(self) -> bool:
        return bool(self.path) and Path(str(self.path)).expanduser().exists()


class SampleSource(_Source):
    """Photos drawn by the project itself on first use."""

    kind: Literal["sample"]
    path: _Text = Field(description="Folder to draw into; each set gets a folder of its own below")
    count: int = Field(default=800, gt=0, description="Photos")
    seed: int = Field(default=42, ge=0, description="Same seed, same photos")
    size: int = Field(default=256, ge=16, description="Side of a photo in pixels")
    workers: int | None = Field(default=None, gt=0, description="Processes; null: one per core")

    @property
    def folder(self) -> Path:
        """Where this set is drawn: a changed renderer gets another folder, so it draws anew."""
        name = f"{self.count}_{self.seed}_{self.size}_{_renderer_version()}"
        return Path(self.path).expanduser() / name

    def read(self) -> pd.DataFrame:
        from cannabis_ml.photos.sample import write_sample_photos

        table = self.folder / "labels.csv"
        if not table.is_file():
            log.info("Drawing %s sample photos in %s", f"{self.count:,}", self.folder)
            try:
                write_sample_photos(
                    self.folder, self.count, self.seed, size=self.size, workers=self.workers
                )
            except (OSError, SourceError):
                # Another run may have drawn the same set meanwhile.
                if not table.is_file():
                    raise
        return TableSource(kind="table", path=str(table)).read()

    def exists(self) -> bool:
        return (self.folder / "labels.csv").is_file()


class FolderSource(_Source):
    """A folder of class folders, at any depth."""

    kind: Literal["folder"]
    head: str = Field(default="label", description="The head that a class folder's name answers")
    pattern: str | None = Field(
        default=None,
        description="Regular expression for the whole name of a class folder; each named group is"
        " a head, as (?P<species>.+?)___(?P<condition>.+)",
    )
    class_folder: Literal["parent", "top"] = Field(
        default="parent",
        description="Which folder names the class: the one that the photo lies in, or the first"
        " one below `path` (and below a split's folder)",
    )
    label_map: dict[_Text, _Text | dict[str, _Text | None] | None] = Field(
        default_factory=dict,
        description="Name of a class folder -> class, or head -> class, or null (unknown)",
    )

    def read(self) -> pd.DataFrame:
        root = self.found_path()
        if not root.is_dir():
            raise SourceError(
                f"{root} is a file, not a folder of class folders.\n"
                "Give the folder, or use a source of kind 'table' for a list of photos."
            )
        found = sorted(_photo_files(root), key="/".join)
        if not found:
            raise SourceError(
                f"No photo was found in {root} or the folders in it"
                f"{_what_else_is_there(root)}.\n"
                f"Photos are known by their suffix: {', '.join(sorted(SUFFIXES))} (in any case)."
            )
        places = [_place(parts[:-1], self.class_folder) for parts in found]
        counts = Counter(name for _, name in places if name)
        if not counts:
            lie = "lies" if len(found) == 1 else "lie"
            raise SourceError(
                f"{root} has no class folders: its {_n(len(found), 'photo')} {lie}"
                f" {_where_loose(found)} (as {found[0][-1]!r}).\n"
                "Sort them into one folder per class (PATH/CLASS/photo.jpg), or describe them by a"
                " source of kind 'table'."
            )
        loose = len(found) - sum(counts.values())
        if loose:
            log.warning(
                "%s in %s %s in no class folder: kept, without a label",
                _n(loose, "photo"),
                root,
                "lies" if loose == 1 else "lie",
            )
        labels = self._labels_of(counts, root)
        heads = sorted({head for of in labels.values() for head in of}) or [self.head]
        columns: dict[str, list[Any]] = {
            "path": [_printable(root.joinpath(*parts)) for parts in found],
            "group": [None] * len(found),
            "given_split": [split for split, _ in places],
        }
        for head in heads:
            columns[head] = [labels[name].get(head) if name else None for _, name in places]
        return _source_frame(columns)

    def _labels_of(self, counts: Counter[str], root: Path) -> dict[str, dict[str, str | None]]:
        """Read the labels off each class folder's name.

        Raises:
            SourceError: Lists every folder that neither `pattern` nor `label_map` explains.
        """
        pattern = re.compile(self.pattern) if self.pattern else None
        if pattern is not None and not pattern.groupindex:
            raise SourceError(
                f"The pattern {self.pattern!r} names no head.\n"
                "Write one named group per head, as (?P<species>.+?)___(?P<condition>.+)."
            )
        labels: dict[str, dict[str, str | None]] = {}
        unexplained = []
        for name in counts:
            match = pattern.fullmatch(name) if pattern else None
            if name in self.label_map:
                mapped = self.label_map[name]
                if isinstance(mapped, dict):
                    labels[name] = dict(mapped)
                elif mapped is None or pattern is None or len(pattern.groupindex) == 1:
                    head = self.head if pattern is None else next(iter(pattern.groupindex))
                    labels[name] = {head: mapped}
                else:
                    raise SourceError(
                        f"label_map maps the folder '{name}' to '{mapped}', but the pattern has the"
                        f" heads {', '.join(pattern.groupindex)}.\n"
                        f"Say which head it answers: '{name}': {{head: '{mapped}'}}."
                    )
            elif pattern is None:
                labels[name] = {self.head: name}
            elif match:
                labels[name] = {head: label or None for head, label in match.groupdict().items()}
            else:
                unexplained.append(f"'{name}' ({_n(counts[name], 'photo')})")
        if unexplained:
            raise SourceError(
                f"{_n(len(unexplained), 'class folder')} in {root} "
                f"{'does' if len(unexplained) == 1 else 'do'} not match the pattern "
                f"{self.pattern!r}: {_some(sorted(unexplained))}.\n"
                "Map them under the source's label_map (null: unknown), or change its pattern."
            )
        unused = sorted(set(self.label_map) - set(counts))
        if unused:
            log.warning("label_map names folders that %s does not have: %s", root, _some(unused))
        return labels


class TableSource(_Source):
    """A table with a row per photo and a column per head.

    A multilabel head is either one column of attributes separated by `;` (`-` or `none`: none of
    them), or one column `head.attribute` each with 1, 0 or nothing. An empty cell means unknown.
    """

    kind: Literal["table"]
    photos_root: _Text | None = Field(
        default=None, description="What paths start from; null: the table's own folder"
    )
    path_column: str = Field(default="path", description="Column with each photo's path")
    group_column: str | None = Field(
        default=None, description="Photos that must share a split; null: 'group' if there is one"
    )
    split_column: str | None = Field(
        default=None, description="Splits that are given; null: 'split' if there is one"
    )
    label_map: dict[str, dict[_Text, _Text | None]] = Field(
        default_factory=dict, description="Head -> label as written -> class, or null (unknown)"
    )

    def read(self) -> pd.DataFrame:
        path = self.found_path()
        table = _read_table(path)
        self._check_columns(table, path)
        root = path.parent / Path(self.photos_root or "").expanduser()
        listed = [_as_text(value) for value in table[self.path_column]]
        nameless = sum(not name for name in listed)
        if nameless:
            log.warning("%s of %s have no path: left out", _n(nameless, "row"), path)
        keep = [i for i, name in enumerate(listed) if name]
        paths = [_printable(root / str(listed[i])) for i in keep]
        if not any(Path(p).exists() for p in paths):
            raise SourceError(
                f"None of the {_n(len(paths), 'photo')} listed in {path} exists"
                + (f", as {paths[0]}" if paths else "")
                + f".\nPaths in column '{self.path_column}' start from {root}; set photos_root"
                " to the folder that they start from."
            )
        rows = table.iloc[keep]
        group = self.group_column or ("group" if "group" in table else None)
        split = self.split_column or ("split" if "split" in table else None)
        columns: dict[str, list[Any]] = {
            "path": paths,
            "group": [_as_text(v) for v in rows[group]] if group else [None] * len(keep),
            "given_split": self._splits(rows[split], path) if split else [None] * len(keep),
        }
        for name in table.columns:
            if name not in (self.path_column, group, split, *SOURCE_COLUMNS):
                columns[name] = self._labels(rows[name], self.label_map.get(name, {}))
        return _source_frame(columns)

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
                f"{', '.join(missing)}; it has {_some([repr(c) for c in columns])}.{hint}\n"
                "Name its columns under the source in catalog_ingestion.yml."
            )

    def _splits(self, values: pd.Series, path: Path) -> list[str | None]:
        written = [_as_text(value) for value in values]
        unknown = Counter(w for w in written if w and w.casefold() not in SPLIT_NAMES)
        if unknown:
            counted = [f"'{name}' ({_n(n, 'row')})" for name, n in unknown.most_common()]
            raise SourceError(
                f"The split column of {path} has {_some(counted)}.\n"
                f"Write one of {', '.join(SPLIT_NAMES)}, or leave the cell empty."
            )
        return [SPLIT_NAMES[w.casefold()] if w else None for w in written]

    @staticmethod
    def _labels(values: pd.Series, mapping: dict[str, str | None]) -> list[str | None]:
        written = (_as_text(value) for value in values)
        return [w and _mapped(w, mapping) for w in written] if mapping else list(written)


AnySource = Annotated[SampleSource | FolderSource | TableSource, Field(discriminator="kind")]
"""One of the kinds of source, told by `kind`."""

_SOURCE = TypeAdapter(AnySource)


class SourcePhotosDataset(AbstractDataset[None, pd.DataFrame]):
    """Photos and raw labels from a sample, a folder of class folders, or a table.

    Loads a table with a row per photo: `path` as it can be opened, `group` and `given_split`
    where the source has them, and the labels as the source's label map leaves them.

    Args:
        source: `kind` (`sample`, `folder` or `table`) and the fields of that kind.
        metadata: For plugins; Kedro ignores it.

    Raises:
        SourceError: If `source` is not written as its kind wants it.
    """

    def __init__(self, source: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        self.metadata = metadata
        try:
            self._source = _SOURCE.validate_python(source)
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
            ]
            raise SourceError(
                "The source of photos is not written right:\n  " + "\n  ".join(faults)
            ) from error

    def load(self) -> pd.DataFrame:
        return self._source.read()

    def save(self, data: None) -> None:
        raise DatasetError("Photos are read from their source, never written back to it.")

    def preview(self, nrows: int = 10) -> TablePreview:
        """First rows for kedro-viz; nothing is drawn or searched for that is not there yet."""
        empty = pd.DataFrame(columns=list(SOURCE_COLUMNS))
        rows = self.load().head(nrows) if self._exists() else empty
        return TablePreview(rows.astype(object).where(rows.notna(), None).to_dict("split"))

    def _exists(self) -> bool:
        return self._source.exists()

    def _describe(self) -> dict[str, Any]:
        return self._source.model_dump(exclude_defaults=True)


@cache
def _renderer_version() -> str:
    """Hash of the renderer's own source, as it was when the run began."""
    digest = hashlib.sha256()
    for file in sorted((Path(photos.__file__).parent / "sample").glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def _photo_files(root: Path) -> Iterator[tuple[str, ...]]:
    """Yield the path of every photo below `root`, as parts, following symlinks without loops.

    Folders proper come first: a folder that links reach too is seen under its own name, once.
    """
    seen: set[tuple[int, int]] = set()
    links: list[tuple[str, ...]] = []
    yield from _walk(root, (), seen, links)
    while links:
        links.sort()
        later: list[tuple[str, ...]] = []
        for link in links:
            yield from _walk(root, link, seen, later)
        links = later


def _walk(
    root: Path,
    below: tuple[str, ...],
    seen: set[tuple[int, int]],
    links: list[tuple[str, ...]],
) -> Iterator[tuple[str, ...]]:
    waiting = [below]
    while waiting:
        parts = waiting.pop()
        folder = root.joinpath(*parts)
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            log.warning("A folder cannot be opened and is left out: %s", error)
            continue
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name in _SKIPPED_FOLDERS:
                continue
            if _is_folder(entry):
                (links if entry.is_symlink() else waiting).append((*parts, name))
            elif Path(name).suffix.lower() in SUFFIXES:
                yield (*parts, name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _place(folders: tuple[str, ...], class_folder: str) -> tuple[str | None, str | None]:
    """Read the given split and the class folder off the folders between root and photo.

    `train/apple` and `apple/train` both mean class apple, given as train.
    """
    splits = [SPLIT_NAMES[f.casefold()] for f in folders if f.casefold() in SPLIT_NAMES]
    innermost_is_split = bool(folders) and folders[-1].casefold() in SPLIT_NAMES
    others = [f for f in folders if f.casefold() not in SPLIT_NAMES]
    if not others:
        return (splits[0] if splits else None), None
    if class_folder == "top":
        return (splits[0] if splits else None), others[0]
    name = others[-1] if innermost_is_split else folders[-1]
    return (splits[0] if splits else None), name


def _where_loose(found: list[tuple[str, ...]]) -> str:
    places = sorted({"/".join(parts[:-1]) for parts in found})
    if places == [""]:
        return "directly in it"
    return f"in {_some(repr(place or '.') for place in places)}"


def _what_else_is_there(root: Path) -> str:
    suffixes: Counter[str] = Counter()
    for _, _, files in os.walk(root):
        suffixes.update(Path(name).suffix.lower() or "no suffix" for name in files)
        if suffixes.total() > 10_000:
            break
    if not suffixes:
        return ": it is empty" if not any(root.iterdir()) else ": it holds no files"
    counted = [f"{suffix} ({n:,})" for suffix, n in suffixes.most_common()]
    return f"; what it holds: {_some(counted)}"


def _read_table(path: Path) -> pd.DataFrame:
    kind = path.suffix.lower()
    if kind not in _TABLE_SUFFIXES or not path.is_file():
        raise SourceError(
            f"{path} is not a table of a kind that is read here: {', '.join(_TABLE_SUFFIXES)}.\n"
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


def _as_text(value: Any) -> str | None:
    """Spell a cell of any table as text; None where it is empty."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, list | tuple | np.ndarray):
        # A list of attributes; an empty one says that none is there.
        return ";".join(str(item) for item in value) or "-"
    if value is None or pd.isna(value):
        return None
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _mapped(label: str, mapping: dict[str, str | None]) -> str | None:
    if label in mapping:
        return mapping[label]
    if ";" not in label:
        return label
    items = (item.strip() for item in label.split(";"))
    kept = [mapping.get(item, item) for item in items if item]
    return ";".join(item for item in kept if item) or None


def _source_frame(columns: dict[str, list[Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(v, dtype="str") for name, v in columns.items()})


def _printable(path: Path) -> str:
    """Spell a path so that tables can hold it.

    A name that is not UTF-8 gets backslashes: it cannot be opened then, and is reported as missing
    under a name that a person can find, instead of ending the run.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _n(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _some(items: Iterable[str]) -> str:
    items = list(items)
    more = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
