"""`python -m cannabis_ml.inference BUNDLE PHOTO… --route`: tiers in turn, then a report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cannabis_ml._io.file_names import printable
from cannabis_ml.errors import CannabisMLError
from cannabis_ml.inference.router import BlockingRouter, Routed

if TYPE_CHECKING:
    from cannabis_ml.inference.answer import Answer
    from cannabis_ml.inference.report import Report

SOME_FAILED = 1


def route(
    router: BlockingRouter,
    photos: Sequence[str],
    read: Callable[[str], bytes],
    show: Callable[[str, Answer], None] | None = None,
    write_json: Callable[[dict[str, object]], None] | None = None,
    report: Callable[[bytes, str], Report | None] = lambda *_: None,
) -> int:
    """Route photos, and print every answer as it comes, and the report on the final one.

    Args:
        router: Open; not closed here.
        photos: Names, as for `read`.
        read: Gives the bytes of one.
        show: Prints an answer for people, under a name.
        write_json: Prints an object for machines; takes the place of `show`.
        report: Gives the report on a photo by a tier, None where the tier is elsewhere.

    Returns:
        The exit status. Photos that cannot be answered are named on stderr.
    """
    failed = 0
    for name in photos:
        try:
            photo = read(name)
            for routed in router.stream(photo):
                reported = report(photo, routed.tier) if routed.final else None
                if write_json is not None:
                    final = {"report": reported and reported.as_json()} if routed.final else {}
                    write_json({"photo": printable(name), **routed.as_json(), **final})
                elif show is not None:
                    show(printable(name), routed.answer)
                    print(f"  {in_words(routed)}", flush=True)
                    _print_report(printable(name), reported, routed)
        except (ValueError, OSError, CannabisMLError) as error:
            failed += 1
            reason = getattr(error, "strerror", None) or str(error)
            print(f"{printable(name)}: {reason}", file=sys.stderr)
            if write_json is not None:
                write_json({"photo": printable(name), "error": reason})
    counts = router.router.metrics.snapshot()
    if write_json is None and counts["photos"] > 1:
        shares = ", ".join(f"{tier} {share}%" for tier, share in counts["percent"].items())
        print(f"\n{counts['photos']:,} photos: final answers by {shares}")
    sys.stdout.flush()
    return SOME_FAILED if failed else 0


def _print_report(photo: str, report: Report | None, routed: Routed) -> None:
    from cannabis_ml.inference.report_command import Reports

    if report is not None:
        print()
        Reports().show(photo, report, None)
        print()
    elif routed.final:
        print(f"  no report: {routed.tier} answered elsewhere")


def in_words(routed: Routed) -> str:
    """Which tier answered, after how long, at what cost, and what becomes of it, in one line."""
    cost = str(routed.cost)
    line = f"{routed.tier} after {routed.milliseconds:.0f} ms"
    if cost != "0":
        line += f", cost {cost}"
    if routed.degraded:
        away = "; ".join(f"{tier}: {why}" for tier, why in routed.missing.items())
        return f"{line}: the best answer so far, not accepted ({routed.why}). Not reached: {away}"
    if not routed.final:
        return f"{line}: not accepted ({routed.why}), a larger tier is asked"
    state = "accepted" if routed.accepted else "the last tier's, not accepted"
    return f"{line}: {state} ({routed.why})"
