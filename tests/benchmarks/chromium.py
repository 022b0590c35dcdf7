"""Where Chromium is, under whatever name."""

from __future__ import annotations

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def chromium() -> str | None:
    """The path of the first that is installed; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)
