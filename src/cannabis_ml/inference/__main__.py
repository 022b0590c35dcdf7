"""`python -m cannabis_ml.inference BUNDLE PHOTO…`: answers of a bundle for photos."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cannabis_ml._io.file_names import printable
from cannabis_ml._io.terminal import escape_unprintable_names
from cannabis_ml.errors import CannabisMLError, ConfigError
from cannabis_ml.inference.heat_map import KINDS
from cannabis_ml.inference.language import DEFAULT_LANGUAGE, languages, texts_in
from cannabis_ml.inference.report_command import (
    SOME_FAILED,
    STDIN,
    HeatMaps,
    JSONLines,
    Printer,
    ReportOptions,
    Reports,
    Table,
    print_json,
    report_photos,
)
from cannabis_ml.inference.runtimes import NAMES

if TYPE_CHECKING:
    from cannabis_ml.inference.report import Report, ReportSettings
    from cannabis_ml.taxonomy import Taxonomy

REFUSED = 2

DESCRIPTION = """\
Ask a bundle about photos. Prints a report per photo: answers, how sure they are, and what to do; a
photo that cannot be read is named on stderr and the others are answered all the same."""

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
    parser.add_argument(
        "--language", default=DEFAULT_LANGUAGE, help=f"of the report: {', '.join(languages())}"
    )
    parser.add_argument(
        "--levels",
        nargs=3,
        type=float,
        metavar=("RELIABLE", "LIKELY", "RETAKE"),
        help="calibrated confidence from which on to recommend that; default: 0.9 0.75 0.6",
    )
    parser.add_argument(
        "--heat-map", type=Path, metavar="FOLDER", help="draw there what the answers rest on"
    )
    parser.add_argument(
        "--heat-map-of",
        choices=KINDS,
        default=KINDS[0],
        help="occlusion: blurs parts in turn, which takes some fifty answers; attention: what the"
        " model weighed most, at once but less reliable",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json",
        action="store_true",
        help="one JSON object per line and photo",
    )
    form.add_argument("--table", action="store_true", help="a line per photo and head")
    parser.add_argument(
        "--top",
        type=_positive,
        default=3,
        help="alternatives to name, of a table classes of heads without order; default: 3",
    )
    parser.add_argument("--threads", type=int, default=0, help="default: all")
    parser.add_argument(
        "--check", action="store_true", help="does this machine give the golden photos' answers?"
    )
    parser.add_argument(
        "--route",
        action="store_true",
        help="ask larger tiers where the smaller are not sure enough; print each answer, and the"
        " report on the final one",
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
    from cannabis_ml.inference.reporter import Reporter

    if not options.photos:
        _parser().error("no photos given")
    settings = _settings(options)
    texts_in(options.language)
    heat_maps = (
        None if options.heat_map is None else HeatMaps(options.heat_map, options.heat_map_of)
    )
    bundle = Bundle.open(options.bundle)
    with _quietly():
        quantized = False if options.float else None
        tier = options.tier or bundle.smallest_tier(options.runtime, quantized)
        predictor = bundle.predictor(tier, quantized, options.threads, options.runtime)
    photos = _photo_names(options.photos)
    if not photos:
        print("No photo is among what was given.", file=sys.stderr)
        return REFUSED
    return report_photos(
        Reporter(predictor, bundle.rules(tier), settings),
        photos,
        _read,
        _printer(options, bundle.taxonomy, photos),
        ReportOptions(options.language, heat_maps),
    )


def _printer(options: argparse.Namespace, taxonomy: Taxonomy, photos: Sequence[str]) -> Printer:
    if options.json:
        return JSONLines()
    return Table(taxonomy, photos, options.top) if options.table else Reports()


def _settings(options: argparse.Namespace) -> ReportSettings:
    from cannabis_ml.inference.cards import faults_of
    from cannabis_ml.inference.report import ReportSettings

    levels = {}
    if options.levels is not None:
        levels = dict(zip(("reliable", "likely", "retake"), options.levels, strict=True))
    try:
        return ReportSettings(**levels, alternatives=options.top)
    except ValueError as error:
        raise ConfigError(f"--levels: {faults_of(error)}.") from error  # type: ignore[arg-type]


def _route(options: argparse.Namespace) -> int:
    """Answer by the tiers in turn."""
    from cannabis_ml.inference.bundle import Bundle
    from cannabis_ml.inference.reporter import Reporter
    from cannabis_ml.inference.route_command import route
    from cannabis_ml.inference.router import BlockingRouter

    if not options.photos:
        _parser().error("no photos given")
    if options.tier or options.float:
        _parser().error("--route asks the tiers in turn: --tier and --float do not go with it")
    if options.heat_map:
        _parser().error("--heat-map does not go with --route")
    settings = _settings(options)
    texts_in(options.language)
    bundle = Bundle.open(options.bundle)
    photos = _photo_names(options.photos)
    if not photos:
        print("No photo is among what was given.", file=sys.stderr)
        return REFUSED
    remote = {"tier3": options.tier3_url} if options.tier3_url else {}
    with _quietly():
        opened = BlockingRouter(
            lambda: bundle.router(
                options.thresholds,
                remote=remote,
                threads=options.threads,
                runtime=options.runtime,
            )
        )
    reporters: dict[str, Reporter] = {}

    def report(photo: bytes, tier: str) -> Report | None:
        if tier in remote:
            return None
        if tier not in reporters:
            with _quietly():
                predictor = bundle.predictor(tier, None, options.threads, options.runtime)
            reporters[tier] = Reporter(predictor, bundle.rules(tier), settings)
        return reporters[tier].report(photo, language=options.language)

    with opened as router:
        if options.json:
            return route(router, photos, _read, write_json=print_json, report=report)
        print("\n".join(router.router.rule.in_words()), end="\n\n")
        table = Table(bundle.taxonomy, photos, options.top)
        return route(router, photos, _read, table.show, report=report)


def _photo_names(given: Sequence[str]) -> list[str]:
    """Photos as given, and those below folders in order; what else is there is named on stderr.

    What ingestion passes over is passed over here, also where a shell's `*` gave it.
    """
    from cannabis_ml.photos.found_files import files_below, is_hidden_or_system, may_be_photo

    photos = []
    for name in given:
        path = Path(name)
        if path.is_dir() and not (path.name[:1] != "." and is_hidden_or_system(path.name)):
            files = [path.joinpath(*parts) for parts in files_below(path)]
            below = [file for file in files if file.is_dir() or may_be_photo(file)]
            photos += [str(file) for file in below] or [name]
            for file in sorted(set(files) - set(below)):
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
        raise ValueError("not a regular file")
    return path.read_bytes()


def _check(options: argparse.Namespace) -> int:
    """Report on the golden photos."""
    from cannabis_ml.inference.bundle import Bundle

    bundle = Bundle.open(options.bundle)
    with _quietly():
        report = bundle.check_golden(max(1, options.threads), options.runtime)
    if options.json:
        print_json(report.model_dump())
        return 0 if report.passed else SOME_FAILED
    for tier, kinds in report.tiers.items():
        for kind, file in kinds.items():
            print(f"{tier} {kind}, {file.runtime}: {file.in_words()}")
    for name in report.not_checked:
        print(f"{name}: not checked, {options.runtime} does not run it")
    for size, levels in report.inputs.items():
        print(f"photos at {size}: {levels} grey levels apart, 1 allowed")
    return 0 if report.passed else SOME_FAILED


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the messages of a runtime's C++ off stderr, where bad photos are named."""
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
