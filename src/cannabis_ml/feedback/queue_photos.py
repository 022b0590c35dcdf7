"""Photos of the queue that the store does not have yet: read, cleaned, and stored."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cannabis_ml._io.file_names import on_disk
from cannabis_ml.errors import FeedbackRefusedError
from cannabis_ml.feedback.photo_cleaning import clean_photo
from cannabis_ml.feedback.queue_rows import Found, add_photo, is_erased
from cannabis_ml.feedback.review_queue import QueueEntry
from cannabis_ml.feedback.taking import find_photo

if TYPE_CHECKING:
    from cannabis_ml.feedback.store import FeedbackStore

logger = logging.getLogger(__name__)


def find_entry(store: FeedbackStore, entry: QueueEntry) -> Found | None:
    """Find the photo of an entry, or take it from its path and write its file.

    Returns:
        None if it cannot be read or taken in, or was erased; the log has the reason.
    """
    with store.database.reading() as connection:
        row = find_photo(connection, entry.photo_id)
        if row is not None and row.kept:
            return Found(entry, row.photo_id, None)
        erased = is_erased(connection, entry.photo_id)
    if erased or not entry.path:
        return None
    try:
        data = on_disk(entry.path).read_bytes()
        limits = store.limits
        clean = clean_photo(data, max_bytes=limits.photo_bytes, max_pixels=limits.photo_pixels)
    except (OSError, FeedbackRefusedError) as error:
        logger.warning("%s is not put up for review: %s", entry.path, error)
        return None
    # The file first: a row without its file would be a loss, a file without a row is swept up.
    store.files.put(clean)
    return Found(entry, clean.photo_id, clean)


def restore_files(store: FeedbackStore, found: Iterable[Found]) -> None:
    """Write files again that somebody's erasure removed between file and row."""
    for one in found:
        if one.clean is None or store.files.holds(one.photo_id, one.clean.suffix):
            continue
        with store.database.reading() as connection:
            row = find_photo(connection, one.photo_id)
        if row is not None and row.kept:
            store.files.put(one.clean)


def add_exported(store: FeedbackStore, data: bytes, sent_sha256: str) -> None:
    """Take in a photo of an export that nobody sent, unless it was erased here.

    Raises:
        FeedbackRefusedError: If it is not a photo.
    """
    limits, now = store.limits, store.clock()
    clean = clean_photo(data, max_bytes=limits.photo_bytes, max_pixels=limits.photo_pixels)
    store.files.put(clean)
    store.database.write(lambda c: add_photo(c, store.database, clean, sent_sha256, now))
