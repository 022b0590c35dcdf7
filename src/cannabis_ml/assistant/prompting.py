"""Prompts: files with a version, rendered by Jinja; what is not ours stands in them as data."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

FOLDER = Path(__file__).parent / "prompts"

LONGEST_DATA = 500
"""Characters of one piece of data, at most."""


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt.

    Attributes:
        name: Name and version, such as `suggest_labels.v1`.
        system: Instructions.
        text: What is asked.
    """

    name: str
    system: str
    text: str


def render_prompt(name: str, **content: Any) -> Prompt:
    """Render both files of a prompt.

    Args:
        name: Name and version: `prompts/NAME.system.j2` and `prompts/NAME.user.j2`. A changed
            prompt is a new version: answers are kept by it.
        content: Of the templates; none may be missing.
    """
    environment = _environment()
    system, text = (
        environment.get_template(f"{name}.{part}.j2").render(**content).strip()
        for part in ("system", "user")
    )
    return Prompt(name, system, text)


def as_data(value: object) -> str:
    """A value as JSON that cannot end the place it stands in, and holds no line or control code.

    Names, remarks and labels come from strangers. They are quoted, cut to `LONGEST_DATA`
    characters, and `<`, `>` and `&` are escaped, so that no tag of the prompt can be closed.
    """
    written = json.dumps(_cleaned(value), ensure_ascii=False, sort_keys=True)
    for char in "<>&`":
        written = written.replace(char, f"\\u{ord(char):04x}")
    return written


def _cleaned(value: object) -> object:
    if isinstance(value, dict):
        return {str(_cleaned(str(key))): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    if not isinstance(value, str):
        return value
    text = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in value)
    return text if len(text) <= LONGEST_DATA else text[: LONGEST_DATA - 1] + "…"


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    environment.filters["data"] = as_data
    return environment
