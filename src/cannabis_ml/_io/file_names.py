"""File names that are not UTF-8, written with escapes and read back.

A file name on Linux is bytes. Where they are not UTF-8, as in archives that Windows made, Python
holds them as surrogates, which no table, database, JSON file or terminal takes. So a name becomes
printable where it comes in, and is looked up on the disk where it is opened.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")
"""How `printable` writes a byte that is not UTF-8."""


def printable(name: str | os.PathLike[str]) -> str:
    r"""The name as it stands, or with backslashes where it has what UTF-8 cannot hold.

    >>> printable(os.fsdecode(b"caf\xe9"))
    'caf\\xe9'
    """
    name = os.fspath(name)
    try:
        name.encode()
    except UnicodeEncodeError:
        pass
    else:
        return name
    try:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that no file system made
        return name.encode("utf-8", "backslashreplace").decode()


def on_disk(path: str | os.PathLike[str]) -> Path:
    r"""A path that `printable` wrote, as it can be opened.

    A file whose name really has the backslashes comes first; where there is neither, the path stays
    as it is, and whoever opens it finds that it is missing.
    """
    path = os.fspath(path)
    try:
        # Another encoding than UTF-8, as ASCII where the locale is C, has surrogates for the rest.
        path = os.fsdecode(path.encode("utf-8", "surrogateescape"))
        if not _BYTE.search(path) or os.path.lexists(path):
            return Path(path)
        spelt = _BYTE.sub(lambda found: os.fsdecode(bytes.fromhex(found[1])), path)
        return Path(spelt if os.path.lexists(spelt) else path)
    except ValueError:  # a NUL, or surrogates that no file system made
        return Path(path)
