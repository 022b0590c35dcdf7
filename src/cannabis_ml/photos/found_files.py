"""List the photos in a folder: one rule for ingestion and inference."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

_SYSTEM = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "zbthumbnail.info"),
        *("picasa.ini", "icon\r", "$recycle.bin", "system volume information", "recycler"),
        *("__macosx", "network trash folder", "temporary items", "lost+found"),
        *("@eadir", "#recycle", "@recycle", "#snapshot", "@tmp"),
    }
)
"""What Windows, macOS, photo programs and network drives add unasked, in lower case; what is hidden
starts with a dot."""


def is_hidden_or_system(name: str) -> bool:
    """Whether a file or folder of this name is there for a system's own use, and passed over.

    `~$` is how office programs call what they lock.
    """
    return name.startswith((".", "~$")) or name.casefold() in _SYSTEM


def files_below(root: Path) -> list[tuple[str, ...]]:
    """List everything below a folder but what is hidden or a system's, in the order of paths.

    Links are followed without loops. A folder that links reach too is seen under its own name,
    once. A folder that cannot be opened is listed as if it were a file, so that it is reported.

    Args:
        root: The folder; its own name does not matter.

    Returns:
        The parts of each file's path from `root`.
    """
    return sorted(_found(root), key="/".join)


def may_be_photo(path: Path) -> bool:
    """Whether a file is called like a photo, or begins like one, whatever it is called."""
    from cannabis_ml.photos.decode import SUFFIXES, has_photo_header

    return path.suffix.lower() in SUFFIXES or has_photo_header(path)


def _found(root: Path) -> Iterator[tuple[str, ...]]:
    seen: set[tuple[int, int]] = set()
    links: list[tuple[str, ...]] = []
    yield from _walk(root, (), seen, links)
    while links:  # after folders proper, whose names these may not take
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
            logger.warning("A folder cannot be opened: %s", error)
            if parts:
                yield parts
            continue
        for entry in entries:
            if is_hidden_or_system(entry.name):
                continue
            if not _is_folder(entry):
                yield (*parts, entry.name)
            elif entry.is_symlink():
                links.append((*parts, entry.name))
            else:
                waiting.append((*parts, entry.name))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
