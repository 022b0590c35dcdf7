"""Object storage as fsspec file systems, on pyarrow's clients: `s3://`, `gs://` and `az://`.

An object appears under its name when all of it was uploaded, or not at all. What goes wrong is
explained; nothing but an object that is not there counts as missing.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

from fsspec import AbstractFileSystem

from cannabis_ml._io import storage_errors
from cannabis_ml.errors import StorageError

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

COPIED_BYTES = 1 << 20
"""Bytes read or written at a time."""


class ObjectStorage(AbstractFileSystem):
    """A file system of buckets and objects; folders are what names of objects have in common.

    Connects when it is first used, and anew in a process that was forked.
    """

    writes_whole: ClassVar[bool] = True
    """An object is there whole or not at all: no need to write aside and to rename."""

    OPTIONS: ClassVar[frozenset[str]]
    """Names of the options that credentials may have."""

    SERVICE: ClassVar[str]
    """Name of the service, for messages."""

    cachable = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._options = options
        self._connected: tuple[int, FileSystem] | None = None

    @abstractmethod
    def _connect(self) -> FileSystem:
        """Make pyarrow's client."""

    @abstractmethod
    def _searched(self) -> str:
        """Where credentials were looked for, and what was found there; never a secret."""

    @property
    def _arrow(self) -> FileSystem:
        if self._connected is None or self._connected[0] != os.getpid():
            unknown = sorted(set(self._options) - self.OPTIONS)
            if unknown:
                raise storage_errors.unknown_options(self.SERVICE, unknown, sorted(self.OPTIONS))
            self._connected = (os.getpid(), self._connect())
        return self._connected[1]

    @contextmanager
    def _explained(self, doing: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            missing = isinstance(error, FileNotFoundError) and doing != "write"
            if missing or isinstance(error, StorageError):
                raise
            tried = storage_errors.Tried(doing, self.unstrip_protocol(path), self.SERVICE)
            raise storage_errors.failure(error, tried, self._searched()) from error

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        _, _, rest = str(path).rpartition("://")
        return rest.strip("/")

    def unstrip_protocol(self, name: str) -> str:
        return f"{self._protocols()[0]}://{self._strip_protocol(name)}"

    @classmethod
    def _protocols(cls) -> tuple[str, ...]:
        return (cls.protocol,) if isinstance(cls.protocol, str) else tuple(cls.protocol)

    # What is there

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        with self._explained("look for", path):
            (found,) = self._arrow.get_file_info([path])
        if found.type.name == "NotFound":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return _entry(found)

    def exists(self, path: str, **_: Any) -> bool:
        return self._kind(path) is not None

    def isfile(self, path: str) -> bool:
        return self._kind(path) == "file"

    def isdir(self, path: str) -> bool:
        return self._kind(path) == "directory"

    def _kind(self, path: str) -> str | None:
        """`file`, `directory` or None; whatever else goes wrong is not a missing file."""
        try:
            return str(self.info(path)["type"])
        except FileNotFoundError:
            return None

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        path = self._strip_protocol(path)
        found = self.find(path, maxdepth=1, withdirs=True, detail=True)
        if not found:
            self.info(path)  # an empty folder, or none
        return list(found.values()) if detail else list(found)

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **_: Any,
    ) -> Any:
        """All objects below a path, in one listing; folders are made up from their names."""
        path = self._strip_protocol(path)
        listed = self._listed(path)
        entries = {f.path: _entry(f) for f in listed if f.type.name == "File"}
        if not entries and self._kind(path) == "file":
            entries = {path: self.info(path)}
        if withdirs:
            for name in list(entries):
                while (name := posixpath.dirname(name)) and len(name) > len(path):
                    entries[name] = {"name": name, "size": 0, "type": "directory"}
        if maxdepth is not None:
            base = path.count("/")
            entries = {n: e for n, e in entries.items() if n.count("/") - base <= maxdepth}
        names = sorted(entries)
        return {name: entries[name] for name in names} if detail else names

    def _listed(self, path: str) -> list[FileInfo]:
        from pyarrow.fs import FileSelector

        selector = FileSelector(path, recursive=True, allow_not_found=True)
        with self._explained("list", path):
            found: list[FileInfo] = self._arrow.get_file_info(selector)
        return found

    def modified(self, path: str) -> datetime:
        when: datetime = self.info(path)["mtime"]
        return when

    # Reading

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        path = self._strip_protocol(path)
        if mode == "wb":
            return Upload(lambda source: self._send(source, path))
        if mode != "rb":
            raise ValueError(f"An object can be read or written anew, not opened as {mode!r}.")
        with self._explained("read", path):
            return self._arrow.open_input_file(path)

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "w":
            return super().open(path, mode, **options)
        text = {k: options[k] for k in ("encoding", "errors", "newline") if k in options}
        return TextUpload(self._open(path, "wb"), **text)

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        path = self._strip_protocol(rpath)
        with (
            self._explained("read", path),
            self._arrow.open_input_stream(path, compression=None) as source,
            Path(lpath).open("wb") as target,
        ):
            shutil.copyfileobj(source, target, COPIED_BYTES)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> Any:
        if start is not None or end is not None:
            return super().cat_file(path, start, end)
        path = self._strip_protocol(path)
        with (
            self._explained("read", path),
            self._arrow.open_input_stream(path, compression=None) as source,
        ):
            return source.read()

    # Writing

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        with Path(lpath).open("rb") as source:
            self._send(source, self._strip_protocol(rpath))

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        self._send(io.BytesIO(value), self._strip_protocol(path))

    def _send(self, source: IO[bytes], path: str) -> None:
        """Upload all that is in a file.

        In one call: what pyarrow could not send whole, it does not put under the name; what it got
        in pieces, it would, when an error ends the pieces early.
        """
        import pyarrow as pa

        if isinstance(source, io.BytesIO):
            content = pa.py_buffer(source.getvalue())
        elif os.fstat(source.fileno()).st_size:
            import mmap

            content = pa.py_buffer(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ))
        else:
            content = pa.py_buffer(b"")
        with self._explained("write", path):
            target = self._arrow.open_output_stream(path, compression=None)
            target.write(content)
            target.close()

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing to do: folders are there when something is in them."""

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Nothing to do, as for `makedirs`."""

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        with self._explained("write", target):
            self._arrow.copy_file(source, target)

    def mv(self, path1: str, path2: str, **_: Any) -> None:
        self.cp_file(path1, path2)
        self.rm_file(path1)

    def rm_file(self, path: str) -> None:
        path = self._strip_protocol(path)
        with self._explained("remove", path):
            self._arrow.delete_file(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        for one in map(self._strip_protocol, path if isinstance(path, list) else [path]):
            if self._kind(one) != "directory":
                self.rm_file(one)
            elif not recursive:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), one)
            else:
                # Google's client has removed all by the time that it misses the folder itself.
                with suppress(FileNotFoundError), self._explained("remove", one):
                    self._arrow.delete_dir(one)
                for name in self.find(one):
                    self.rm_file(name)


class Upload(io.BufferedIOBase):
    """A file to write to, uploaded when it is closed; after an error, and forgotten, it is not.

    Args:
        send: Uploads what is in a file.
    """

    def __init__(self, send: Callable[[IO[bytes]], None]) -> None:
        self._send, self._kept = send, True
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `close`

    def discard(self) -> None:
        """Upload nothing."""
        self._kept = False

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        with self._file:
            self._file.flush()
            if self._kept:
                self._send(self._file)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.discard()
        self.close()

    def __del__(self) -> None:
        if not self.closed:
            self.discard()
            self.close()


class TextUpload(io.TextIOWrapper):
    """`Upload` of text."""

    def __exit__(self, kind: object, *rest: Any) -> None:
        if kind is not None:
            self.buffer.discard()  # type: ignore[attr-defined]
        self.close()


def _entry(found: FileInfo) -> dict[str, Any]:
    kind = "directory" if found.type.name == "Directory" else "file"
    return {"name": found.path, "size": found.size or 0, "type": kind, "mtime": found.mtime}
