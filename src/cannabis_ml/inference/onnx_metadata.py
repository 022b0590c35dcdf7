"""The project's card in an ONNX file, and whether the file holds together.

An ONNX file is one Protocol Buffers message: fields one after the other, each with a number and,
where it needs one, a length (https://protobuf.dev/programming-guides/encoding). The card is an
entry of `metadata_props`, so reading and writing it takes neither the onnx package nor a copy of
the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from cannabis_ml.errors import ExportError
from cannabis_ml.inference import seal

KEY = "cannabis_ml"
"""Key of the entry in `metadata_props` that holds the card."""

# Field numbers of onnx.proto: ModelProto, GraphProto, TensorProto, StringStringEntryProto.
_GRAPH, _OPSET_IMPORT, _METADATA = 7, 8, 14
_NODE, _INITIALIZER = 1, 5
_DATA_LOCATION = 14
_KEY, _VALUE = 1, 2

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


class _Field(NamedTuple):
    """A field of a message: where it starts with its tag, its content and its end."""

    number: int
    start: int
    content: int
    end: int
    value: int  # of a varint


class _BrokenError(ValueError):
    """A field leads out of the file."""


def read(data: bytes) -> dict[str, Any] | None:
    """The card of an ONNX file; None where it has none.

    Raises:
        ExportError: If the file or its card is damaged.
    """
    place = _card_place(data)
    return None if place is None else seal.read_card(data[place[0] : place[1]])


def write(data: bytes, card: Mapping[str, Any]) -> bytes:
    """The file with a card, sealed; one that it had is replaced.

    Args:
        data: An ONNX file.
        card: JSON-able.

    Raises:
        ExportError: If the file is damaged.
    """
    text, key = seal.sealable(card), KEY.encode()
    entry = _tagged(_KEY, key) + _tagged(_VALUE, text)
    parts, at = [], 0
    for start, end in [(f.start, f.end) for f in _entries(data) if _key(data, f) == key]:
        parts.append(data[at:start])
        at = end
    bare = b"".join([*parts, data[at:]])
    written = bare + _tagged(_METADATA, entry)
    return seal.closed(written, len(written))


def seal_state(data: bytes) -> Literal["whole", "altered", "none"]:
    """Whether the file is as `write` left it; `none` where it has no sealed card.

    Raises:
        ExportError: If the file is damaged.
    """
    place = _card_place(data)
    return "none" if place is None else seal.state(data, place[1])


def check(data: bytes) -> None:
    """See that the file is one whole message with a graph whose weights are all inside.

    Raises:
        ExportError: If it is not. Weights in other files are refused: a model could name any file
            of the machine.
    """
    try:
        fields = list(_fields(data, 0, len(data)))
        graphs = [f for f in fields if f.number == _GRAPH and f.content < f.end]
        if not graphs or not any(f.number == _OPSET_IMPORT for f in fields):
            raise _BrokenError("no graph")
        inside = [f for graph in graphs for f in _fields(data, graph.content, graph.end)]
        if not any(f.number == _NODE for f in inside):
            raise _BrokenError("a graph without nodes")
        for tensor in (f for f in inside if f.number == _INITIALIZER):
            for field in _fields(data, tensor.content, tensor.end):
                if field.number == _DATA_LOCATION and field.value:
                    raise ExportError("The ONNX file keeps weights in other files: not read.")
    except _BrokenError as error:
        raise _told(error) from error


def _card_place(data: bytes) -> tuple[int, int] | None:
    for entry in _entries(data):
        if _key(data, entry) == KEY.encode():
            for field in _fields(data, entry.content, entry.end):
                if field.number == _VALUE:
                    return field.content, field.end
    return None


def _entries(data: bytes) -> list[_Field]:
    try:
        fields = list(_fields(data, 0, len(data)))
        for field in fields:  # all of them: a cut within one must show
            if field.number == _METADATA:
                list(_fields(data, field.content, field.end))
    except _BrokenError as error:
        raise _told(error) from error
    return [field for field in fields if field.number == _METADATA]


def _key(data: bytes, entry: _Field) -> bytes | None:
    for field in _fields(data, entry.content, entry.end):
        if field.number == _KEY:
            return data[field.content : field.end]
    return None


def _fields(data: bytes, at: int, end: int) -> Iterator[_Field]:
    """The fields of the message between two places.

    Raises:
        _BrokenError: If they do not end where the message does.
    """
    while at < end:
        start = at
        tag, at = _varint(data, at, end)
        number, kind, value = tag >> 3, tag & 7, 0
        if kind == _VARINT:
            content = at
            value, at = _varint(data, at, end)
        elif kind == _BYTES:
            length, content = _varint(data, at, end)
            at = content + length
        elif kind in _FIXED:
            content, at = at, at + _FIXED[kind]
        else:
            raise _BrokenError(f"byte {start:,}")
        if at > end or not number:
            raise _BrokenError(f"byte {start:,}")
        yield _Field(number, start, content, at, value)


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if at + i >= end:
            break
        byte = data[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise _BrokenError(f"byte {at:,}")


def _tagged(number: int, content: bytes) -> bytes:
    return _as_varint(number << 3 | _BYTES) + _as_varint(len(content)) + content


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _told(error: _BrokenError) -> ExportError:
    return ExportError(
        f"This is no whole ONNX file ({error}): it is damaged, cut short or something else."
        " Export it again, or restore it from where it was copied."
    )
