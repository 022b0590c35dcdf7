"""Source of kind `folder`: class folders, at any depth."""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import pandas as pd
from pydantic import Field

from cannabis_ml._io.file_names import printable
from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources.base import (
    NamedPattern,
    NameMap,
    SplitSource,
    columns_by_name,
    labels_of_name,
    some,
    source_frame,
)
from cannabis_ml.photo_sets.sources.split_names import (
    given_split,
    split_folders,
    warn_of_untaken,
)
from cannabis_ml.photos.decode import SUFFIXES
from cannabis_ml.photos.found_files import files_below, may_be_photo
from cannabis_ml.splits import Split
from cannabis_ml.text import Name, counted, normal

logger = logging.getLogger(__name__)

CONTAINERS = frozenset(
    {
        *("image", "images", "img", "imgs", "jpegimages", "jpg", "jpgs", "jpeg", "png", "rgb"),
        *("photo", "photos", "picture", "pictures", "pics", "original", "originals", "raw"),
    }
)
"""Folders, in lower case, that do not name a class where they are alone within a folder."""

DRAWINGS = frozenset(
    {"mask", "masks", "label", "labels", "annotation", "annotations", "segmentation", "segmented"}
)
"""Folders, in lower case, whose pictures show no subject where they lie beside one of photos."""


class ClassFolders(SplitSource):
    """Photos whose labels are read off the names of their folders."""

    class_folder: Literal["parent", "top"] = Field(
        default="parent",
        description="Which folder names the class: the one that the photo lies in (CLASS/a.jpg;"
        " CLASS/images/a.jpg too), or the first one below `path` and a split's folder"
        " (CLASS/2024/a.jpg)",
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
        """Labels of a class folder that label_map does not have; None if they are unknown."""
        raise NotImplementedError

    def unexplained(self, counts: dict[str, int], root: Path) -> str:
        """The message about folders that cannot be explained: which, and what to do.

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
        found = files_below(root)
        are_photos = [may_be_photo(root.joinpath(*parts)) for parts in found]
        photos = [parts for parts, is_photo in zip(found, are_photos, strict=True) if is_photo]
        if not photos:
            raise SourceError(
                f"No photo was found in {root} or the folders in it{_what_else_is_there(found)}.\n"
                "Photos are known by their first bytes, or by their suffix: "
                f"{', '.join(sorted(SUFFIXES))} (in any case)."
            )
        others = [parts for parts, is_photo in zip(found, are_photos, strict=True) if not is_photo]
        _log_others(others, root)
        layout = self._layout(photos)
        warn_of_untaken(layout.folders, layout.splits, layout.unlike_splits, root)
        counts = Counter(name for parts in photos if (name := layout.class_of(parts)))
        self._check_class_folders(counts, photos, layout, root)
        labels = self._labels_of(counts, layout, photos, root)
        names = [layout.class_of(parts) for parts in photos]
        of_photos: dict[str, list[str | None]] = {
            "group": self.groups([printable(PurePosixPath(*parts)) for parts in photos]),
            "given_split": [layout.split_of(parts) for parts in photos],
            **columns_by_name([[name] if name else [] for name in names], labels, self.defaults),
        }
        columns: dict[str, list[str | None]] = {
            "path": [printable(root.joinpath(*parts)) for parts in found]
        }
        for column, values in of_photos.items():
            remaining = iter(values)
            # What is not a photo shows nothing, whatever folder it lies in.
            columns[column] = [next(remaining) if is_photo else None for is_photo in are_photos]
        return source_frame(columns)

    def _layout(self, photos: Sequence[tuple[str, ...]]) -> _Layout:
        folders = [_spelt(parts[:-1]) for parts in photos]
        # A folder in label_map is a class.
        mapped = {**dict.fromkeys(self.label_map), **self.split_map}
        splits = split_folders(folders, mapped)
        return _Layout(folders, splits, frozenset(mapped), self.class_folder)

    def _check_class_folders(
        self,
        counts: Counter[str],
        photos: Sequence[tuple[str, ...]],
        layout: _Layout,
        root: Path,
    ) -> None:
        """Warn of photos without a class folder, and of folders that may not be the classes.

        Raises:
            SourceError: If no photo lies in a class folder.
        """
        if not counts:
            lie = "lies" if len(photos) == 1 else "lie"
            raise SourceError(
                f"{root} has no class folders: its {counted(len(photos), 'photo')} {lie}"
                f" {_where_loose(photos)} (such as {photos[0][-1]!r}).\n"
                "Sort them into one folder per class (PATH/CLASS/photo.jpg), or describe them by a"
                " source of kind 'table'. If a folder taken for a split is a class, write it under"
                " split_map: {train: null}."
            )
        loose = [parts for parts in photos if layout.class_of(parts) is None]
        if loose:
            logger.warning(
                "%s in %s %s in no class folder, but %s: kept, without a label",
                counted(len(loose), "photo"),
                root,
                "lies" if len(loose) == 1 else "lie",
                _where_loose(loose),
            )
        outer = {layout.outermost_of(parts) for parts in photos} - {None}
        if self.class_folder == "parent" and len(counts) == 1 and len(outer) > 1:
            logger.warning(
                "All photos in %s are labelled '%s', after the folder that they lie"
                " in. If the folders around it, such as %s, name the classes, set class_folder: top"
                " in the source.",
                root,
                next(iter(counts)),
                some(f"'{name}'" for name in sorted(map(str, outer))),
            )

    def _labels_of(
        self,
        counts: Counter[str],
        layout: _Layout,
        photos: Sequence[tuple[str, ...]],
        root: Path,
    ) -> dict[str, dict[str, str | None]]:
        """Read the labels off each class folder's name.

        Raises:
            SourceError: Lists every folder that cannot be explained.
        """
        labels: dict[str, dict[str, str | None]] = {}
        unexplained = {}
        for name in sorted(counts):
            labels_of_folder = self._explained(name)
            if labels_of_folder is None:
                unexplained[name] = counts[name]
            else:
                labels[name] = labels_of_folder
        if unexplained:
            around = {
                layout.outermost_of(parts)
                for parts in photos
                if layout.class_of(parts) in unexplained
            }
            hint = (
                "\nThe folders around them can be explained: set class_folder: top."
                if self.class_folder == "parent"
                and all(name and self._explained(name) for name in around)
                else ""
            )
            raise SourceError(self.unexplained(unexplained, root) + hint)
        unused = sorted(set(self.label_map) - set(counts))
        if unused:
            logger.warning("label_map names folders that %s does not have: %s", root, some(unused))
        return labels

    def _explained(self, name: str) -> dict[str, str | None] | None:
        mapped = labels_of_name(name, self.label_map, self.heads)
        return self.explain(name) if mapped is None else mapped


class _Layout:
    """What the folders between the root and the photos stand for.

    `train/apple` and `apple/train` both mean class apple, given as train.

    Attributes:
        folders: Above each photo, normal names, the outermost first.
        splits: Name of a folder -> its split.
        unlike_splits: Names that the source's maps have.
    """

    def __init__(
        self,
        folders: list[tuple[str, ...]],
        splits: Mapping[str, Split],
        unlike_splits: frozenset[str],
        class_folder: Literal["parent", "top"],
    ) -> None:
        self.folders = folders
        self.splits = splits
        self.unlike_splits = unlike_splits
        self._is_top = class_folder == "top"
        self._beside: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for names in set(folders):
            for depth, name in enumerate(names):
                self._beside[names[:depth]].add(name)
        named = {self._named(names) for names in set(folders)} - {None}
        # train/images/a.jpg: there is nothing else that could be a class.
        self._is_unnamed = all(self._is_container(str(name)) for name in named)
        self._classes = {names: self._named(names) for names in set(folders)}

    def split_of(self, parts: tuple[str, ...]) -> str | None:
        """The split that the folders of a file give it."""
        return given_split(_spelt(parts[:-1]), self.splits)

    def class_of(self, parts: tuple[str, ...]) -> str | None:
        """The class folder of a photo, None where it has none."""
        return None if self._is_unnamed else self._classes[_spelt(parts[:-1])]

    def outermost_of(self, parts: tuple[str, ...]) -> str | None:
        """The first folder of a photo that is not a split."""
        return next((name for name in _spelt(parts[:-1]) if name not in self.splits), None)

    def _named(self, folders: tuple[str, ...]) -> str | None:
        depths = [i for i, name in enumerate(folders) if name not in self.splits]
        if self._is_top:
            while len(depths) > 1 and self._is_alone(folders, depths[0]):
                depths = depths[1:]
            return folders[depths[0]] if depths else None
        while len(depths) > 1 and self._is_alone(folders, depths[-1]):
            if not self._is_container(folders[depths[-1]]):
                return None  # a mask beside the photo that it belongs to
            depths = depths[:-1]
        return folders[depths[-1]] if depths else None

    def _is_alone(self, folders: tuple[str, ...], depth: int) -> bool:
        """Whether a folder of photos, or of drawings to them, has only such beside it."""
        beside = self._beside[folders[:depth]] - set(self.splits)
        return any(map(self._is_container, beside)) and all(
            self._is_container(name) or self._is_drawings(name) for name in beside
        )

    def _is_container(self, name: str) -> bool:
        return name.casefold() in CONTAINERS and name not in self.unlike_splits

    def _is_drawings(self, name: str) -> bool:
        return name.casefold() in DRAWINGS and name not in self.unlike_splits


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
        of_each = [f"'{name}' ({counted(n, 'photo')})" for name, n in counts.items()]
        return (
            f"{counted(len(counts), 'class folder')} in {root} "
            f"{'does' if len(counts) == 1 else 'do'} not match the pattern "
            f"{self.pattern!r}: {', '.join(of_each)}."
            "\nMap them under the source's label_map (null: unknown), or change its pattern."
        )


def labels_by_pattern(pattern: str, folder: str) -> dict[str, str | None] | None:
    """Head -> class for each named group that took part; None if the name does not match."""
    match = re.fullmatch(pattern, folder)
    return match and {head: normal(label) for head, label in match.groupdict().items() if label}


def _spelt(folders: Sequence[str]) -> tuple[str, ...]:
    """Folders as tables and labels can hold them."""
    return tuple(normal(printable(name)) for name in folders)


def _where_loose(files: Sequence[tuple[str, ...]]) -> str:
    places = sorted({"/".join(_spelt(parts[:-1])) for parts in files})
    if places == [""]:
        return "directly in it"
    return f"in {some(repr(place or '.') for place in places)}"


def _log_others(others: Sequence[tuple[str, ...]], root: Path) -> None:
    if others:
        logger.info(
            "%s in %s %s like a photo (%s): listed, to be set aside",
            counted(len(others), "file"),
            root,
            "does not look" if len(others) == 1 else "do not look",
            _by_suffix(others),
        )


def _what_else_is_there(files: Sequence[tuple[str, ...]]) -> str:
    return f"; what it holds: {_by_suffix(files)}" if files else ": it is empty"


def _by_suffix(files: Sequence[tuple[str, ...]]) -> str:
    suffixes = Counter(Path(parts[-1]).suffix.lower() or "no suffix" for parts in files)
    return some(f"{suffix} ({n:,})" for suffix, n in suffixes.most_common())
