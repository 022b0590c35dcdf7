"""Licences of photos: one name for each, and which may be published; no pandas."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from cannabis_ml.errors import PublishingError
from cannabis_ml.inference.golden_rights import UNKNOWN
from cannabis_ml.text import counted

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


IN_THE_PROJECT = (
    "Set it in conf/local/parameters_publishing.yml; with --env NAME, in conf/NAME/ instead."
)


def refuse_unlicensed(
    photos: Iterable[tuple[str, str]],
    allowed: Sequence[str],
    what: str = "photos",
    place: str = IN_THE_PROJECT,
) -> None:
    """End where a licence does not allow to publish.

    Args:
        photos: Licence (see `licence_id`) and source of every photo that would be published.
        allowed: Licences that do.
        what: What is published, for the message.
        place: Where it is set, for the message.

    Raises:
        PublishingError: Lists how many photos of which source have which other licence, and what
            to set.
    """
    counts = Counter(photos)
    refused = Counter({key: n for key, n in counts.items() if key[0] not in allowed})
    if not refused:
        return
    lines = []
    for (licence, source), number in refused.most_common():
        known = "no known licence" if licence == UNKNOWN else f"the licence {licence}"
        lines.append(f"{counted(number, 'photo')} of source '{source}': {known}")
    sources = dict.fromkeys(source for licence, source in refused if licence == UNKNOWN)
    licences = dict.fromkeys(licence for licence, _ in refused if licence != UNKNOWN)
    hints = []
    if sources:
        named = ", ".join(f"{name}: …" for name in sources)
        hints.append(
            f"Name the licence of a source under publishing.licences ({{{named}}}), as the hub"
            " abbreviates it."
        )
    if licences:
        hints.append(
            "If you may pass photos of it on, add it to publishing.allowed_licences:"
            f" {', '.join(licences)}."
        )
    raise PublishingError(
        f"{counted(refused.total(), 'photo')} of {counts.total():,} may not be published as"
        f" {what}:\n  " + "\n  ".join(lines) + "\n" + "\n".join([*hints, place])
    )
