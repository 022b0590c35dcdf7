"""`python -m cannabis_ml.inference BUNDLE PHOTO…`: what a bundle says of photos."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cannabis_ml._io.file_names import printable
from cannabis_ml._io.terminal import escape_unprintable_names
from cannabis_ml.errors import CannabisMLError
from cannabis_ml.inference.runtimes import NAMES

if TYPE_CHECKING:
    from cannabis_ml.inference.answer import Answer
    from cannabis_ml.taxonomy import Taxonomy

STDIN = "-"

SOME_FAILED, REFUSED = 1, 2

DESCRIPTION = """\
Ask a bundle about photos. Prints a line per photo and head; a photo that cannot be read is named on
stderr and the others are answered all the same."""

EPILOG = """\
In a folder, a photo is what is called like one or begins like one; other files are named on stderr.
Hidden files and those of a system (Thumbs.db) are passed over.

exit status: 0 every photo was answered; 1 some were not, or the golden photos got other answers;
2 nothing was done"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    escape_unprintable_names()
    options = _parser().parse_intermixed_args(arguments)  # options may stand between photos
    try:
        if not options.route and (options.tier3_url or options.thresholds):
            _parser().error("--tier3-url and --thresholds go with --route")
        if options.check:
            return _check(options)
        return _route(options) if options.route else _answer(options)
    except CannabisMLError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return REFUSED
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cannabis_ml.inference", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("bundle", type=Path, help="its folder or its .zip")
    parser.add_argument("photos", nargs="*", help="files, folders, - for one photo on stdin")
    parser.add_argument("--tier", help="default: the smallest that the runtime runs")
    parser.add_argument(
        "--float", action="store_true", help="the float file, not the one that ships"
    )
    parser.add_argument(
        "--runtime", choices=NAMES, help="default: what is installed; litert before tensorflow"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line and photo")
    parser.add_argument(
        "--top",
        type=_positive,
        default=3,
        help="classes to show, of heads without order; default: 3",
    )
    parser.add_argument("--threads", type=int, default=0, help="default: all")
    parser.add_argument(
        "--check", action="store_true", help="does this machine give the golden photos' answers?"
    )
    parser.add_argument(
        "--route",
        action="store_true",
        help="ask larger tiers where the smaller are not sure enough, and print each answer",
    )
    parser.add_argument("--tier3-url", metavar="URL", help="with --route: answers for tier 3")
    parser.add_argument(
        "--thresholds",
        type=_thresholds,
        metavar="0.75,0.8",
        help="with --route: of the tiers before the last; default: the bundle's own",
    )
    return parser


def _thresholds(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _answer(options: argparse.Namespace) -> int:
    from cannabis_ml.inference.bundle import Bundle

    if not options.photos:
        _parser().error("no photos given")
    bundle = Bundle.open(options.bundle)
    with _quietly():
        quantized = False if options.float else None
        tier = options.tier or bundle.smallest_tier(options.runtime, quantized)
        predictor = bundle.predictor(tier, quantized, options.threads, options.runtime)
    photos = _found(options.photos)
    if not photos:
        print("No photo is among what was given.", file=sys.stderr)
        return REFUSED
    names = [*map(printable, photos)]
    show = _as_json if options.json else _Table(bundle.taxonomy, names, options.top).show
    failed = 0
    for name in photos:
        try:
            answer = predictor.predict(_read(name))
        except (ValueError, OSError, CannabisMLError) as error:
            failed += 1
            said = getattr(error, "strerror", None) or str(error)
            print(f"{printable(name)}: {said}", file=sys.stderr)
            if options.json:
                _print_json({"photo": printable(name), "error": said})
            continue
        show(printable(name), answer)
    sys.stdout.flush()
    return SOME_FAILED if failed else 0


def _route(options: argparse.Namespace) -> int:
    """Answer by the tiers in turn."""
    from cannabis_ml.inference.bundle import Bundle
    from cannabis_ml.inference.route_command import route
    from cannabis_ml.inference.router import BlockingRouter

    if not options.photos:
        _parser().error("no photos given")
    if options.tier or options.float:
        _parser().error("--route asks the tiers in turn: --tier and --float do not go with it")
    bundle = Bundle.open(options.bundle)
    photos = _found(options.photos)
    if not photos:
        print("No photo is among what was given.", file=sys.stderr)
        return REFUSED
    with _quietly():
        opened = BlockingRouter(
            lambda: bundle.router(
                options.thresholds,
                remote={"tier3": options.tier3_url} if options.tier3_url else None,
                threads=options.threads,
                runtime=options.runtime,
            )
        )
    with opened as router:
        if options.json:
            return route(router, photos, _read, _as_json, _print_json)
        print("\n".join(router.router.rule.in_words()), end="\n\n")
        table = _Table(bundle.taxonomy, [*map(printable, photos)], options.top)
        return route(router, photos, _read, table.show)


def _found(given: Sequence[str]) -> list[str]:
    """Photos as given, and those below folders in order; what else is there is named on stderr.

    What ingestion passes over is passed over here, also where a shell's `*` gave it.
    """
    from cannabis_ml.photos.found_files import files_below, is_hidden_or_system, may_be_photo

    photos = []
    for name in given:
        path = Path(name)
        if path.is_dir() and not (path.name[:1] != "." and is_hidden_or_system(path.name)):
            found = [path.joinpath(*parts) for parts in files_below(path)]
            below = [file for file in found if file.is_dir() or may_be_photo(file)]
            photos += [str(file) for file in below] or [name]
            for file in sorted(set(found) - set(below)):
                print(f"{printable(file)}: not a photo", file=sys.stderr)
        elif name != STDIN and is_hidden_or_system(path.name):
            print(f"{printable(name)}: a hidden file or a system's, passed over", file=sys.stderr)
        else:
            photos.append(name)
    return photos


def _read(name: str) -> bytes:
    if name == STDIN:
        return sys.stdin.buffer.read()
    path = Path(name)
    if path.is_dir():
        raise ValueError("a folder without photos, or that cannot be opened")
    if path.exists() and not path.is_file():  # a pipe might never end
        raise ValueError("no regular file")
    return path.read_bytes()


def _as_json(name: str, answer: Answer) -> None:
    _print_json({"photo": name, **answer.as_json()})


def _print_json(value: Any) -> None:
    """Print one line that is JSON whatever the encoding of the output."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    print(json.dumps(value, ensure_ascii=encoding != "utf8"))


class _Table:
    """Lines for people: photo, head, answer, and the most likely classes.

    Of an ordinal head how likely its answer "or better" is, which the median stands on.
    """

    def __init__(self, taxonomy: Taxonomy, photos: Sequence[str], top: int) -> None:
        heads = taxonomy.heads
        classes = [c for h in heads if h.kind != "multilabel" for c in h.class_names]
        self.top = top
        self.widths = (
            min(48, max(len(cell) for cell in ("photo", *photos))),
            max(len(cell) for cell in ("head", *(head.name for head in heads))),
            min(32, max(len(cell) for cell in ("answer", *classes))),
        )
        self.line("photo", "head", "answer", "how likely")

    def line(self, *cells: str) -> None:
        padded = [cell.ljust(w) for cell, w in zip(cells, (*self.widths, 0), strict=True)]
        print("  ".join(padded).rstrip())

    def show(self, photo: str, answer: Answer) -> None:
        for name, found in answer.items():
            self.line(photo, name, str(found), "  ".join(found.in_words(self.top)))
            photo = ""


def _check(options: argparse.Namespace) -> int:
    """Report on the golden photos."""
    from cannabis_ml.inference.bundle import Bundle

    bundle = Bundle.open(options.bundle)
    with _quietly():
        report = bundle.check_golden(max(1, options.threads), options.runtime)
    if options.json:
        _print_json(report.model_dump())
        return 0 if report.passed else SOME_FAILED
    for tier, kinds in report.tiers.items():
        for kind, found in kinds.items():
            verdict = "agrees" if found.passed else "DIFFERS"
            worst = max(found.largest_difference.values())
            limit = f"{found.tolerance:.0e} allowed"
            print(f"{tier} {kind}, {found.runtime}: {verdict}, by {worst:.1e} of {limit}")
    for file in report.not_checked:
        print(f"{file}: not checked, {options.runtime} does not run it")
    for size, levels in report.inputs.items():
        print(f"photos at {size}: {levels} grey levels apart, 1 allowed")
    return 0 if report.passed else SOME_FAILED


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what a runtime's C++ tells of itself off stderr, where bad photos are named."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
