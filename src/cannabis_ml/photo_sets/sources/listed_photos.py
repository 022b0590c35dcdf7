r"""Finding the files of photos that a list names, also as another machine would name them.

A list may have been written where files are called otherwise: on Windows (`C:\photos\a.jpg`), by a
server that keeps uploads (`/data/upload/3/a.jpg`), as addresses (`file:///home/ann/a.jpg`), on a
Mac (`ä` as two characters), or by ids without a suffix.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import unquote

from cannabis_ml._io.file_names import printable
from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources.base import some
from cannabis_ml.photos.decode import SUFFIXES
from cannabis_ml.text import counted, normal

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_DRIVE = re.compile(r"/?[A-Za-z]:[\\/]")
_LOCAL_FILE = re.compile(r"[?&]d=([^&]+)")  # of Label Studio: /data/local-files/?d=photos/a.jpg


class ListedPhoto(NamedTuple):
    """A photo of a list.

    Attributes:
        path: Its file, where there is one, else where it should be; as tables can hold it.
        name: The same with `/`, from the folder that the paths of the list start from.
    """

    path: str
    name: str


class _FoundFile(NamedTuple):
    """A file. `is_sure`: its name is the one looked for, but for Unicode's forms and blanks."""

    file: Path
    is_sure: bool = True


def find_photos(listed: Sequence[str], root: Path, where: Path) -> list[ListedPhoto]:
    """Find the file of each photo of a list.

    What is there under the name as listed is taken. Else names are compared in their normal form,
    then without case, then without suffix where the list gives none; the last two only where one
    file is left that no other name of the list stands for. Absolute paths that lead nowhere are
    looked for below `root`, without their first folders: the same number for all, the one that
    finds most, as long as all of them stay distinct.

    Photos that are not found stay in the list: they are set aside later, and reported.

    Args:
        listed: Paths, addresses or ids, as written.
        root: The folder that relative ones start from.
        where: The list, for messages.

    Raises:
        SourceError: If not one is found; the message gives the remedy.
    """
    names = list(dict.fromkeys(listed))
    files = {name: _FoundFile(root / name) for name in names if _is_file(root / name)}
    folders = _Folders()
    elsewhere = {}
    for name in names:
        if name in files:
            continue
        parts, is_absolute = _taken_apart(name)
        near = folders.find(Path(root.absolute().anchor) if is_absolute else root, parts)
        if near:
            files[name] = near
        elif is_absolute:
            elsewhere[name] = parts
    files |= _found_by_ends(elsewhere, root, where, folders)
    files = _unambiguous(files, where)
    if not files:
        raise SourceError(_none_exists(names, root, where, are_absolute=bool(elsewhere)))
    return [_as_photo(name, files.get(name), name in elsewhere, root) for name in listed]


def as_url(url: str) -> ListedPhoto:
    """A photo that is read where its address says, named from its bucket or host on."""
    return ListedPhoto(printable(url), normal(printable(url.partition("://")[2])))


def _taken_apart(name: str) -> tuple[tuple[str, ...], bool]:
    """The folders and the file that a name speaks of, and whether it starts from no known folder.

    The host of an address counts as a folder.
    """
    local_file = _LOCAL_FILE.search(name)
    if local_file:
        text, is_absolute = unquote(local_file[1]), True
    elif _ADDRESS.match(name):
        text, is_absolute = unquote(name.partition(":")[2].partition("?")[0]), True
    else:
        text = str(Path(name).expanduser()) if name.startswith("~/") else name
        is_absolute = text.startswith(("/", "\\")) or bool(_DRIVE.match(text))
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    if _DRIVE.match(text):
        parts = parts[1:]
    return tuple(parts), is_absolute


def _found_by_ends(
    apart: Mapping[str, tuple[str, ...]], root: Path, where: Path, folders: _Folders
) -> dict[str, _FoundFile]:
    """Find below `root` what the ends of paths name."""
    best: dict[str, _FoundFile] = {}
    best_skipped = 0
    different = len(set(apart.values()))
    for skipped in range(max(map(len, apart.values()), default=0)):
        ends = {name: parts[min(skipped, len(parts) - 1) :] for name, parts in apart.items()}
        if len(set(ends.values())) < different:
            continue
        by_end = {name: hit for name, end in ends.items() if (hit := folders.find(root, end))}
        if len(by_end) > len(best):
            best, best_skipped = by_end, skipped
        if len(best) == len(apart):
            break
    if best:
        logger.warning(
            "%s in %s %s from elsewhere, as '%s': found below %s, %s left out",
            counted(len(best), "path"),
            where,
            "is" if len(best) == 1 else "are",
            next(iter(best)),
            root,
            counted(best_skipped, "leading folder"),
        )
    return best


def _unambiguous(files: Mapping[str, _FoundFile], where: Path) -> dict[str, _FoundFile]:
    """Leave out guesses at a file that another name stands for too."""
    claims = Counter(hit.file for hit in files.values())
    doubtful = [name for name, hit in files.items() if not hit.is_sure and claims[hit.file] > 1]
    if doubtful:
        logger.warning(
            "%s in %s may mean a file that others mean too, and %s counted as missing: %s",
            counted(len(doubtful), "name"),
            where,
            "is" if len(doubtful) == 1 else "are",
            some(map(repr, doubtful)),
        )
    return {name: hit for name, hit in files.items() if name not in doubtful}


def _as_photo(name: str, hit: _FoundFile | None, is_elsewhere: bool, root: Path) -> ListedPhoto:
    if hit is None and is_elsewhere:
        return ListedPhoto(printable(name), normal(name))
    file = hit.file if hit else root / name
    try:
        inside = file.relative_to(root)
    except ValueError:
        inside = file
    return ListedPhoto(printable(file), normal(printable(PurePath(inside.as_posix()))))


def _none_exists(names: Sequence[str], root: Path, where: Path, *, are_absolute: bool) -> str:
    missing = f"None of the {counted(len(names), 'photo')} listed in {where} exists"
    if not names:
        return f"{missing}: it lists none."
    if are_absolute:
        return (
            f"{missing}, as {names[0]}, nor what such paths end in below {root}.\n"
            "Bring these photos to this machine, with their file names as they are, and set"
            " photos_root to the folder that holds them."
        )
    return (
        f"{missing}, as {printable(root / names[0])}, with or without a photo's suffix.\n"
        f"Paths start from {root}; set photos_root to the folder that they start from."
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # as of a name that is too long
        return False


class _Folders:
    """Finds files under names that are nearly theirs; lists each folder once."""

    def __init__(self) -> None:
        self._listings: dict[Path, tuple[dict[str, list[str]], ...]] = {}

    def find(self, start: Path, parts: Iterable[str]) -> _FoundFile | None:
        """The file that `parts` lead to from `start`, if that is one file."""
        parts = list(parts)
        place = _FoundFile(start)
        for depth, part in enumerate(parts, start=1):
            is_last = depth == len(parts)
            step = None if part != ".." else (part, True)
            for spelling in dict.fromkeys((part, unquote(part))):
                step = step or self._step(place.file, spelling, is_last)
            if step is None:
                return None
            place = _FoundFile(place.file / step[0], place.is_sure and step[1])
        return place if parts and _is_file(place.file) else None

    def _step(self, folder: Path, name: str, is_last: bool) -> tuple[str, bool] | None:
        """What `name` is in a folder, and whether that is sure."""
        same, same_but_case, stems, stems_but_case = self._listing(folder)
        key = normal(name)
        tables = [(same, key, True), (same_but_case, key.casefold(), False)]
        if is_last and PurePath(key).suffix.lower() not in SUFFIXES:
            tables += [(stems, key, False), (stems_but_case, key.casefold(), False)]
        for table, looked_for, is_sure in tables:
            there = table.get(looked_for, [])
            if is_last:
                there = [entry for entry in there if _is_file(folder / entry)]
            if name in there:
                return name, True
            if there:
                return (there[0], is_sure) if len(there) == 1 else None
        return None

    def _listing(self, folder: Path) -> tuple[dict[str, list[str]], ...]:
        """Its entries by name, by name without case, and photos by stem, in the same two ways."""
        if folder not in self._listings:
            try:
                entries = sorted(entry.name for entry in folder.iterdir())
            except OSError:
                entries = []
            tables: tuple[dict[str, list[str]], ...] = tuple(defaultdict(list) for _ in range(4))
            for entry in entries:
                name = normal(entry)
                tables[0][name].append(entry)
                tables[1][name.casefold()].append(entry)
                path = PurePath(name)
                if path.suffix.lower() in SUFFIXES:
                    tables[2][path.stem].append(entry)
                    tables[3][path.stem.casefold()].append(entry)
            self._listings[folder] = tables
        return self._listings[folder]
