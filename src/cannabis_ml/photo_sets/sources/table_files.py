"""Reading tables from files: CSV, JSONL and Parquet."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pandas as pd

from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources.base import some
from cannabis_ml.text import counted, normal, one_line

SUFFIXES = (".csv", ".jsonl", ".parquet")

_LONGEST_CELL = 2**31 - 1
"""Characters: Python's own limit is 131,072, and outlines of objects are longer."""


def read_table(path: Path) -> pd.DataFrame:
    """Read a table; a cell that is empty or not there is empty text or missing.

    Args:
        path: A file with one of `SUFFIXES`, in any case.

    Returns:
        A row per row, a column per named column, in order; column names as `names.normal` has them.

    Raises:
        SourceError: If the file is of another kind, cannot be read, names a column twice, or has
            rows that are longer than its header.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES or not path.is_file():
        raise SourceError(
            f"{path} is not a table of a kind that is read here: {', '.join(SUFFIXES)}.\n"
            "Save it as CSV, or use a source of kind 'folder' for a folder of class folders."
        )
    try:
        if kind == ".csv":
            columns, rows = _csv_rows(path)
            table = pd.DataFrame(rows, columns=columns, dtype="str")
        elif kind == ".jsonl":
            table = pd.DataFrame(_json_lines(path), dtype=object)
        else:
            table = pd.read_parquet(path)
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(
            f"{path} cannot be read as {kind[1:].upper()}: {one_line(error)}\n"
            "Save it anew, in UTF-8."
        ) from error
    table.columns = [normal(str(name)) for name in table.columns]
    table = table.loc[:, table.columns != ""]  # as the row numbers that pandas writes
    twice = [repr(name) for name, n in Counter(table.columns).items() if n > 1]
    if twice:
        raise SourceError(
            f"{path} has more than one column called {some(twice)}.\n"
            "Rename or delete the one that does not count."
        )
    return table


def _csv_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Read the header and the rows, each as long as the header."""
    rows = _numbered_rows(path)
    _, header = next(rows, (0, []))
    while header and not header[-1].strip():
        header.pop()
    width = len(header)
    fitting, too_long = [], []
    for number, cells in rows:
        if any(cell.strip() for cell in cells[width:]):
            too_long.append(f"row {number:,} ({len(cells)} cells)")
        fitting.append([*cells[:width], *[""] * (width - len(cells))])
    if too_long:
        raise SourceError(
            f"{counted(len(too_long), 'row')} of {path} {'has' if len(too_long) == 1 else 'have'} "
            f"more cells than its header, which has {width}: {some(too_long)}.\n"
            'Put what has a comma in it between quotation marks, as "Pepper, bell", or name the'
            " other columns in the header."
        )
    return header, fitting


def _numbered_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, with the numbers that a spreadsheet gives them."""
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        # One blank line more: it vanishes in a cell whose quotation mark is never closed.
        reader = csv.reader(chain(file, ["\n"]))
        start = opened = 1
        cells: list[str] = []
        for number, cells in enumerate(reader, start=1):
            opened, start = start, reader.line_num + 1
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield number, cells
        if cells:
            raise SourceError(
                f"{path} ends within a cell: a quotation mark in line {opened:,} or after it is"
                " never closed.\nClose it, or write it twice if it belongs to the text."
            )


def _json_lines(path: Path) -> list[dict[str, object]]:
    rows = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = json.loads(line) if line.lstrip().startswith("{") else None
            if row is None:
                raise SourceError(
                    f"Line {number} of {path} is not a JSON object: {line.strip()[:80]!r}.\n"
                    'Write one object per line, as {"path": "a.jpg", "label": "x"}.'
                )
            rows.append(row)
    return rows
