"""`python -m cannabis_ml.inference BUNDLE PHOTO…`: reports, a table, or lines of JSON."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cannabis_ml._io.file_names import printable
from cannabis_ml.errors import CannabisMLError, ConfigError

if TYPE_CHECKING:
    from cannabis_ml.inference.answer import Answer
    from cannabis_ml.inference.heat_map import HeatMapKind
    from cannabis_ml.inference.report import Report
    from cannabis_ml.inference.reporter import Reporter
    from cannabis_ml.taxonomy import Taxonomy

STDIN = "-"

SOME_FAILED = 1

_NARROWEST, _WIDEST = 40, 100
"""Characters of a line: between these, as the terminal is wide."""


class Printer(Protocol):
    """Prints what is known of photos, one after the other."""

    def show(self, photo: str, report: Report, heat_map: str | None) -> None:
        """Print a report; `heat_map` is where it was drawn, None where it was not asked for."""
        ...

    def refuse(self, photo: str, why: str) -> None:
        """Print that a photo has no report; stderr has the same."""
        ...


@dataclass(frozen=True)
class ReportOptions:
    """What a report is to have.

    Attributes:
        language: Of the texts.
        heat_maps: Where to draw heat maps; None: not asked for.
    """

    language: str
    heat_maps: HeatMaps | None = None


def report_photos(
    reporter: Reporter,
    photos: Sequence[str],
    read: Callable[[str], bytes],
    printer: Printer,
    options: ReportOptions,
) -> int:
    """Report on photos, and print each report as it comes.

    Args:
        reporter: Asks the model.
        photos: Names, as for `read`.
        read: Gives the bytes of one.
        printer: For people or for machines.
        options: Language and heat maps.

    Returns:
        The exit status. Photos without a report are named on stderr.
    """
    failed, heat_maps = 0, options.heat_maps
    for name in photos:
        try:
            report = reporter.report(
                read(name),
                language=options.language,
                heat_map=heat_maps.kind if heat_maps else None,
            )
        except (ValueError, OSError, CannabisMLError) as error:
            failed += 1
            reason = getattr(error, "strerror", None) or str(error)
            print(f"{printable(name)}: {reason}", file=sys.stderr)
            printer.refuse(printable(name), reason)
            continue
        drawn = None
        if heat_maps is not None:
            drawn, is_written = heat_maps.write(printable(name), report)
            failed += not is_written
        printer.show(printable(name), report, drawn)
    sys.stdout.flush()
    return SOME_FAILED if failed else 0


class HeatMaps:
    """Writes heat maps into one folder, each under a name of its own.

    Args:
        folder: Made where it is not there.
        kind: What they show.

    Raises:
        ConfigError: If the folder cannot be made.
    """

    def __init__(self, folder: Path, kind: HeatMapKind = "occlusion") -> None:
        self.folder = folder
        self.kind = kind
        self._taken: Counter[str] = Counter()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--heat-map: no folder {folder} can be made ({error}).") from error

    def write(self, photo: str, report: Report) -> tuple[str | None, bool]:
        """Returns its file, also where the model gives none; and False if it could not be written.

        A failure is printed on stderr, and costs no photo its report.
        """
        from cannabis_ml.inference.heat_map import file_name, save_png

        stem = "stdin" if photo == STDIN else photo
        path = self.folder / file_name(stem)
        self._taken[path.name] += 1
        if self._taken[path.name] > 1:  # of the same name in another folder
            path = self.folder / file_name(stem, f"{self._taken[path.name]}.heat_map")
        try:
            if report.heat_map is not None:
                save_png(report.heat_map.image, path)
        except OSError as error:
            print(f"{printable(path)}: {error.strerror or error}", file=sys.stderr)
            return None, False
        return printable(path), True


class JSONLines:
    """A line of JSON per photo, see `report_json`."""

    def show(self, photo: str, report: Report, heat_map: str | None) -> None:
        print_json(report.as_json(photo, heat_map))

    def refuse(self, photo: str, why: str) -> None:
        from cannabis_ml.inference.report_json import UnansweredPhoto

        print_json(UnansweredPhoto(photo=photo, error=why).model_dump())


class Reports:
    """Reports for people, a blank line between them, no line wider than the terminal."""

    def __init__(self) -> None:
        columns = shutil.get_terminal_size((_WIDEST, 24)).columns
        self.width = max(_NARROWEST, min(_WIDEST, columns))
        self._is_first = True

    def show(self, photo: str, report: Report, heat_map: str | None) -> None:
        if not self._is_first:
            print()
        self._is_first = False
        for line in report.in_words(photo, heat_map):
            print(self._wrapped(line))

    def refuse(self, photo: str, why: str) -> None:
        """On stderr alone."""

    def _wrapped(self, line: str) -> str:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        return textwrap.fill(
            line,
            self.width,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )


class Table:
    """Lines for people: photo, head, answer, and the most likely classes.

    Of an ordinal head how likely its answer "or better" is, which the median stands on.
    """

    def __init__(self, taxonomy: Taxonomy, photos: Sequence[str], top: int) -> None:
        heads = taxonomy.heads
        classes = [c for h in heads if h.kind != "multilabel" for c in h.class_names]
        self.top = top
        self.widths = (
            min(48, max(len(cell) for cell in ("photo", *map(printable, photos)))),
            max(len(cell) for cell in ("head", *(head.name for head in heads))),
            min(32, max(len(cell) for cell in ("answer", *classes))),
        )
        self.line("photo", "head", "answer", "how likely")

    def line(self, *cells: str) -> None:
        padded = [cell.ljust(w) for cell, w in zip(cells, (*self.widths, 0), strict=True)]
        print("  ".join(padded).rstrip())

    def show(self, photo: str, report: Answer, heat_map: str | None = None) -> None:
        for name, head in report.items():
            self.line(photo, name, str(head), "  ".join(head.in_words(self.top)))
            photo = ""

    def refuse(self, photo: str, why: str) -> None:
        """On stderr alone."""


def print_json(value: object) -> None:
    """Print one line that is JSON whatever the encoding of the output."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    print(json.dumps(value, ensure_ascii=encoding != "utf8"))
