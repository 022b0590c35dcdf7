"""Recognize the names of splits: of folders, in columns, on hubs.

`train`, `Training`, `TRAIN2017`, `train_set`, `seg_train`, `dev`, `valid`, `eval`, `Test Images` …
The words are those that `datasets` looks for, and a few more.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated

from cannabis_ml.splits import Split, split_rank
from cannabis_ml.text import Name, NormalNames, normal

logger = logging.getLogger(__name__)

SplitMap = Annotated[dict[Name, Split | None], NormalNames]
"""Name of a split as written -> what it is, or null (not a split)."""

WORDS: Mapping[str, Split] = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "trainval": Split.TRAIN,  # both parts of Pascal VOC that one may learn from
    "val": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "validation": Split.VALIDATION,
    "dev": Split.VALIDATION,
    "minival": Split.VALIDATION,
    "calibration": Split.CALIBRATION,
    "calib": Split.CALIBRATION,
    "test": Split.TEST,
    "testing": Split.TEST,
    "testdev": Split.TEST,
    "eval": Split.TEST,
    "evaluation": Split.TEST,
}
"""What the splits are called, in lower case."""

_BESIDE = frozenset(
    {
        *("set", "sets", "data", "dataset", "datasets", "split", "splits", "folder", "dir", "part"),
        *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pic"),
        *("pics", "sample", "samples", "full", "mini", "small", "large", "final", "raw", "new"),
        *("original", "resized", "cropped", "crops", "augmented", "aug", "clean", "labeled"),
        *("labelled", "unlabeled", "unlabelled", "copy", "all", "v", "x", "px"),
    }
)
"""Words that may stand beside the name of a split, and name no class."""

_ALIKE = frozenset(
    {
        *("holdout", "heldout", "unseen", "fold", "pred", "predict", "prediction", "development"),
        *("unlabeled", "unlabelled", "unsupervised", "submission", "trn", "tst", "traintest"),
    }
)
"""What looks like the name of a split without naming one of ours."""


def split_of_name(name: str) -> Split | None:
    """The split that a name stands for, where it can be nothing else.

    >>> [split_of_name(name) for name in ("Training", "test_images", "VAL2017", "test tube")]
    ['train', 'test', 'validation', None]
    """
    return WORDS.get("".join(_core(name)))


def split_of_value(name: str) -> Split | None:
    """The split that a name stands for, where it is known to name one: `cifar_train`.

    The first or the last word decides, unless they name different splits.
    """
    whole = split_of_name(name)
    affixed = None if whole else _affixed(name)
    return affixed[0] if affixed else whole


def looks_like_split(name: str) -> bool:
    """Whether a person would take a name for that of a split, rightly or not."""
    core = _core(name)
    words = _words(name)
    return bool(split_of_name(name) or "".join(core or words) in _ALIKE) or any(
        word in WORDS for word in (*core[:1], *core[-1:])
    )


def split_folders(
    paths: Iterable[Sequence[str]], split_map: Mapping[str, Split | None]
) -> dict[str, Split]:
    """Which folders are splits.

    `train`, `Test Images` are, wherever they are. A name with other words in it, such as
    `seg_train`, is one if beside it is another split of the same words (`seg_test`), or a split's
    plain name. So `test_tube` and `train_station` stay what they are.

    Args:
        paths: The folders above each photo, normal names, the outermost first.
        split_map: The split of each name that is mapped, or None for not a split.

    Returns:
        Name of a folder -> its split.
    """
    taken: dict[str, Split] = {}
    for names in _levels(paths).values():
        unmapped = [name for name in sorted(names) if name not in split_map]
        whole = {name: split for name in unmapped if (split := split_of_name(name))}
        affixed = {
            name: found for name in unmapped if name not in whole and (found := _affixed(name))
        }
        of_rest: dict[tuple[str, ...], set[Split]] = defaultdict(set)
        for split, rest in affixed.values():
            of_rest[rest].add(split)
        pairs = [rest for rest, splits in of_rest.items() if len(splits) > 1]
        taken |= whole
        taken |= {
            name: split
            for name, (split, rest) in affixed.items()
            # cats_train, cats_test, dogs_train, dogs_test: classes and splits in one name.
            if whole or pairs == [rest]
        }
    return taken | {name: split for name, split in split_map.items() if split}


def given_split(folders: Iterable[str], taken: Mapping[str, Split]) -> Split | None:
    """The split of a photo in these folders; of several, the one that training uses least."""
    return min((taken[name] for name in folders if name in taken), key=split_rank, default=None)


def warn_of_untaken(
    paths: Iterable[Sequence[str]],
    taken: Mapping[str, Split],
    known: Collection[str],
    where: object,
) -> None:
    """Warn of folders that look like splits and are not taken as such.

    Within a split, nothing more is looked for.

    Args:
        paths: The folders above each photo.
        taken: What `split_folders` found in them.
        known: Names that the source's maps have.
        where: Of the source, for the message.
    """
    outside = [folders for folders in paths if given_split(folders, taken) is None]
    for above, names in sorted(_levels(outside).items()):
        doubtful = [
            name
            for name in sorted(names)
            if name not in taken and name not in known and looks_like_split(name)
        ]
        if doubtful:
            one = len(doubtful) == 1
            logger.warning(
                "In %s, %s %s like the %s of %s and %s not taken as such. Write what %s under"
                " split_map of the source, as {'%s': test}, or {'%s': null} for a class.",
                "/".join([str(where), *above]),
                _listed(doubtful),
                "looks" if one else "look",
                "name" if one else "names",
                "a split" if one else "splits",
                "is" if one else "are",
                "it is" if one else "they are",
                doubtful[0],
                doubtful[0],
            )


def warn_of_unlisted_splits(paths: Iterable[Sequence[str]], where: object, remedy: str) -> None:
    """Warn of listed photos in folders of held-out splits, which the list itself does not give.

    Args:
        paths: The folders above each photo.
        where: The list.
        remedy: What to do, as a sentence.
    """
    paths = [tuple(map(normal, folders)) for folders in paths]
    taken = split_folders(paths, {})
    counts = Counter(
        next(name for name in folders if name in taken)
        for folders in paths
        if any(name in taken for name in folders)
    )
    if any(split != Split.TRAIN for split in taken.values()):
        listed = ", ".join(
            f"'{name}' ({n:,} photo{'' if n == 1 else 's'})" for name, n in sorted(counts.items())
        )
        logger.warning(
            "Photos in %s lie in folders that look like splits, and are divided as if they did"
            " not: %s. %s",
            where,
            listed,
            remedy,
        )


def warn_of_split_columns(columns: Mapping[str, Iterable[str | None]], where: object) -> None:
    """Warn of columns that hold only names of splits and are not set as the split column.

    Args:
        columns: Name -> its cells as text, None where empty.
        where: The table.
    """
    for name, cells in columns.items():
        values = set(cells) - {None}
        splits = {split_of_name(str(value)) for value in values}
        if None not in splits and splits - {Split.TRAIN}:
            logger.warning(
                "The column '%s' of %s holds nothing but names of splits (%s), and is not used as"
                " such. If it gives the splits, set split_column: %s in the source.",
                name,
                where,
                _listed(sorted(map(str, values))),
                name,
            )


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", normal(name))
    return [_without_set(word) for word in re.findall(r"[^\W\d_]+", apart.casefold())]


def _without_set(word: str) -> str:
    """`trainset` and `testdata` are written in one as well."""
    for known in sorted(WORDS, key=len, reverse=True):
        if word != known and word.startswith(known) and word.removeprefix(known) in _BESIDE:
            return known
    return word


def _core(name: str) -> list[str]:
    return [word for word in _words(name) if word not in _BESIDE]


def _affixed(name: str) -> tuple[Split, tuple[str, ...]] | None:
    """The split that the first or last word names, and the other words with the place of it."""
    core = _core(name)
    first, last = WORDS.get(core[0] if core else ""), WORDS.get(core[-1] if core else "")
    if len(core) < 2 or bool(first) == bool(last):
        return None
    if first:
        return first, ("", *core[1:])
    return (last, (*core[:-1], "")) if last else None


def _levels(paths: Iterable[Sequence[str]]) -> dict[tuple[str, ...], set[str]]:
    """Folder -> the names of the folders in it that hold photos."""
    levels: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for folders in {tuple(path) for path in paths}:
        for depth, name in enumerate(folders):
            levels[folders[:depth]].add(name)
    return levels


def _listed(names: Sequence[str]) -> str:
    shown = [f"'{name}'" for name in names[:8]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")
