"""Source of kind `hub`: a data set of the Hugging Face hub, at one revision."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field, model_validator

from cannabis_ml._io.files import written_aside
from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.published import PUBLICATION, RIGHTS, PhotosPublication, RowDigest
from cannabis_ml.photo_sets.sources.base import (
    HeadMap,
    SplitSource,
    Text,
    as_text,
    label_column,
    some,
    source_frame,
    split_column,
)
from cannabis_ml.photo_sets.sources.hub_reading import (
    ask_hub,
    cell_reader,
    check_rows,
    content_name,
    mounted,
    publication_of,
    stored_photo,
    undecoded,
)
from cannabis_ml.photo_sets.sources.split_names import (
    given_split,
    split_folders,
    split_of_value,
    warn_of_split_columns,
    warn_of_untaken,
)
from cannabis_ml.photo_sets.sources.table import merged_groups
from cannabis_ml.splits import Split
from cannabis_ml.text import Name, NormalNames, normal, one_line

logger = logging.getLogger(__name__)

_SHA = re.compile(r"[0-9a-f]{40}")
_TABLE = "labels.parquet"
_LAYOUT = 2
"""Counts what is kept beside the photos; data sets kept by an earlier version are read anew."""

# Columns of ours in that table; a data set may call its own `path` or `split`.
_PATH, _SPLIT, _NAME, _FOLDERS = "_path", "_split", "_name", "_folders"


class HubSource(SplitSource):
    """A data set of the Hugging Face hub, read through `datasets`.

    The first run writes every photo, byte for byte as it is stored, into a folder below `path`
    under the hash of its content, and beside them a table of all columns but the pixels. From
    then on the hub is not asked again, also after changes to labels, groups or maps. A folder is
    complete or not there.

    What `cannabis_ml publish photos` wrote is recognized: its groups, labels and splits are taken
    without naming their columns, and every row is compared with what was published.

    `repo` may also be a local folder (beginning with `/`, `./`, `../` or `~`) that `datasets`
    can load; it needs no revision and is read anew when a file in it changes.
    """

    kind: Literal["hub"]
    path: Text = Field(description="Folder to keep photos in; each set gets one of its own below")
    repo: str = Field(description="The data set's id, as OWNER/NAME, or a local folder")
    revision: Text | None = Field(
        default=None, description="The commit, 40 hex digits: the same photos today and next year"
    )
    allow_moving: bool = Field(
        default=False,
        description="Accept a branch or tag as revision. The hub is then asked at every run where"
        " it stands, and photos change when it moves",
    )
    config: Text | None = Field(
        default=None, description="Which of the data set's configurations; null: the only one"
    )
    splits: list[Text] | None = Field(default=None, description="Which splits; null: all")
    image_column: str = Field(default="image", description="Column with the photos")
    label_columns: Annotated[dict[Name, Name], NormalNames] | None = Field(
        default=None, description="Head -> column; null: columns are called after heads"
    )
    group_column: Name | None = Field(
        default=None,
        description="Photos that must share a split; null: none. Where its cell is empty,"
        " group_pattern is searched in the photo's name in the data set",
    )
    split_column: Name | None = Field(
        default=None, description="Column with given splits; null: the data set's own splits"
    )
    streaming: bool = Field(
        default=False,
        description="Read over the net while photos are written, instead of downloading to the"
        " hub's cache (HF_HOME) first: half the disk space, but begins anew when interrupted",
    )
    label_map: HeadMap = Field(
        default_factory=dict, description="Head -> label as written -> class, or null (unknown)"
    )

    @model_validator(mode="after")
    def _is_pinned(self) -> HubSource:
        if self.is_local:
            if self.revision:
                raise ValueError("a local folder has no revision: leave it out")
        elif not self.revision:
            raise ValueError(
                "needs a revision: the commit from the data set's page on the hub (Files,"
                " History), 40 hex digits"
            )
        elif not _SHA.fullmatch(self.revision) and not self.allow_moving:
            raise ValueError(
                f"revision '{self.revision}' is not a commit of 40 hex digits: a branch or tag may"
                " move, and the photos with it. Give the commit, or set allow_moving: true"
            )
        return self

    @property
    def is_local(self) -> bool:
        return self.repo.startswith(("/", "./", "../", "~"))

    def read(self) -> pd.DataFrame:
        revision = self._local_state() if self.is_local else str(self.revision)
        if not self.is_local and not _SHA.fullmatch(revision):
            revision = ask_hub(self.repo, revision)
            logger.info("%s is at commit %s", self.repo, revision)
        folder = self._folder(revision)
        if not (folder / _TABLE).is_file():
            if self._stored(revision)[1] is not None:
                ask_hub(self.repo, revision)
            self._fetch(folder, revision)
        return self._rows(pd.read_parquet(folder / _TABLE), folder)

    def exists(self) -> bool:
        if self.is_local:
            return Path(self.repo).expanduser().is_dir() and self._is_kept(self._local_state())
        return bool(_SHA.fullmatch(str(self.revision))) and self._is_kept(str(self.revision))

    def _is_kept(self, revision: str) -> bool:
        return (self._folder(revision) / _TABLE).is_file()

    def _folder(self, revision: str) -> Path:
        """Where photos of a revision are kept; labels may change without another folder."""
        what = json.dumps(
            [_LAYOUT, self.repo, revision, self.config, self.splits, self.image_column]
        )
        key = hashlib.sha256(what.encode()).hexdigest()[:12]
        name = re.sub(r"[^\w.-]+", "--", self.repo).strip("-") or "local"
        return Path(self.path).expanduser() / f"{name}_{key}"

    def _stored(self, revision: str) -> tuple[str, str | None]:
        """Where the data set is: its id and commit, or a folder of this machine and None."""
        if self.is_local:
            return str(Path(self.repo).expanduser()), None
        folder = mounted(self.repo, revision)
        return (self.repo, revision) if folder is None else (str(folder), None)

    def _local_state(self) -> str:
        root = Path(self.repo).expanduser()
        if not root.is_dir():
            raise SourceError(
                f"{root} is not a folder.\nGive the folder of a data set, or its id on the hub as"
                " OWNER/NAME."
            )
        digest = hashlib.sha256()
        for file in sorted(p for p in root.rglob("*") if p.is_file()):
            status = file.stat()
            state = f"{file.relative_to(root)} {status.st_size} {status.st_mtime_ns}\n"
            digest.update(state.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _fetch(self, folder: Path, revision: str) -> None:
        """Write the photos and the table of everything else, whole or not at all."""
        logger.info("Reading %s at %s into %s", self.repo, revision[:12], folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (
            written_aside(folder) as aside,
            tempfile.TemporaryDirectory(prefix=".reading-", dir=folder.parent) as cache,
        ):
            aside.mkdir()
            try:
                publication = publication_of(*self._stored(revision))
                rows = list(self._written(aside, revision, cache, publication))
            except SourceError:
                raise
            except Exception as error:
                raise SourceError(
                    f"{self._place} cannot be read: {type(error).__name__}: {one_line(error)}\n"
                    "If the connection broke, run again. If it keeps failing, look at the data set"
                    " in your browser, or download it and use a source of kind 'folder' or 'table'."
                ) from error
            if not rows:
                raise SourceError(f"{self._place} has no rows.\nChoose other splits.")
            if publication is not None:
                text = publication.model_dump_json(indent=2)
                (aside / PUBLICATION).write_text(text, encoding="utf-8")
            pd.DataFrame(rows).to_parquet(aside / _TABLE)

    @property
    def _place(self) -> str:
        return f"{self.repo}{f' ({self.config})' if self.config else ''}"

    def _written(
        self, aside: Path, revision: str, cache: str, publication: PhotosPublication | None
    ) -> Iterator[dict[str, Any]]:
        """Write the photos one by one and yield a row for each."""
        from tqdm import tqdm

        root = Path(self._stored(revision)[0]).absolute()
        for split, dataset in self._splits(revision, cache).items():
            features = dict(dataset.features)
            self._check_image_column(features, split)
            readers = {
                name: cell_reader(feature)
                for name, feature in features.items()
                if name != self.image_column and cell_reader(feature)
            }
            total = None if self.streaming else len(dataset)
            rows = tqdm(dataset, total=total, desc=f"Writing {split}", unit=" photos")
            digest = RowDigest()
            for number, row in enumerate(rows):
                data, file = stored_photo(row[self.image_column])
                name = file and PurePosixPath(file).name
                path = f"{split}-{number}.missing"
                if data is not None:
                    path = content_name(data, name)
                    (aside / path).parent.mkdir(exist_ok=True)
                    (aside / path).write_bytes(data)
                labels = {key: read(row[key]) for key, read in readers.items()}
                folders = self._folders_of(file, root)
                ours = {_PATH: path, _SPLIT: split, _NAME: name, _FOLDERS: folders}
                if publication is not None:
                    digest.add(row, data or b"")
                yield ours | labels
            if publication is not None:
                check_rows(digest, publication, split, self._place)

    def _folders_of(self, file: str | None, root: Path) -> str | None:
        """The folders of a file from the data set's root; None where it is stored in a table."""
        within, _, outside = (file or "").partition("::")  # zip://a/b.jpg::hf://…
        within = within.partition("://")[2] or within
        if not outside:
            roots = (f"datasets/{self.repo}", str(root))
            prefix = next((prefix for prefix in roots if within.startswith(prefix)), "")
            # hf://datasets/OWNER/NAME@REVISION/a/b.jpg
            within = within.removeprefix(prefix).partition("/")[2] if prefix else within
        folders = PurePosixPath(within).parent.as_posix()
        return None if folders in (".", "/") else folders

    def _splits(self, revision: str, cache: str) -> dict[str, Any]:
        from datasets import load_dataset

        place, commit = self._stored(revision)
        loaded = load_dataset(
            place,
            name=self.config,
            revision=commit,
            cache_dir=cache,
            streaming=self.streaming,
            # The revision fixes the photos; sizes in a README are often out of date.
            verification_mode="no_checks",
        )
        missing = [name for name in self.splits or [] if name not in loaded]
        if missing:
            raise SourceError(
                f"{self._place} has no split {some(map(repr, missing))}; it has "
                f"{some(map(repr, loaded))}.\nChoose among them under `splits`."
            )
        return {str(name): undecoded(loaded[name]) for name in self.splits or loaded}

    def _check_image_column(self, features: dict[str, Any], split: str) -> None:
        from datasets import Image

        if isinstance(features.get(self.image_column), Image):
            return
        wrong = (
            f"holds {features[self.image_column]} instead of photos"
            if self.image_column in features
            else "is not there"
        )
        images = [repr(name) for name, f in features.items() if isinstance(f, Image)]
        others = ", ".join(images) or f"none; it has {some(map(repr, features))}"
        raise SourceError(
            f"The column '{self.image_column}' of {self._place}, split '{split}', {wrong}.\n"
            f"Set image_column. Columns with photos: {others}."
        )

    def _rows(self, table: pd.DataFrame, folder: Path) -> pd.DataFrame:
        table = table.rename(columns=normal)
        columns = [c for c in table.columns if c not in (_PATH, _SPLIT, _NAME, _FOLDERS)]
        group_column, label_columns = self.group_column, self.label_columns
        published = None
        if (folder / PUBLICATION).is_file():
            published = PhotosPublication.model_validate_json((folder / PUBLICATION).read_bytes())
            group_column = group_column or published.group_column
            label_columns = label_columns or {c: c for c in map(normal, published.label_columns)}
        if label_columns is None:
            taken = (group_column, self.split_column)
            label_columns = {c: c for c in columns if c not in taken}
        named: dict[str, str | None] = {
            f"label_columns: {head}": column for head, column in label_columns.items()
        }
        named |= {"group_column": group_column, "split_column": self.split_column}
        named |= {f"label_map: {h}": h for h in self.label_map if h not in label_columns}
        missing = [f"'{c}' ({key})" for key, c in named.items() if c and c not in columns]
        if missing:
            raise SourceError(
                f"{self._place} lacks the {'column' if len(missing) == 1 else 'columns'} "
                f"{', '.join(missing)}; beside photos it has {some(map(repr, columns))}.\n"
                "Name its columns under the source in catalog_ingestion.yml."
            )
        if not self.split_column:
            other = [c for c in columns if c not in (group_column, *self.label_map)]
            warn_of_split_columns({c: map(as_text, table[c]) for c in other}, self._place)
        names = [as_text(name) or "" for name in table[_NAME]]
        fields: dict[str, list[Any]] = {
            "path": [str(folder / path) for path in table[_PATH]],
            "group": merged_groups(
                [as_text(v) for v in table[group_column]] if group_column else None,
                self.groups_by_name(names),
            ),
            "given_split": split_column(table[self.split_column], self.split_map, self._place)
            if self.split_column
            else self._own_splits(table),
        }
        for head in [*label_columns, *(h for h in self.defaults if h not in label_columns)]:
            fields[head] = label_column(
                table[label_columns[head]] if head in label_columns else [None] * len(table),
                self.label_map.get(head, {}),
                self.defaults.get(head),
                fields["path"],
            )
        if published is not None:
            for name in ("licence", "rights_holder"):
                if RIGHTS[name] in columns:
                    fields[name] = [as_text(cell) for cell in table[RIGHTS[name]]]
        return source_frame(fields)

    def _own_splits(self, table: pd.DataFrame) -> list[str | None]:
        """The splits that the data set has.

        `datasets` looks for folders of splits in lower case only: of `Training/` and `Testing/` it
        makes one split, called train. There, the folders decide.
        """
        names = [str(name) for name in table[_SPLIT]]
        splits = {name: self.split_map.get(name, split_of_value(name)) for name in set(names)}
        if len(splits) > 1:
            unknown = sorted(n for n in splits if splits[n] is None and n not in self.split_map)
            if unknown:
                logger.warning(
                    "%s has splits with unknown names: %s. Their photos are"
                    " divided as if none were given; map them under split_map, such as"
                    " {'%s': test}.",
                    self._place,
                    some(map(repr, unknown)),
                    unknown[0],
                )
        elif _FOLDERS in table and table[_FOLDERS].notna().any():
            paths = [tuple(map(normal, str(f or "").split("/"))) for f in table[_FOLDERS]]
            taken = split_folders(paths, self.split_map)
            warn_of_untaken(paths, taken, self.split_map, self._place)
            if any(split != Split.TRAIN for split in taken.values()):
                return [given_split(folders, taken) for folders in paths]
        return [splits[name] for name in names]
