"""Messages on the terminal as they are, whatever names they hold and whatever it can show."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def show_messages_literally() -> None:
    """Keep Rich from reading `[old]` in a message as markup, which hides it or raises an error.

    `conf/logging.yml` switches markup off, where it is read: not in folders below the project's.
    Kedro colors names of data sets by marking them up
    itself, which would then be shown as it stands: that is taken out of its records. Handlers that
    a person's own logging configuration made are treated alike.
    """
    for handler in logging.getLogger().handlers:
        if hasattr(handler, "markup"):
            handler.markup = False
            if not any(isinstance(one, _Uncolored) for one in handler.filters):
                handler.addFilter(_Uncolored())


def literal_console() -> Console:
    """A console that prints `[old]` and `:leaf:` as they stand; styles are given apart."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def escape_unprintable_names() -> None:
    """Write what the encoding of the terminal does not have with backslashes, not as an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Uncolored(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if hasattr(record, "rich_format"):
            del record.rich_format
        record.markup = False
        return True
