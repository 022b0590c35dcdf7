"""Write the card and the SHA-256 of a model file; `cannabis_ml.inference.seal` reads them."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace

from cannabis_ml.errors import ExportError
from cannabis_ml.inference.cards import FileCard
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.seal import CARD_FILE, DIGEST_BYTES, KEY

SHA256 = "sha256"
"""Key of the SHA-256 in the metadata of an ONNX file."""


def with_card(model: ModelFile, card: FileCard) -> ModelFile:
    """The same model with this card and its SHA-256; a card that it had is replaced.

    Args:
        model: A file of any exporter or quantizer.
        card: To be stored in the file.

    Raises:
        ExportError: If the file is damaged or keeps weights in other files.
    """
    return with_card_text(model, card.model_dump_json())


def with_card_text(model: ModelFile, text: str) -> ModelFile:
    """As `with_card`, for the JSON text of a card."""
    blank = _tflite(model.data, text) if model.format == "tflite" else _onnx(model.data, text)
    body = blank[:-DIGEST_BYTES]
    return replace(model, data=body + hashlib.sha256(body).hexdigest().encode())


def _onnx(data: bytes, text: str) -> bytes:
    """The file with the card and an empty SHA-256 as the last of its bytes."""
    import onnx

    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # of protobuf, which onnx does not name
        raise ExportError(f"This is not a whole ONNX file: {error}.") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ExportError("The ONNX file keeps weights in other files: save it in one.")
    others = [entry for entry in model.metadata_props if entry.key not in (KEY, SHA256)]
    # Messages one after the other are merged: these entries come after all else.
    last = onnx.ModelProto()
    last.metadata_props.add(key=KEY, value=text)
    last.metadata_props.add(key=SHA256, value="0" * DIGEST_BYTES)
    del model.metadata_props[:]
    model.metadata_props.extend(others)
    return model.SerializeToString() + last.SerializeToString()


def _tflite(data: bytes, text: str) -> bytes:
    """The FlatBuffer, then an archive with the card and an empty SHA-256 as its comment."""
    if data[4:8] != b"TFL3":
        raise ExportError("This is not a TFLite file: it does not begin like one.")
    held = io.BytesIO(_without_archive(data))
    with zipfile.ZipFile(held, "a") as archive:
        entry = zipfile.ZipInfo(CARD_FILE, date_time=(1980, 1, 1, 0, 0, 0))
        entry.create_system, entry.external_attr = 3, 0o644 << 16
        archive.writestr(entry, text)
        archive.comment = b"0" * DIGEST_BYTES
    return held.getvalue()


def _without_archive(data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return data[: archive.getinfo(CARD_FILE).header_offset]
    except (zipfile.BadZipFile, KeyError):
        return data
