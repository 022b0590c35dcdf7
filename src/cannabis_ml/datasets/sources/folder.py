"""Source of kind `folder`: class folders, at any depth."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import pandas as pd
from pydantic import Field

from cannabis_ml.datasets.sources.base import (
    SPLIT_NAMES,
    GroupedSource,
    NamedPattern,
    NameMap,
    columns_by_name,
    count,
    labels_of_name,
    printable,
    some,
    source_frame,
)
from cannabis_ml.errors import SourceError
from cannabis_ml.names import Name, normal
from cannabis_ml.photos.decode import SUFFIXES

log = logging.getLogger(__name__)

COMPANIONS = frozenset(
    {
        *(".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yml", ".yaml", ".html"),
        *(".pdf", ".log", ".db", ".ini", ".parquet", ".npy", ".npz", ".mat", ".xlsx", ".xmp"),
        *(".py", ".ipynb", ".sh", ".zip", ".gz", ".tar", ".7z", ".aae", ".mov", ".mp4"),
    }
)
"""Suffixes, in lower case, of files that lie beside photos by right and are passed over."""

_SKIPPED_FOLDERS = {"__MACOSX", "@eaDir"}


class ClassFolders(GroupedSource):
    """Photos whose labels are read off the names of their folders."""

    class_folder: Literal["parent", "top"] = Field(
        default="parent",
        description="Which folder names the class: the one that the photo lies in, or the first"
        " one below `path` (and below a split's folder)",
    )
    label_map: NameMap = Field(
        default_factory=dict,
        description="Name of a class folder -> class, or head -> class, or null (unknown); comes"
        " before whatever else explains the name",
    )

    @property
    def heads(self) -> list[str]:
        """The heads that the folders answer by themselves."""
        raise NotImplementedError

    def explain(self, folder: str) -> dict[str, str | None] | None:
        """Labels of a class folder that label_map does not have; None: no way to tell."""
        raise NotImplementedError

    def unexplained(self, counts: dict[str, int], root: Path) -> str:
        """Say which folders cannot be explained, and what to do.

        Args:
            counts: Photos per folder that is not explained.
            root: Where they are.
        """
        raise NotImplementedError

    def groups(self, names: list[str]) -> list[str | None]:
        """The group of each photo, by its path below the root."""
        return self.groups_by_name(names)

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
                f"{root} has no class folders: its {count(len(found), 'photo')} {lie}"
                f" {_where_loose(found)} (as {found[0][-1]!r}).\n"
                "Sort them into one folder per class (PATH/CLASS/photo.jpg), or describe them by a"
                " source of kind 'table'."
            )
        loose = len(found) - sum(counts.values())
        if loose:
            log.warning(
                "%s in %s %s in no class folder: kept, without a label",
                count(loose, "photo"),
                root,
                "lies" if loose == 1 else "lie",
            )
        labels = self._labels_of(counts, root)
        columns: dict[str, list[str | None]] = {
            "path": [printable(root.joinpath(*parts)) for parts in found],
            "group": self.groups([printable(PurePosixPath(*parts)) for parts in found]),
            "given_split": [split for split, _ in places],
        }
        columns |= columns_by_name(
            [[name] if name else [] for _, name in places], labels, self.defaults
        )
        return source_frame(columns)

    def _labels_of(self, counts: Counter[str], root: Path) -> dict[str, dict[str, str | None]]:
        """Read the labels off each class folder's name.

        Raises:
            SourceError: Lists every folder that nothing explains.
        """
        labels: dict[str, dict[str, str | None]] = {}
        unexplained = {}
        for name in sorted(counts):
            found = labels_of_name(name, self.label_map, self.heads)
            found = self.explain(name) if found is None else found
            if found is None:
                unexplained[name] = counts[name]
            else:
                labels[name] = found
        if unexplained:
            raise SourceError(self.unexplained(unexplained, root))
        unused = sorted(set(self.label_map) - set(counts))
        if unused:
            log.warning("label_map names folders that %s does not have: %s", root, some(unused))
        return labels


class FolderSource(ClassFolders):
    """A folder of class folders, each named after its class or by a pattern of your own."""

    kind: Literal["folder"]
    head: Name = Field(default="label", description="The head that a class folder's name answers")
    pattern: NamedPattern | None = Field(
        default=None,
        description="Regular expression for the whole name of a class folder; each named group is"
        " a head, as (?P<species>.+?)___(?P<condition>.+)",
    )

    @property
    def heads(self) -> list[str]:
        return list(re.compile(self.pattern).groupindex) if self.pattern else [self.head]

    def explain(self, folder: str) -> dict[str, str | None] | None:
        return labels_by_pattern(self.pattern, folder) if self.pattern else {self.head: folder}

    def unexplained(self, counts: dict[str, int], root: Path) -> str:
        counted = [f"'{name}' ({count(n, 'photo')})" for name, n in counts.items()]
        return (
            f"{count(len(counts), 'class folder')} in {root} "
            f"{'does' if len(counts) == 1 else 'do'} not match the pattern "
            f"{self.pattern!r}: {', '.join(counted)}."
            "\nMap them under the source's label_map (null: unknown), or change its pattern."
        )


def labels_by_pattern(pattern: str, folder: str) -> dict[str, str | None] | None:
    """Head -> class for each named group that took part; None if the name does not match."""
    match = re.fullmatch(pattern, folder)
    return match and {head: normal(label) for head, label in match.groupdict().items() if label}


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
        files = []
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name in _SKIPPED_FOLDERS:
                continue
            if _is_folder(entry):
                (links if entry.is_symlink() else waiting).append((*parts, name))
            elif Path(name).suffix.lower() not in COMPANIONS:
                files.append(name)
        # What lies among photos is taken for one: if it is none, the report says so.
        if any(Path(name).suffix.lower() in SUFFIXES for name in files):
            yield from ((*parts, name) for name in files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _place(folders: tuple[str, ...], class_folder: str) -> tuple[str | None, str | None]:
    """Read the given split and the class folder off the folders between root and photo.

    `train/apple` and `apple/train` both mean class apple, given as train.
    """
    folders = tuple(map(normal, folders))
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
    return f"in {some(repr(place or '.') for place in places)}"


def _what_else_is_there(root: Path) -> str:
    suffixes: Counter[str] = Counter()
    for _, _, files in os.walk(root):
        suffixes.update(Path(name).suffix.lower() or "no suffix" for name in files)
        if suffixes.total() > 10_000:
            break
    if not suffixes:
        return ": it is empty" if not any(root.iterdir()) else ": it holds no files"
    counted = [f"{suffix} ({n:,})" for suffix, n in suffixes.most_common()]
    return f"; what it holds: {some(counted)}"
