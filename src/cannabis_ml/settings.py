"""Settings that Kedro reads: hooks, and how configuration is loaded and merged."""

import os
import re
from pathlib import Path

from kedro.utils import find_kedro_project

from cannabis_ml._io.openmp import limit_spinning
from cannabis_ml.config import ProjectConfigLoader
from cannabis_ml.hooks import (
    ResultHook,
    SizesHook,
    TerminalHook,
    TrackingHook,
    UnfinishedHook,
    WritersHook,
)

limit_spinning()


def _project_path() -> str:
    """The project that the command was started in, wherever inside it that was."""
    return str(find_kedro_project(Path.cwd()) or Path.cwd())


def _project_uri() -> str:
    """The same as it may stand in a database's address, where `%2F`, `?` and `#` mean something.

    Quoting them is not enough: what opens the database takes the quotes off, but what makes its
    folder does not. From inside the project its path is made of dots alone.
    """
    path = _project_path()
    return os.path.relpath(path) if re.search("[%?#]", path) else path


# Kedro calls the hooks registered last first: results are shown after everything was tracked.
HOOKS = (ResultHook(), TrackingHook(), UnfinishedHook(), WritersHook(), SizesHook(), TerminalHook())

CONFIG_LOADER_CLASS = ProjectConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment changes single parameters; lists, such as the heads, it replaces whole.
    "merge_strategy": {"parameters": "soft"},
    "custom_resolvers": {"project_path": _project_path, "project_uri": _project_uri},
}
