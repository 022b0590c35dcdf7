"""Names as they are compared, of heads, classes, labels, columns and files; counts in words.

One name can be written in several ways that look the same: `ä` is one character, or `a` and a
combining mark (what macOS makes of file names), and blanks at the end are not seen at all. So every
name that is compared is brought to one form first.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator

Value = TypeVar("Value")

NEAREST_CUTOFF = 0.6
"""How alike (difflib ratio, 0 to 1) a class must be to be offered as "did you mean"."""


def normal(name: str) -> str:
    r"""The form in which names are compared and kept: composed (NFC), no blanks at the ends.

    >>> normal("Ga\u0308nse ") == "Gänse"
    True
    """
    return unicodedata.normalize("NFC", name.strip()).strip()


def at_a_glance(name: str) -> str:
    r"""What a person sees of a name at a glance: not its case, kind of blank, or what is invisible.

    Names of one look may differ on purpose, so nothing is merged by it; a report lists them.

    >>> at_a_glance("Powdery_mildew") == at_a_glance("powdery\u00a0 mildew\u200b")
    True
    """
    visible = "".join(c for c in name if unicodedata.category(c) != "Cf")
    shown = unicodedata.normalize("NFKC", visible).casefold()
    return re.sub(r"[\s_]+", " ", shown).strip()


def lookalikes(names: Iterable[str]) -> list[list[str]]:
    """The names that look the same at a glance, together; in order of name."""
    by_look: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        by_look.setdefault(at_a_glance(name), []).append(name)
    return [together for together in by_look.values() if len(together) > 1]


def by_normal_name(mapping: Mapping[str, Value]) -> dict[str, Value]:
    """The mapping under normal names.

    Raises:
        ValueError: If two of its names are the same then, with different values.
    """
    result: dict[str, Value] = {}
    for name, value in mapping.items():
        key = normal(name)
        if key in result and result[key] != value:
            raise ValueError(f"{key!r} is written twice, spelt in ways that look the same")
        result[key] = value
    return result


def _as_text(value: object) -> Any:
    """YAML reads a class called 3 or 2024 as a number."""
    return str(value) if isinstance(value, int | float) else value


Name = Annotated[str, BeforeValidator(_as_text), AfterValidator(normal)]
"""The name of a head or class in configuration."""


def _distinct_keys(value: object) -> Any:
    if not isinstance(value, dict):
        return value
    names = {_as_text(key): item for key, item in value.items()}
    others = {key: item for key, item in names.items() if not isinstance(key, str)}
    return others | by_normal_name({k: v for k, v in names.items() if isinstance(k, str)})


NormalNames = BeforeValidator(_distinct_keys)
"""For mappings whose keys are `Name`s: none is lost silently where two become the same."""


def one_line(error: BaseException, limit: int = 300) -> str:
    """The message of an error as one line of at most `limit` characters."""
    return " ".join(str(error).split())[:limit]


def counted(n: int, one: str, many: str | None = None) -> str:
    """`1 photo`, `2,000 photos`; `many` where the plural is not `one` with an s."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def did_you_mean(label: str, classes: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest class, or nothing where none is near."""
    by_folded = {at_a_glance(c): c for c in classes}
    folded = at_a_glance(str(label))
    near = difflib.get_close_matches(folded, by_folded, n=1, cutoff=NEAREST_CUTOFF)
    return f"; did you mean '{by_folded[near[0]]}'?" if near else ""


def with_items(title: str, items: Iterable[str]) -> str:
    """A title, and an indented line for each item."""
    return "\n  ".join([f"{title}:", *items])


def markdown_text(text: object) -> str:
    """Text as it stands, in a line or a table's cell: names that Markdown would read as its own.

    An underscore between letters is text already.
    """
    line = " ".join(str(text).split())
    line = re.sub(r"[\\`*\[\]<>|~$&#]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)
    line = re.sub(r"^[-+=:]", r"\\\g<0>", line)  # a list, or a rule below a heading
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", line)  # a numbered list
