"""Licences of photos: one name for each, and which may be published."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from cannabis_ml.errors import PublishingError
from cannabis_ml.photo_sets.published import CREDIT, LICENCE, RIGHTS
from cannabis_ml.text import counted

UNKNOWN = "unknown"

_CREATIVE_COMMONS = re.compile(
    r"(?:https?://)?(?:www\.)?creativecommons\.org/licenses/(?P<kind>[a-z-]+)/(?P<version>[\d.]+)"
)
_ZERO = re.compile(r"(?:https?://)?(?:www\.)?creativecommons\.org/publicdomain/zero/1\.0")
_ON_THE_HUB = re.compile(
    r"cc-by(-nc)?(-nd|-sa)?-[34]\.0|cc-by-(nc-|nc-sa-)?2\.0|cc-by-2\.5"
    r"|cdla-(permissive-[12]|sharing-1)\.0|bsd(-[23]-clause)?|apache-2\.0|c-uda|cc0-1\.0|etalab-2\.0"
    r"|gfdl|mit|odbl|odc-by|pddl|unlicense"
)
_SPOKEN = {"cc0": "cc0-1.0", "public domain": "cc0-1.0", "apache 2.0": "apache-2.0"}


def licence_id(name: str) -> str:
    """A licence as the hub abbreviates it.

    >>> licence_id("CC BY-NC 4.0"), licence_id("https://creativecommons.org/licenses/by/4.0/")
    ('cc-by-nc-4.0', 'cc-by-4.0')
    """
    plain = " ".join(name.split()).casefold()
    found = _CREATIVE_COMMONS.match(plain)
    if found is not None:
        return f"cc-{found['kind']}-{found['version']}"
    if _ZERO.match(plain):
        return "cc0-1.0"
    return _SPOKEN.get(plain, plain.replace(" ", "-"))


def hub_licence(name: str) -> str:
    """A licence in the head of a card: `other` where the hub does not list it.

    See https://huggingface.co/docs/hub/repositories-licenses.
    """
    return name if _ON_THE_HUB.fullmatch(name) else "other"


@dataclass(frozen=True)
class Rights:
    """What may be done with each photo of a set.

    Attributes:
        table: A row per photo, by `photo_id`: `source`, `licence` (see `licence_id`) and `credit`,
            whom to name, missing where nobody is known.
    """

    table: pd.DataFrame

    @property
    def counts(self) -> dict[str, int]:
        """Photos of each licence, the most frequent first."""
        found = self.table[LICENCE].value_counts()
        return {str(name): int(n) for name, n in found.items()}

    def of(self, photo_ids: Sequence[str]) -> Rights:
        """The rights of some photos, in their order.

        Raises:
            PublishingError: If a photo is not in the table.
        """
        missing = sorted(set(photo_ids) - set(self.table.index))
        if missing:
            raise PublishingError(
                f"{counted(len(missing), 'photo')} of the photo set, such as {missing[0][:12]}, are"
                " not in the table of photos: they are of another run.\nRun the ingestion pipeline"
                " again: kedro run --pipeline=ingestion"
            )
        return Rights(self.table.loc[list(photo_ids)])


def rights_of(photos: pd.DataFrame, by_source: Mapping[str, str]) -> Rights:
    """What each photo's own licence is, else that of its source.

    Args:
        photos: `photo_id`, `source`, and where sources name them, those of `RIGHTS`.
        by_source: Source -> licence.
    """
    named = {column: _first(photos, column) for column in dict.fromkeys(RIGHTS.values())}
    own = named[LICENCE]
    licences = own.where(own.notna(), photos["source"].map(dict(by_source)))
    table = pd.DataFrame(
        {
            "source": photos["source"].astype("object"),
            LICENCE: [UNKNOWN if pd.isna(name) else licence_id(str(name)) for name in licences],
            CREDIT: named[CREDIT],
        }
    )
    return Rights(table.set_index(photos["photo_id"].astype("object")))


def _first(photos: pd.DataFrame, column: str) -> pd.Series:
    """The columns of a source that stand for a published one, merged."""
    found = pd.Series(None, index=photos.index, dtype="object")
    for name, published in RIGHTS.items():
        if published == column and name in photos:
            found = found.where(found.notna(), photos[name])
    return found


def refuse_unlicensed(rights: Rights, allowed: Sequence[str], what: str = "photos") -> None:
    """End where a licence does not allow to publish.

    Args:
        rights: Of every photo that would be published.
        allowed: Licences that do.
        what: What is published, for the message.

    Raises:
        PublishingError: Lists how many photos of which source have which other licence, and what
            to set.
    """
    refused = rights.table[~rights.table[LICENCE].isin(list(allowed))]
    if refused.empty:
        return
    lines, sources, licences = [], [], []
    counts = Counter(zip(refused[LICENCE], refused["source"], strict=True))
    for (licence, source), number in counts.most_common():
        known = "no known licence" if licence == UNKNOWN else f"the licence {licence}"
        lines.append(f"{counted(number, 'photo')} of source '{source}': {known}")
        if licence == UNKNOWN:
            sources.append(str(source))
        else:
            licences.append(str(licence))
    hints = []
    if sources:
        named = ", ".join(f"{name}: …" for name in dict.fromkeys(sources))
        hints.append(
            f"Name the licence of a source under publishing.licences ({{{named}}}), as the hub"
            " abbreviates it."
        )
    if licences:
        hints.append(
            "If you may pass photos of it on, add it to publishing.allowed_licences:"
            f" {', '.join(dict.fromkeys(licences))}."
        )
    raise PublishingError(
        f"{counted(len(refused), 'photo')} of {len(rights.table):,} may not be published as"
        f" {what}:\n  " + "\n  ".join(lines) + "\n" + "\n".join(hints) + "\nSet it in"
        " conf/local/parameters_publishing.yml; with --env NAME, in conf/NAME/ instead."
    )
