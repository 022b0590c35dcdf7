"""The project's configuration, as `cannabis_ml launch` needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cannabis_ml._io.tracking_store import local_folder
from cannabis_ml.launchers.backend import LaunchError, in_words
from cannabis_ml.launchers.prices import PriceTable
from cannabis_ml.launchers.runs import Store
from cannabis_ml.launchers.server_runs import Server
from cannabis_ml.launchers.settings import LauncherSettings


def configuration(env: str | None) -> tuple[LauncherSettings, PriceTable]:
    """launcher.yml and launcher_prices.yml of an environment."""
    loader = config_loader(env)
    settings = LauncherSettings.read(loader["launcher"])
    try:
        return settings, PriceTable.model_validate(loader["launcher_prices"])
    except ValidationError as error:
        raise LaunchError(f"launcher_prices.yml: {in_words(error)}.") from error


def tracking_store() -> Store | Server | None:
    """Where mlflow.yml keeps runs: a local database, or a server; None for anything else."""
    config = config_loader(None)["mlflow"]
    uri = config["server"]["mlflow_tracking_uri"]
    experiment = config["tracking"]["experiment"]
    if uri.startswith(("http://", "https://")):
        return Server(uri, experiment["name"])
    artifacts = local_folder(experiment["create_experiment_kwargs"]["artifact_location"])
    if not uri.startswith("sqlite:///") or artifacts is None:
        return None
    database = Path.cwd() / uri.removeprefix("sqlite:///")
    return Store(database, artifacts, experiment["name"])


def config_loader(env: str | None) -> Any:
    """Kedro's loader of the project in the working directory, which also knows our files."""
    from kedro.framework.project import settings

    arguments = dict(settings.CONFIG_LOADER_ARGS)
    patterns = {
        "launcher": ["launcher.yml"],
        "launcher_prices": ["launcher_prices.yml"],
        "mlflow": ["mlflow*"],
    }
    arguments["config_patterns"] = {**arguments.get("config_patterns", {}), **patterns}
    merging = {"launcher": "soft", "launcher_prices": "soft"}
    arguments["merge_strategy"] = {**arguments.get("merge_strategy", {}), **merging}
    return settings.CONFIG_LOADER_CLASS(conf_source=str(Path.cwd() / "conf"), env=env, **arguments)
