"""Kedro settings: hooks, and how configuration is loaded and merged."""

import os
import re
from pathlib import Path

from kedro.utils import find_kedro_project

from cannabis_ml._io.openmp import limit_spinning
from cannabis_ml._io.storage_protocols import register
from cannabis_ml.config import ProjectConfigLoader
from cannabis_ml.hooks import (
    LineageHook,
    ResultHook,
    SizesHook,
    TerminalHook,
    TrackingHook,
    UnfinishedHook,
    WritersHook,
)
from cannabis_ml.minutes_hook import MinutesHook
from cannabis_ml.wandb_hook import WandbHook

limit_spinning()
register()


def _project_path() -> str:
    """Path of the project that contains the working directory."""
    return str(find_kedro_project(Path.cwd()) or Path.cwd())


def _project_uri() -> str:
    """Path of the project for a database URL, where `%2F`, `?` and `#` are special.

    Quoting them is not enough: opening the database unquotes them, creating its folder does not.
    The relative path from inside the project consists of dots alone.
    """
    path = _project_path()
    return os.path.relpath(path) if re.search("[%?#]", path) else path


# Kedro calls hooks in reverse order: the summary is printed after everything was tracked.
HOOKS = (
    MinutesHook(),
    ResultHook(),
    WandbHook(),
    TrackingHook(),
    LineageHook(),
    UnfinishedHook(),
    WritersHook(),
    SizesHook(),
    TerminalHook(),
)

CONFIG_LOADER_CLASS = ProjectConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # Environments override single parameters; lists, such as the heads, are replaced whole.
    "merge_strategy": {"parameters": "soft"},
    "custom_resolvers": {"project_path": _project_path, "project_uri": _project_uri},
}
