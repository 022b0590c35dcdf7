"""The line of champions: whom a rollback goes back to."""

from __future__ import annotations

from collections.abc import Sequence


def before_last(steps: Sequence[tuple[bool, str]]) -> str | None:
    """Id of the champion before the present one.

    Of A, B, C and a rollback to B, the one before is A: rolling back again goes further back.

    Args:
        steps: The oldest first: whether it was a rollback, and the champion from then on.

    Returns:
        None where there is none before.
    """
    line: list[str] = []
    for is_back, champion in steps:
        if is_back:
            back = len(line) - 1 - line[::-1].index(champion)
            line = line[: back + 1]
        else:
            line.append(champion)
    return line[-2] if len(line) > 1 else None
