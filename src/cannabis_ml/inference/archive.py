"""The files of a bundle, in a folder or in a `.zip`, read with suspicion."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from cannabis_ml.errors import BundleError
from cannabis_ml.photos.found_files import is_hidden_or_system

MOST_BYTES = 8 << 30
"""All files of a bundle together, unpacked."""

MOST_FILES = 10_000

MOST_SQUEEZED = 50
"""How many times smaller a file may be in the archive; models shrink by less than two, and a
bomb by a thousand."""

_PIECE = 1 << 20


class Archive(ABC):
    """Files by name, with forward slashes.

    Attributes:
        path: Where they are.
        sizes: Bytes of each.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes: dict[str, int] = {}

    @abstractmethod
    def _open(self, name: str) -> AbstractContextManager[IO[bytes]]: ...

    def sha256(self, name: str) -> str:
        """Hash of a file, read piece by piece.

        Raises:
            BundleError: If it cannot be read whole.
        """
        digest = hashlib.sha256()
        for piece in self._pieces(name):
            digest.update(piece)
        return digest.hexdigest()

    def read(self, name: str) -> bytes:
        """A file, whole.

        Raises:
            BundleError: If it cannot be read whole.
        """
        return b"".join(self._pieces(name))

    def _pieces(self, name: str) -> Iterator[bytes]:
        with _as_bundle_error(self.path / name), self._open(name) as file:
            left = self.sizes[name]
            # A folder's file may have grown since: never read without end.
            while piece := file.read(min(_PIECE, left + 1)):
                left -= len(piece)
                if left < 0:
                    raise BundleError(f"{self.path / name} grew while it was read.")
                yield piece
            if left:
                raise BundleError(f"{self.path / name} ends {left:,} bytes early.")

    def _limit(self) -> None:
        if len(self.sizes) > MOST_FILES:
            raise BundleError(f"{self.path} holds {len(self.sizes):,} files: a bundle has fewer.")
        total = sum(self.sizes.values())
        if total > MOST_BYTES:
            raise BundleError(
                f"{self.path} would unpack to {total:,} bytes; {MOST_BYTES:,} are allowed."
            )


class FolderArchive(Archive):
    """The files below a folder. Links are followed, as hubs' caches are made of them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with _as_bundle_error(path):
            for count, path_below in enumerate(path.rglob("*")):
                if count > 10 * MOST_FILES:
                    raise BundleError(f"{path} holds more files than any bundle: name its folder.")
                name = path_below.relative_to(path).as_posix()
                status = path_below.stat()
                if stat.S_ISDIR(status.st_mode) or is_litter(name):
                    continue
                if not stat.S_ISREG(status.st_mode):  # a pipe would never end
                    raise BundleError(f"{path_below} is not a regular file.")
                self.sizes[name] = status.st_size
        self._limit()

    def _open(self, name: str) -> IO[bytes]:
        return (self.path / name).open("rb")


class ZipArchive(Archive):
    """The files of a `.zip`, read in place; all of them may lie in one folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._names: dict[str, str] = {}
        with _as_bundle_error(path), zipfile.ZipFile(path) as archive:
            members = [(info, _with_slashes(info.filename)) for info in archive.infolist()]
        files = [(i, name) for i, name in members if not name.endswith("/") and not is_litter(name)]
        top = _common_folder([name for _, name in files])
        for info, name in files:
            self._take(info, name.removeprefix(top))
        self._limit()

    def _take(self, info: zipfile.ZipInfo, name: str) -> None:
        if name in self.sizes:
            raise BundleError(f"{self.path} holds {name} twice.")
        if info.flag_bits & 0x1:
            raise BundleError(f"{self.path}: {name} is encrypted.")
        if info.file_size > max(_PIECE, MOST_SQUEEZED * info.compress_size):
            raise BundleError(
                f"{self.path}: {name} would grow from {info.compress_size:,} to"
                f" {info.file_size:,} bytes. No bundle of this project does; it was not unpacked."
            )
        self.sizes[name] = info.file_size
        self._names[name] = info.filename

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        with zipfile.ZipFile(self.path) as archive, archive.open(self._names[name]) as file:
            yield file


def open_archive(path: Path) -> Archive:
    """The files of a folder or of a `.zip`.

    Raises:
        BundleError: If there is neither.
    """
    if path.is_dir():
        return FolderArchive(path)
    if path.is_file():
        return ZipArchive(path)
    raise BundleError(f"Nothing is at {path}: name its folder or its .zip.")


def is_litter(name: str) -> bool:
    """Whether a system put a file of this name there, and nobody reads it."""
    parts = name.split("/")
    return ".." not in parts and any(is_hidden_or_system(part) for part in parts)


def _with_slashes(name: str) -> str:
    r"""Some programs on Windows write `tiers\tier1.tflite` or `.\tiers`, against the rules."""
    return name.replace("\\", "/").removeprefix("./")


def _common_folder(names: list[str]) -> str:
    tops = {name.partition("/")[0] + "/" for name in names}
    return tops.pop() if len(tops) == 1 and all("/" in name for name in names) else ""


@contextmanager
def _as_bundle_error(path: Path) -> Iterator[None]:
    """Raise whatever goes wrong with files as a `BundleError`."""
    try:
        yield
    except BundleError:
        raise
    except Exception as error:  # zipfile raises nearly anything on damaged archives
        reason = getattr(error, "strerror", None) or error
        raise BundleError(
            f"{path} cannot be read ({reason}). Get the bundle again from where it came."
        ) from error
