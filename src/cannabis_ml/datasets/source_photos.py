"""Photos as they are found, with whatever labels they came with, as one catalog entry."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import TablePreview
from pydantic import ValidationError

from cannabis_ml._io.hub import is_commit
from cannabis_ml.datasets.remote_sources import local_source
from cannabis_ml.datasets.table import table_preview
from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources import ONE_SOURCE, SOURCE_COLUMNS, Source
from cannabis_ml.photo_sets.sources.base import merge_rows
from cannabis_ml.photo_sets.sources.hub import HubSource
from cannabis_ml.photo_sets.sources.sample import SampleSource

_NAME = re.compile(r"[\w.-]+")


class SourcePhotosDataset(AbstractDataset[None, pd.DataFrame]):
    """Photos and raw labels from one source or several.

    Loads a table with a row per photo: `path` as it can be opened, `source` (the name it has under
    `sources`, or its kind), `group` (prefixed with the source's name: groups of different sources
    are different groups) and `given_split` where the source has them (and `keep_splits` does not
    leave them out), and the labels as the
    source's label map leaves them. Labels that only some sources have are missing for the others.
    A photo that several rows list has in each of them the labels of all.

    Args:
        source: `kind` (`sample`, `folder`, `table`, `hub`, `plantvillage`, `plantdoc` or
            `inaturalist`) and the fields of that kind; see cannabis_ml.photo_sets.sources.
        sources: Several, by name, instead of one.
        credentials: Options of the file system, where a path is an address such as `s3://…`.
        cache: Local folder for copies of what lies there; None keeps them until the process ends.
        metadata: For plugins; Kedro ignores it.

    Raises:
        SourceError: Lists everything that is not written as its kind wants it.
    """

    def __init__(
        self,
        source: dict[str, Any] | None = None,
        sources: dict[str, dict[str, Any]] | None = None,
        credentials: dict[str, object] | None = None,
        cache: str | None = None,
        metadata: dict[str, object] | None = None,
    ) -> None:
        self.metadata = metadata
        self._credentials, self._cache = credentials, cache
        if (source is None) == (not sources):
            raise SourceError(
                "The source of photos is not written right: give either `source` (one) or"
                " `sources` (several, by name)."
            )
        self._is_one = source is not None
        self._sources: dict[str, Source] = {}
        faults: list[str] = []
        written: dict[Any, Any] = dict(sources) if sources else {None: source}
        for name, fields in written.items():
            place = f"sources.{name}." if name else ""
            try:
                checked = ONE_SOURCE.validate_python(fields)
            except ValidationError as error:
                faults += [f"{place}{fault}" for fault in _faults(error)]
                continue
            self._sources[str(name or checked.kind)] = checked
            if name and not _NAME.fullmatch(str(name)):
                faults.append(f"{place}: a name has letters, digits, '_', '.' and '-' only")
        if faults:
            raise SourceError(
                "The source of photos is not written right:\n  " + "\n  ".join(faults)
            )

    def load(self) -> pd.DataFrame:
        self._refuse_missing_paths()
        tables = []
        for name, source in self._sources.items():
            try:
                photos = local_source(source, self._credentials, self._cache).read()
            except SourceError as error:
                if self._is_one:
                    raise
                raise SourceError(f"Source '{name}': {error}") from error
            photos["group"] = f"{name}/" + photos["group"]
            if not source.keep_splits:
                photos["given_split"] = pd.Series(None, index=photos.index, dtype="str")
            photos["source"] = pd.Series(name, index=photos.index, dtype="str")
            tables.append(photos)
        photos = pd.concat(tables, ignore_index=True)
        labels = [column for column in photos.columns if column not in SOURCE_COLUMNS]
        return merge_rows(photos[[*SOURCE_COLUMNS, *labels]], labels)

    @property
    def drawn_sizes(self) -> dict[str, int]:
        """Side in pixels of the photos that are drawn, by `source` or `sources.NAME`."""
        return {
            "source" if self._is_one else f"sources.{name}": source.size
            for name, source in self._sources.items()
            if isinstance(source, SampleSource)
        }

    @property
    def hub_commit(self) -> tuple[str, str] | None:
        """Repository and commit, where all photos come from one data set of the hub."""
        one = next(iter(self._sources.values())) if len(self._sources) == 1 else None
        if not isinstance(one, HubSource) or one.is_local or not is_commit(str(one.revision)):
            return None
        return one.repo, str(one.revision)

    def save(self, data: None) -> None:
        raise DatasetError("Photos are read from their source, never written back to it.")

    def preview(self, nrows: int = 10) -> TablePreview:
        """First rows for kedro-viz; nothing is drawn, fetched or searched that is not there yet."""
        empty = pd.DataFrame(columns=list(SOURCE_COLUMNS))
        return table_preview(self.load().head(nrows) if self._exists() else empty)

    def _exists(self) -> bool:
        return all(source.exists() for source in self._sources.values())

    def _describe(self) -> dict[str, Any]:
        tables = {
            name: source.model_dump(exclude_defaults=True) for name, source in self._sources.items()
        }
        return next(iter(tables.values())) if self._is_one else tables

    def _refuse_missing_paths(self) -> None:
        missing = [name for name, source in self._sources.items() if not source.path]
        if not missing:
            return
        if self._is_one:
            raise SourceError(
                "No photos were given to this source (its `path` is null).\n"
                "Name the photos: kedro run --env folder --params photos=PATH"
            )
        one = len(missing) == 1
        raise SourceError(
            f"No photos were given to the source{'' if one else 's'} "
            f"{', '.join(map(repr, missing))} ({'its' if one else 'their'} `path` is null).\n"
            f"Give their paths: --params {','.join(f'{name}=PATH' for name in missing)}"
        )


def _faults(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
