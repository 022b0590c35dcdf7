"""Read data sets of the Hugging Face hub: commits, photos as stored, cells as text."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.published import PUBLICATION, PhotosPublication, RowDigest
from cannabis_ml.photo_sets.sources.base import as_text
from cannabis_ml.photos.decode import SUFFIXES
from cannabis_ml.text import one_line

ANSWER_SECONDS = 10
"""How long the hub may take to answer whether a data set exists."""

_SIGNATURES = {b"\xff\xd8": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"II*\0": ".tiff"}


def ask_hub(repo: str, revision: str) -> str:
    """Ask the hub for the commit that a revision stands for; the first to notice what is wrong.

    `datasets` by itself tries for minutes when there is no network.

    Raises:
        SourceError: If the hub cannot be reached, or does not have the data set or revision.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    api = HfApi()
    try:
        info = api.dataset_info(repo, revision=revision, timeout=ANSWER_SECONDS)
    except GatedRepoError as error:
        raise SourceError(
            f"{repo} is gated: its owner wants to know who downloads it.\n"
            f"Ask for access at {api.endpoint}/datasets/{repo}, then run: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise SourceError(
            f"{api.endpoint} has no data set '{repo}', or does not show it to you.\n"
            "Check the id (OWNER/NAME); for a private one run: hf auth login"
        ) from error
    except RevisionNotFoundError as error:
        raise SourceError(
            f"{repo} has no revision '{revision}' (any more).\n"
            f"Choose a commit at {api.endpoint}/datasets/{repo}/commits/main"
        ) from error
    except HFValidationError as error:
        raise SourceError(
            f"'{repo}' is not an id of a data set: {one_line(error)}\nWrite OWNER/NAME."
        ) from error
    except OfflineModeIsEnabled as error:
        raise SourceError(
            f"{repo} is not on this machine yet, and HF_HUB_OFFLINE forbids to ask the hub.\n"
            "Unset it for the first run; later ones need no network."
        ) from error
    except Exception as error:
        raise SourceError(
            f"{repo} is not on this machine yet, and {api.endpoint} cannot be reached: "
            f"{type(error).__name__}: {one_line(error)}\n"
            "Connect to the network (a mirror: set HF_ENDPOINT) and run again; later runs need"
            " none."
        ) from error
    return str(info.sha or revision)


def mounted(repo: str, commit: str) -> Path | None:
    """Folder of a data set at a commit that is mounted here, as in jobs of the hub itself.

    It is OWNER/NAME/COMMIT below the folder in the variable CANNABIS_ML_DATA_SETS; None if it is
    not there.
    """
    below = os.environ.get("CANNABIS_ML_DATA_SETS")
    folder = Path(below, repo, commit) if below else None
    return folder if folder is not None and folder.is_dir() else None


def publication_of(repo: str, revision: str | None) -> PhotosPublication | None:
    """What `cannabis_ml publish photos` wrote of a data set; None where it did not write it.

    Args:
        repo: Id on the hub, or a local folder.
        revision: The commit; None for a local folder.

    Raises:
        SourceError: If it cannot be read.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        if revision is None:
            path = Path(repo).expanduser() / PUBLICATION
        else:
            path = Path(hf_hub_download(repo, PUBLICATION, repo_type="dataset", revision=revision))
        return PhotosPublication.model_validate_json(path.read_text(encoding="utf-8"))
    except (EntryNotFoundError, FileNotFoundError):
        return None
    except ValidationError as error:
        raise SourceError(
            f"{PUBLICATION} of {repo} is not that of photos: {one_line(error)}\nUpdate cannabis_ml"
            " to read what a newer one published; else ask its owner to publish it again."
        ) from error


def check_rows(digest: RowDigest, publication: PhotosPublication, split: str, place: str) -> None:
    """Compare the rows of a split that were read with those that were published.

    Raises:
        SourceError: If any row, label or photo differs, or rows are missing.
    """
    published = publication.splits.get(split)
    if published is not None and published.rows_sha256 == digest.hexdigest():
        return
    photos = 0 if published is None else published.photos
    what = (
        f"{digest.rows:,} photos came, and {photos:,} were published"
        if digest.rows != photos
        else "photos or labels were altered: the SHA-256 of the rows differs"
    )
    raise SourceError(
        f"The split '{split}' of {place} is not what was published as version"
        f" {publication.version}: {what}. Nothing of it was kept.\nRun again; if it stays so, empty"
        " the hub's cache (HF_HOME), or ask the owner of the data set."
    )


def undecoded(dataset: Any) -> Any:
    """A data set that returns photos as stored, without decoding them."""
    from datasets import Image, IterableDataset

    if isinstance(dataset, IterableDataset):
        # Where files do not hold the types, a row has to be read.
        return dataset._resolve_features().decode(False)
    for name, feature in dataset.features.items():
        if isinstance(feature, Image):
            dataset = dataset.cast_column(name, Image(decode=False))
    return dataset


def cell_reader(feature: Any) -> Any:
    """How a cell of a column becomes text or a number; None for columns that are not labels."""
    from datasets import ClassLabel, List, Value

    if isinstance(feature, ClassLabel):
        # -1 stands for no label.
        return lambda cell: None if cell is None or cell < 0 else feature.int2str(int(cell))
    if isinstance(feature, List):
        read = cell_reader(feature.feature)
        return read and (
            lambda cells: None if cells is None else as_text([read(cell) for cell in cells])
        )
    if isinstance(feature, Value) and feature.dtype not in ("binary", "large_binary"):
        return as_text
    return None


def stored_photo(cell: dict[str, Any] | None) -> tuple[bytes | None, str | None]:
    """The bytes of a photo as they are stored, and its file in the data set."""
    if cell is None:
        return None, None
    name, data = cell.get("path"), cell.get("bytes")
    if data is None and name:
        import fsspec

        with fsspec.open(name, "rb") as file:
            data = file.read()
    return data, name


def content_name(data: bytes, name: str | None) -> str:
    """`ab/abcdef….jpg`: rows with the same bytes share a file."""
    digest = hashlib.sha256(data).hexdigest()
    suffix = PurePosixPath(name or "").suffix.lower()
    if suffix not in SUFFIXES:
        suffix = next((s for sign, s in _SIGNATURES.items() if data.startswith(sign)), ".jpg")
    return f"{digest[:2]}/{digest}{suffix}"
