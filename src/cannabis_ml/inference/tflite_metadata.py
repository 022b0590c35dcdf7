"""The project's card in a TFLite file, and whether the file holds together.

A TFLite file is a FlatBuffer (https://flatbuffers.dev/internals): every reference is an offset
forward from where it stands. A card is therefore added by putting a new root in front of the old
file: no tensor moves relative to another, weights keep their alignment, and no schema is needed
but the few fields named here (schema.fbs of TensorFlow Lite, version 3).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from cannabis_ml.errors import ExportError
from cannabis_ml.inference import seal

KEY = "cannabis_ml"
"""Name of the metadata entry that holds the card."""

IDENTIFIER = b"TFL3"

# Fields by number: Model, SubGraph, Tensor, Operator, Buffer, Metadata, SignatureDef, TensorMap.
_VERSION, _OPCODES, _SUBGRAPHS, _DESCRIPTION, _BUFFERS, _METADATA_BUFFER, _METADATA = range(7)
_SIGNATURES = 7
_MODEL_FIELDS = 8
_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS = range(4)
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_SPARSITY = 0, 1, 2, 6
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = range(3)
_LARGE_OPTIONS = 9
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = range(3)
_METADATA_NAME, _METADATA_INDEX = range(2)
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS, _SIGNATURE_KEY, _, _SIGNATURE_SUBGRAPH = range(5)
_MAP_NAME, _MAP_TENSOR = range(2)

# Bytes of an element by TensorType; packed 4-bit, 2-bit and string tensors are not counted.
_ITEM = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 8: 8, 9: 1, 10: 8, 12: 8, 15: 4, 16: 2, 18: 2}

_MOST_REFERENCES = 5_000_000

_LARGEST_TENSOR = 1 << 30
"""Bytes. A photo of 1024 pixels with 256 channels of float32 has as many; phones hold no more."""

_ALIGNMENT = 64
"""What the old file is moved by is a multiple of this; weights lie at multiples of 16."""


class _BrokenError(ValueError):
    """An offset or a count leads out of the file."""


class _File:
    """A FlatBuffer, every read of which is checked against its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._followed = 0

    def spend(self, references: int) -> None:
        """Count what is followed: tables that name each other over and over would never end."""
        self._followed += references
        if self._followed > _MOST_REFERENCES:
            raise _BrokenError("more references than a network has")

    def read(self, kind: str, at: int) -> int:
        if at < 0:
            raise _BrokenError(f"offset {at}")
        try:
            return int(struct.unpack_from(f"<{kind}", self.data, at)[0])
        except struct.error:
            raise _BrokenError(f"offset {at:,}") from None

    def follow(self, at: int) -> int:
        """Where the offset at a place leads."""
        return at + self.read("I", at)

    def root(self) -> _Table:
        if self.data[4:8] != IDENTIFIER:
            raise _BrokenError("no TFLite identifier")
        return _Table(self, self.follow(0))


class _Table:
    def __init__(self, file: _File, at: int) -> None:
        self.file, self.at = file, at
        self._vtable = at - file.read("i", at)
        self._size = file.read("H", self._vtable)
        if self._size < 4 or self._size % 2:
            raise _BrokenError(f"table at {at:,}")

    @property
    def fields(self) -> int:
        """How many fields the schema that it was written by knew, at most."""
        return (self._size - 4) // 2

    def place(self, field: int) -> int | None:
        """Where a field stands; None where it has its default."""
        if field >= self.fields:
            return None
        offset = self.file.read("H", self._vtable + 4 + 2 * field)
        return self.at + offset if offset else None

    def number(self, field: int, kind: str = "I") -> int:
        place = self.place(field)
        return 0 if place is None else self.file.read(kind, place)

    def vector(self, field: int, item: int) -> tuple[int, int]:
        """Where the items of a vector start, and how many there are."""
        place = self.place(field)
        if place is None:
            return 0, 0
        start = self.file.follow(place)
        count = self.file.read("I", start)
        if start + 4 + count * item > len(self.file.data):
            raise _BrokenError(f"{count:,} items at {start:,}")
        if item > 1:
            self.file.spend(count)
        return start + 4, count

    def numbers(self, field: int) -> list[int]:
        start, count = self.vector(field, 4)
        return list(struct.unpack_from(f"<{count}i", self.file.data, start))

    def tables(self, field: int) -> list[_Table]:
        start, count = self.vector(field, 4)
        return [_Table(self.file, self.file.follow(start + 4 * i)) for i in range(count)]

    def raw(self, field: int) -> bytes:
        start, count = self.vector(field, 1)
        return self.file.data[start : start + count]


def read(data: bytes) -> dict[str, Any] | None:
    """The card of a TFLite file; None where it has none.

    Raises:
        ExportError: If the file or its card is damaged.
    """
    with _Told():
        place = _card_place(data)
    return None if place is None else seal.read_card(data[place[0] : place[1]])


def write(data: bytes, card: Mapping[str, Any]) -> bytes:
    """The file with a card, sealed; one that it had is replaced.

    Args:
        data: A TFLite file.
        card: JSON-able.

    Raises:
        ExportError: If the file is damaged, or is made of parts that cannot be moved.
    """
    text = seal.sealable(card)
    with _Told():
        prefix, end = _prefix(_File(data), text)
        moved = _moved(data, len(prefix))
    return seal.closed(prefix + moved, end)


def seal_state(data: bytes) -> Literal["whole", "altered", "none"]:
    """Whether the file is as `write` left it; `none` where it has no sealed card.

    Raises:
        ExportError: If the file is damaged.
    """
    with _Told():
        place = _card_place(data)
    return "none" if place is None else seal.state(data, place[1])


def check(data: bytes) -> None:
    """Follow all references of the file: none may lead out of it or to what is not there.

    What an operator does with its options is the interpreter's to check.

    Raises:
        ExportError: If one does.
    """
    with _Told():
        _check(_File(data))


class _Told:
    """Turns a broken reference into an error for people."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, _BrokenError):
            raise ExportError(
                f"This is no whole TFLite file ({error}): it is damaged, cut short or something"
                " else. Export it again, or restore it from where it was copied."
            ) from error


def _card_place(data: bytes) -> tuple[int, int] | None:
    """Where the text of the card starts and ends."""
    root = _File(data).root()
    buffers = None
    for entry in root.tables(_METADATA):
        if entry.raw(_METADATA_NAME) == KEY.encode():
            buffers = buffers or root.tables(_BUFFERS)
            index = entry.number(_METADATA_INDEX)
            if index >= len(buffers):
                raise _BrokenError(f"metadata in buffer {index}")
            start, count = buffers[index].vector(_BUFFER_DATA, 1)
            return start, start + count
    return None


def _prefix(file: _File, text: bytes) -> tuple[bytes, int]:
    """The new root, and where the text ends in it.

    The order is: root offset, identifier, table of fields, Model, its vectors of buffers and of
    metadata, the Metadata entry, its name, the Buffer, the text, padding; then the old file.
    """
    old = file.root()
    if old.fields > _MODEL_FIELDS:
        raise ExportError("The TFLite file is newer than this project: update cannabis_ml.")
    kept = [m for m in old.tables(_METADATA) if m.raw(_METADATA_NAME) != KEY.encode()]
    buffers = [b.at for b in old.tables(_BUFFERS)]
    name = KEY.encode() + b"\0"

    model = 28
    buffer_vector = model + 4 + 4 * _MODEL_FIELDS
    metadata_vector = buffer_vector + 4 + 4 * (len(buffers) + 1)
    metadata = metadata_vector + 4 + 4 * (len(kept) + 1) + 8  # after its table of fields
    name_at = metadata + 12
    buffer = _rounded(name_at + 4 + len(name), 4) + 8  # as well
    text_at = _rounded(buffer + 8 + 4, 16)
    size = _rounded(text_at + len(text), _ALIGNMENT)

    out = bytearray(size)
    struct.pack_into("<I4s", out, 0, model, IDENTIFIER)
    present = [old.place(field) is not None for field in range(_MODEL_FIELDS)]
    present[_BUFFERS] = present[_METADATA] = True
    places = [4 + 4 * field if present[field] else 0 for field in range(_MODEL_FIELDS)]
    struct.pack_into("<10H", out, 8, 20, buffer_vector - model, *places)
    struct.pack_into("<i", out, model, model - 8)
    for field in (f for f in range(_MODEL_FIELDS) if present[f]):
        at = model + places[field]
        targets = {_BUFFERS: buffer_vector, _METADATA: metadata_vector}
        if field == _VERSION:
            value = old.number(_VERSION)
        elif field in targets:
            value = targets[field] - at
        else:
            value = size + file.follow(old.place(field) or 0) - at
        struct.pack_into("<I", out, at, value)
    _pack_vector(out, buffer_vector, [*(size + at for at in buffers), buffer])
    _pack_vector(out, metadata_vector, [*(size + m.at for m in kept), metadata])
    struct.pack_into("<4H", out, metadata - 8, 8, 12, 4, 8)
    struct.pack_into("<iII", out, metadata, 8, name_at - metadata - 4, len(buffers))
    struct.pack_into(f"<I{len(name)}s", out, name_at, len(name) - 1, name)
    struct.pack_into("<3H", out, buffer - 8, 6, 8, 4)
    struct.pack_into("<iI", out, buffer, 8, text_at - 4 - buffer - 4)
    struct.pack_into(f"<I{len(text)}s", out, text_at - 4, len(text), text)
    return bytes(out), text_at + len(text)


def _pack_vector(out: bytearray, at: int, targets: list[int]) -> None:
    struct.pack_into("<I", out, at, len(targets))
    for i, target in enumerate(targets):
        place = at + 4 + 4 * i
        struct.pack_into("<I", out, place, target - place)


def _moved(data: bytes, by: int) -> bytes:
    """The old file as it must be `by` bytes further on: offsets from the file's start are raised.

    Large weights may lie behind the FlatBuffer; these alone are found from the file's start.
    """
    file, moved = _File(data), bytearray(data)
    root = file.root()
    for buffer in root.tables(_BUFFERS):
        place = buffer.place(_BUFFER_OFFSET)
        if place is not None and file.read("Q", place) > 1:  # 0 and 1 say "not here"
            struct.pack_into("<Q", moved, place, file.read("Q", place) + by)
    for operator in (o for s in root.tables(_SUBGRAPHS) for o in s.tables(_OPERATORS)):
        if operator.number(_LARGE_OPTIONS, "Q") > 1:
            raise ExportError("The TFLite file has custom operators with large options.")
    return bytes(moved)


def _check(file: _File) -> None:
    root = file.root()
    buffers = root.tables(_BUFFERS)
    sizes = [_buffer_size(file, buffer) for buffer in buffers]
    codes = root.vector(_OPCODES, 4)[1]
    subgraphs = root.tables(_SUBGRAPHS)
    if root.number(_VERSION) != 3 or not subgraphs or not codes:
        raise _BrokenError("no graph of version 3")
    for graph in subgraphs:
        _check_graph(graph, sizes, codes)
    for signature in root.tables(_SIGNATURES):
        if signature.number(_SIGNATURE_SUBGRAPH) >= len(subgraphs):
            raise _BrokenError("a signature of no graph")
        graph = subgraphs[signature.number(_SIGNATURE_SUBGRAPH)]
        tensors = graph.vector(_TENSORS, 4)[1]
        signature.raw(_SIGNATURE_KEY)
        for entry in (*signature.tables(_SIGNATURE_INPUTS), *signature.tables(_SIGNATURE_OUTPUTS)):
            entry.raw(_MAP_NAME)
            if entry.number(_MAP_TENSOR) >= tensors:
                raise _BrokenError("a signature of no tensor")


def _buffer_size(file: _File, buffer: _Table) -> int:
    """Bytes of a buffer, here or behind the FlatBuffer."""
    offset, size = buffer.number(_BUFFER_OFFSET, "Q"), buffer.number(_BUFFER_SIZE, "Q")
    if offset > 1:
        if offset + size > len(file.data):
            raise _BrokenError(f"{size:,} bytes at {offset:,}")
        return size
    return buffer.vector(_BUFFER_DATA, 1)[1]


def _check_graph(graph: _Table, sizes: list[int], codes: int) -> None:
    tensors = graph.tables(_TENSORS)
    for tensor in tensors:
        _check_tensor(tensor, sizes)
    for indices in _tensor_lists(graph):
        if any(not -1 <= i < len(tensors) for i in indices):  # -1: an input left out
            raise _BrokenError("a reference to no tensor")
    for operator in graph.tables(_OPERATORS):
        if operator.number(_OPERATOR_CODE) >= codes:
            raise _BrokenError("an operator without a kind")


def _tensor_lists(graph: _Table) -> Iterator[list[int]]:
    yield graph.numbers(_INPUTS)
    yield graph.numbers(_OUTPUTS)
    for operator in graph.tables(_OPERATORS):
        yield operator.numbers(_OPERATOR_INPUTS)
        yield operator.numbers(_OPERATOR_OUTPUTS)


def _check_tensor(tensor: _Table, sizes: list[int]) -> None:
    index = tensor.number(_TENSOR_BUFFER)
    if index >= len(sizes):
        raise _BrokenError(f"a tensor in buffer {index}")
    item = _ITEM.get(tensor.number(_TENSOR_TYPE, "b"))
    needed = item or 1
    for side in tensor.numbers(_TENSOR_SHAPE):
        needed *= side
    # An interpreter sets out to fill whatever size stands here.
    if not 0 <= needed <= _LARGEST_TENSOR:
        raise _BrokenError(f"a tensor of {needed:,} bytes")
    is_dense = item is not None and tensor.place(_TENSOR_SPARSITY) is None
    if sizes[index] and is_dense and needed != sizes[index]:
        raise _BrokenError(f"a tensor of {needed:,} bytes in {sizes[index]:,}")


def _rounded(at: int, to: int) -> int:
    return -(-at // to) * to
