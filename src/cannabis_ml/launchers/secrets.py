"""Values of secrets, read by name where the command is typed, and wrapped against printing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import yaml
from pydantic import SecretStr

from cannabis_ml.launchers.backend import LaunchError


def read_secrets(names: Iterable[str], project: Path) -> dict[str, SecretStr]:
    """The value of each name: of the environment, else of `launcher` in conf/local/credentials.yml.

    Raises:
        LaunchError: Some have none; names them.
    """
    kept = _in_file(project / "conf/local/credentials.yml")
    found = {name: os.environ.get(name) or kept.get(name) for name in names}
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise LaunchError(
            f"No value for {', '.join(missing)}: set it in the environment, or below `launcher:` in"
            " conf/local/credentials.yml."
        )
    return {name: SecretStr(str(value)) for name, value in found.items()}


def available_secrets(names: Iterable[str], project: Path) -> dict[str, SecretStr]:
    """As `read_secrets`, without those that have no value here."""
    found: dict[str, SecretStr] = {}
    for name in names:
        with suppress(LaunchError):
            found |= read_secrets([name], project)
    return found


def without_secrets(text: str, secrets: Mapping[str, SecretStr]) -> str:
    """A text with every secret's value replaced by its name, in case a job prints one."""
    for name, secret in secrets.items():
        value = secret.get_secret_value()
        if value:
            text = text.replace(value, f"[{name}]")
    return text


def _in_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        read = yaml.safe_load(path.read_text("utf-8")) or {}
    except yaml.YAMLError:
        # The error of YAML quotes the line, which may be a secret.
        raise LaunchError(f"{path} is not YAML.") from None
    launcher = read.get("launcher", {}) if isinstance(read, dict) else {}
    return {str(k): str(v) for k, v in launcher.items()} if isinstance(launcher, dict) else {}
