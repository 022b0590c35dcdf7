"""The store of feedback in the catalog."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import TablePreview

from cannabis_ml._io.files import written_aside
from cannabis_ml._io.remote import is_remote
from cannabis_ml.datasets.table import table_preview

if TYPE_CHECKING:
    from cannabis_ml.feedback.params import StoreLimits
    from cannabis_ml.feedback.snapshot import FeedbackSnapshot
    from cannabis_ml.feedback.store import FeedbackStore


class FeedbackStoreDataset(AbstractDataset[None, "FeedbackSnapshot"]):
    """Reads the store as tables; people write it through `cannabis_ml.feedback.store`.

    A store that is not there yet is empty, and is not made by reading it.

    Args:
        url: `sqlite:///path/to/feedback.db`, relative to the project, or `postgresql://…`; with a
            password, give it under `credentials`.
        photos: Folder, or address that fsspec knows, of the photos; beside the database file where
            not given.
        cache: Local folder for copies of photos that lie on another file system.
        credentials: `url` in place of the one above, and `photos`: options of the file system.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        photos: str | None = None,
        cache: str | None = None,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, object] | None = None,
    ) -> None:
        secret = credentials or {}
        self.metadata = metadata
        self._url = str(secret.get("url") or url or "")
        if not self._url:
            raise DatasetError("A feedback store needs `url`, or credentials with a `url`.")
        self._photos, self._photo_options = photos, secret.get("photos")
        self._cache = cache

    def open(self, limits: StoreLimits | None = None) -> FeedbackStore:
        """The store itself, made where there is none.

        Args:
            limits: What it takes in; those of `StoreLimits` where not given.
        """
        from cannabis_ml.feedback.store import FeedbackStore

        file = self._file()
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        return FeedbackStore(
            self._url, self._photos, photo_credentials=self._photo_options, limits=limits
        )

    def load(self) -> FeedbackSnapshot:
        from cannabis_ml.feedback.snapshot import FeedbackSnapshot, snapshot_of

        if not self._exists():
            return FeedbackSnapshot()
        with self.open() as store:
            snapshot = snapshot_of(store)
            return replace(snapshot, paths=self._local(store, snapshot.paths))

    def save(self, data: None) -> NoReturn:
        raise DatasetError("People write the store, pipelines read it.")

    def preview(self, nrows: int = 10) -> TablePreview:
        """The first opinions, for kedro-viz."""
        return table_preview(self.load().opinions.head(nrows))

    def _local(self, store: FeedbackStore, addresses: dict[str, str]) -> dict[str, str]:
        return {
            photo_id: str(self._copied(store, photo_id, Path(address).suffix))
            if is_remote(address)
            else address
            for photo_id, address in addresses.items()
        }

    def _copied(self, store: FeedbackStore, photo_id: str, suffix: str) -> Path:
        if self._cache is None:
            raise DatasetError(
                "The photos of this feedback store lie on another file system: name a local folder"
                " for copies, `cache` of `feedback_store` in globals.yml."
            )
        path = Path(self._cache).absolute() / photo_id[:2] / f"{photo_id}{suffix}"
        if not path.is_file():
            with written_aside(path) as aside:
                aside.write_bytes(store.photo(photo_id))
        return path

    def _file(self) -> Path | None:
        """The database file; None for a server."""
        from sqlalchemy.engine import make_url

        url = make_url(self._url)
        if url.get_backend_name() != "sqlite" or not url.database:
            return None
        if is_remote(url.database):
            raise DatasetError(
                f"The store of feedback is a database, which cannot lie at {url.database}.\nName"
                " one under feedback_store.url in globals.yml: a file of this machine,"
                " sqlite:///PATH, or a server, postgresql://USER@HOST/NAME. Its photos may lie on"
                " object storage (feedback_store.photos)."
            )
        return Path(url.database)

    def _exists(self) -> bool:
        file = self._file()
        return file is None or file.is_file()

    def _describe(self) -> dict[str, object]:
        from sqlalchemy.engine import make_url

        return {"url": make_url(self._url).render_as_string(hide_password=True)}
