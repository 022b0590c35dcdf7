"""Writing that is whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a sibling path to write to, and put it in place of `path` once all went well.

    Works for a file or a folder. An older one stays as it is until the new one is complete; what
    an error leaves half-written is removed.

    Args:
        path: Where the result belongs; missing parent folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        yield aside
        if path.is_dir():
            # A folder cannot be renamed over another: move the old one out of the way first.
            old = path.with_name(f".{path.name}.{uuid4().hex[:8]}.old")
            path.rename(old)
            aside.rename(path)
            shutil.rmtree(old)
        else:
            aside.replace(path)
    finally:
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)
