"""Columns of the tables that the store gives, apart from what reads them from a database."""

from __future__ import annotations

ANSWER_COLUMNS = {
    **dict.fromkeys(("photo_id", "person"), "str"),
    "at": "datetime64[us, UTC]",
    **dict.fromkeys(("bundle_id", "tier", "decision", "head"), "str"),
    "answered": "object",
    "answered_confidence": "float64",
    "probs": "object",
    "audit": "bool",
    "audit_probability": "float64",
}
"""Columns of the table of answers and their types.

`answered` is a label, `answered_confidence` its calibrated confidence (NaN: not given), `probs` a
dict of calibrated probabilities by class (empty: not given), `audit` whether the photo was drawn
uniformly, `audit_probability` with which probability (NaN: not drawn)."""

EMBEDDING_COLUMNS = {
    **dict.fromkeys(("photo_id", "person"), "str"),
    "at": "datetime64[us, UTC]",
    **dict.fromkeys(("bundle_id", "tier"), "str"),
    "embedding": "object",
}
"""Columns of the table of embeddings and their types; `embedding` is float32 (F,)."""

PHOTO_COLUMNS = {
    "photo_id": "str",
    "kept": "bool",
    "address": "str",
    **dict.fromkeys(("bytes", "width", "height"), "int64"),
    "received_at": "datetime64[us, UTC]",
    "sent_sha256": "object",
    **dict.fromkeys(("device", "region"), "str"),
    "metadata": "object",
}
"""Columns of the table of photos and their types.

`address` is a path or an address that fsspec knows, empty where the photo was not kept; `bytes`,
`width` and `height` are then 0. `sent_sha256` is a list: the hashes of the files that it was sent
as. `device`, `region` and `metadata` (a dict) are those of the first submission."""
