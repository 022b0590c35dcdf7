"""Tables of what the class folders of a published data set mean.

A table is a CSV file beside this module: `folder`, a column per head (empty: unknown), and a
`remark` for whoever reads it. The tables spell species and conditions alike, so that a disease
that two data sets show is one class.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from cannabis_ml.photo_sets.sources.table_files import read_table
from cannabis_ml.text import normal

NOT_LABELS = ("folder", "remark")
"""Columns of a table that are not heads."""


@cache
def class_table(name: str) -> dict[str, dict[str, str | None]]:
    """Read the table `name`: folder name, spelt by `folded` -> head -> class or None (unknown)."""
    return {
        folded(row["folder"]): {
            head: label or None for head, label in row.items() if head not in NOT_LABELS
        }
        for row in _rows(name)
    }


@cache
def class_folders(name: str) -> list[str]:
    """The folder names of the table `name` as they are spelt there."""
    return [row["folder"] for row in _rows(name)]


@cache
def class_heads(name: str) -> list[str]:
    """The heads that the table `name` answers."""
    return [head for head in _rows(name)[0] if head not in NOT_LABELS]


def folded(folder: str) -> str:
    """Leave out what editions of a data set spell differently: case, `_`, spaces, brackets.

    >>> folded("Pepper,_bell___Bacterial_spot") == folded("Pepper__bell___Bacterial_spot")
    True
    """
    return " ".join(re.findall(r"[^\W_]+", normal(folder).casefold()))


def _rows(name: str) -> list[dict[str, str]]:
    return read_table(Path(__file__).parent / f"{name}.csv").to_dict("records")  # type: ignore[return-value]
