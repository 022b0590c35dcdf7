"""Configuration loader that keeps paths as written and expands `~`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader

from cannabis_ml._io.files import at_home
from cannabis_ml._io.remote import is_remote
from cannabis_ml.errors import ConfigError

PATH_KEYS = frozenset({"filename", "filepath", "leaf_map", "path", "photos_root", "repo"})
"""Keys of the catalog that hold a path."""

FOLDER_KEYS = frozenset({"data"})
"""Keys of globals.yml that hold a path."""

NOTHING_TYPED: Mapping[str, str] = MappingProxyType({})

params_as_typed: ContextVar[Mapping[str, str]] = ContextVar(
    "params_as_typed", default=NOTHING_TYPED
)
"""Text of each value of `--params` by name, before YAML parses it."""


class ProjectConfigLoader(OmegaConfigLoader):
    """Kedro's loader, with paths kept as written.

    YAML reads a folder called 2024.10 as the number 2024.1, 007 as 7 and 1e3 as 1000.0, in files
    and in `--params`; and Kedro takes `~/photos` for a folder `~` inside the project.
    """

    def __init__(self, conf_source: str | Path, *args: Any, **kwargs: Any) -> None:
        if "[" in str(conf_source):
            raise ConfigError(
                f"Kedro cannot read its configuration below {conf_source}: '[' is a wildcard in its"
                " paths.\nMove the project to a folder without one."
            )
        super().__init__(conf_source, *args, **kwargs)

    def __getitem__(self, key: str) -> dict[str, Any]:
        if key == "credentials":
            return self._credentials()
        config = super().__getitem__(key)
        if key == "globals":
            return self._with_typed_data(config)
        if key != "catalog":
            return config
        entries = _with_home(config)
        data, storage = str(self._globals.get("data")), self._globals.get("storage") or {}
        if storage.get("credentials") and is_remote(data):
            return with_credentials(entries, str(storage["credentials"]), data)
        return entries

    def _with_typed_data(self, config: dict[str, Any]) -> dict[str, Any]:
        """Globals, with the data root of `--params data=…`."""
        typed = (self.runtime_params or {}).get("data")
        if not isinstance(typed, str | int | float):
            return config
        return {
            **config,
            "data": path_as_typed(typed, params_as_typed.get().get("data", str(typed))),
        }

    def _credentials(self) -> dict[str, Any]:
        """Those of conf/local hold in every environment; Kedro reads them in its own alone."""
        try:
            found = super().__getitem__("credentials")
        except MissingConfigException:
            found = {}
        own = self._get_conf_env_path(self.default_run_env)
        if self.env in (None, self.default_run_env) or not self._fs.isdir(Path(own).as_posix()):
            return found
        patterns = self.config_patterns["credentials"]
        files = self._read_dir_configs(own, patterns, "credentials", set(), True)
        return {**self._merge_and_resolve("credentials", files), **found}

    def _read_dir_configs(self, *args: Any, **kwargs: Any) -> dict[Path, DictConfig]:
        configs = super()._read_dir_configs(*args, **kwargs)
        kind = kwargs["key"] if "key" in kwargs else args[2]
        path_keys = {"catalog": PATH_KEYS, "globals": FOLDER_KEYS}.get(kind)
        if path_keys is None:
            return configs
        return {file: self._read_again(file, path_keys) for file in configs}

    def _read_again(self, file: Path, path_keys: frozenset[str]) -> DictConfig:
        with self._fs.open(file.as_posix()) as opened:
            text = io.StringIO(opened.read().decode("utf8"))
        return OmegaConf.create(yaml.load(text, Loader=_loader(path_keys)) or {})

    def _register_runtime_params_resolver(self) -> None:
        def resolve(variable: str, *default: Any, _node_: Any) -> Any:
            value = self._get_runtime_value(variable, *default)
            typed = params_as_typed.get().get(variable)
            is_path = _node_ is not None and _node_._key() in PATH_KEYS
            return value if typed is None or not is_path else path_as_typed(value, typed)

        OmegaConf.register_new_resolver("runtime_params", resolve, replace=True)


def path_as_typed(value: Any, typed: str) -> str | None:
    """The path that was typed where YAML read `value`; None for null and empty text."""
    typed = typed.strip()
    if typed in ("", "null", "Null", "NULL"):
        return None
    is_quoted = isinstance(value, str) and typed[0] in "'\"" and typed[0] == typed[-1]
    return str(value) if is_quoted else typed


def with_credentials(entries: dict[str, Any], name: str, data: str) -> dict[str, Any]:
    """Catalog entries with credentials, where they lie on the data root's file system.

    Args:
        entries: By name; those that name their credentials keep them.
        name: Of the credentials, in credentials.yml.
        data: The data root.
    """
    protocol = address_of(data).partition("://")[0]
    return {
        entry: _credited(fields, name, protocol) if isinstance(fields, dict) else fields
        for entry, fields in entries.items()
    }


def _credited(fields: dict[str, Any], name: str, protocol: str) -> dict[str, Any]:
    credited = {
        key: _credited(value, name, protocol)
        if isinstance(value, dict) and key not in ("source", "sources", "metadata")
        else value
        for key, value in fields.items()
    }
    places = [fields, fields.get("source"), *(fields.get("sources") or {}).values()]
    addresses = [
        str(value)
        for place in places
        if isinstance(place, dict)
        for key, value in place.items()
        if key in PATH_KEYS
    ]
    if any(address.startswith(f"{protocol}://") for address in addresses):
        credited["credentials"] = fields.get("credentials") or name
    return credited


def address_of(path: str) -> str:
    """A path as Kedro's own types read it: of Azure's two names for one service they know one."""
    return f"abfs://{path.removeprefix('az://')}" if path.startswith("az://") else path


def _with_home(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: address_of(at_home(value))
            if key in PATH_KEYS and isinstance(value, str)
            else _with_home(value)
            for key, value in node.items()
        }
    return [_with_home(value) for value in node] if isinstance(node, list) else node


def _loader(path_keys: frozenset[str]) -> type:
    """OmegaConf's YAML loader, with the values of some keys read as text."""

    class Loader(get_yaml_loader()):  # type: ignore[misc]
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
            for key, value in node.value:
                is_read = isinstance(value, yaml.ScalarNode) and value.tag in _REREAD
                if key.value in path_keys and is_read:
                    value.tag = "tag:yaml.org,2002:str"
            return super().construct_mapping(node, deep)

    return Loader


_REREAD = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "int", "timestamp")}
