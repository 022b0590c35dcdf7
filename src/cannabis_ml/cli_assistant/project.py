"""What commands of the assistant read of the project: parameters, classes, the store, MLflow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cannabis_ml.errors import ConfigError

if TYPE_CHECKING:
    from cannabis_ml.assistant.params import AssistantParams
    from cannabis_ml.feedback.store import FeedbackStore
    from cannabis_ml.taxonomy import Taxonomy


class Project:
    """The project around the working directory, read without a Kedro session.

    A session would open MLflow's database before anything is known to be asked.

    Args:
        env: Kedro's environment; None for the usual one.
    """

    def __init__(self, env: str | None) -> None:
        self.env = env

    @cached_property
    def folder(self) -> Path:
        """Where the project is.

        Raises:
            ConfigError: If the working directory is in none.
        """
        from kedro.utils import find_kedro_project

        found = find_kedro_project(Path.cwd())
        if found is None:
            raise ConfigError(f"{Path.cwd()} is not in a project: no pyproject.toml names one.")
        return Path(found)

    @cached_property
    def _config(self) -> Any:
        from kedro.framework.project import configure_project, settings

        configure_project("cannabis_ml")
        patterns = {"mlflow": ["mlflow*"], "treatments": ["treatments*"]}
        arguments = dict(settings.CONFIG_LOADER_ARGS) | {"config_patterns": patterns}
        arguments["merge_strategy"] = arguments["merge_strategy"] | {"treatments": "soft"}
        conf = str(self.folder / "conf")
        return settings.CONFIG_LOADER_CLASS(conf_source=conf, env=self.env, **arguments)

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """All parameters, as configured."""
        given: Mapping[str, Any] = self._config["parameters"]
        return given

    @cached_property
    def params(self) -> AssistantParams:
        """Of the assistant.

        Raises:
            ConfigError: If they are not valid.
        """
        from pydantic import ValidationError

        from cannabis_ml.assistant.params import AssistantParams

        try:
            params = AssistantParams.model_validate(self.parameters.get("assistant", {}))
        except ValidationError as error:
            raise ConfigError(f"parameters_assistant.yml is not valid: {error}") from error
        return params.model_copy(update={"folder": self.folder / params.folder})

    def entry(self, name: str) -> Any:
        """An entry of the catalog."""
        from kedro.framework.context.context import _convert_paths_to_absolute_posix
        from kedro.io import DataCatalog

        entries = {name: self._config["catalog"][name]}
        absolute = _convert_paths_to_absolute_posix(self.folder, entries)
        return DataCatalog.from_config(absolute, self._credentials()).get(name)

    def _credentials(self) -> Any:
        from kedro.config import MissingConfigException

        try:
            return self._config["credentials"]
        except MissingConfigException:
            return {}

    def load(self, name: str, remedy: str) -> Any:
        """What an entry of the catalog holds.

        Args:
            name: Of the entry.
            remedy: The command that makes it.

        Raises:
            ConfigError: If it is not there yet.
        """
        from kedro.io import DatasetError

        try:
            return self.entry(name).load()
        except DatasetError as error:
            raise ConfigError(f"There is no {name} yet: run `{remedy}` first.") from error

    def table(self, name: str) -> Any:
        """A table that label_next wrote.

        Raises:
            ConfigError: If it is not there yet.
        """
        return self.load(name, "kedro run --pipeline=label_next")

    def treatments(self) -> Mapping[str, object]:
        """Rules of all `treatments.yml`, by id."""
        from kedro.config import MissingConfigException

        try:
            given: Mapping[str, object] = self._config["treatments"]["treatments"]
        except MissingConfigException:
            return {}
        return given

    def write_report(self, name: str, text: str) -> Path:
        """Write a report of the assistant, whole or not at all; where it is."""
        from cannabis_ml._io.files import written_aside

        file = self.params.folder / "reports" / name
        with written_aside(file) as aside:
            aside.write_text(text, "utf-8")
        return file

    def taxonomy(self) -> Taxonomy:
        """Of the configuration, where it lists all classes; else as ingestion found them.

        Raises:
            ConfigError: If the classes are not known yet.
        """
        import pandas as pd

        from cannabis_ml.taxonomy_spec import TaxonomySpec

        spec = TaxonomySpec.model_validate(self.parameters["taxonomy"])
        if all(head.classes != "derived" for head in spec.heads):
            return spec.resolve(pd.DataFrame())  # without names of another taxonomy
        found: Taxonomy = self.load("taxonomy", "kedro run --pipeline=ingestion")
        return found

    @contextlib.contextmanager
    def store(self) -> Iterator[FeedbackStore]:
        """The store of feedback, as configured."""
        from cannabis_ml.feedback.params import StoreParams

        given = self.parameters.get("feedback", {}).get("store", {})
        limits = StoreParams.model_validate(given).limits
        with contextlib.chdir(self.folder):  # its address may be relative
            opened = self.entry("feedback_store").open(limits)
        with opened:
            yield opened

    def log_run(self, name: str, params: dict[str, str], metrics: dict[str, float]) -> None:
        """Log a run in MLflow, in the project's experiment."""
        import mlflow

        from cannabis_ml._io.metric_names import mlflow_keys

        with contextlib.chdir(self.folder):
            config = self._config["mlflow"]
            experiment = config["tracking"]["experiment"]
            mlflow.set_tracking_uri(config["server"]["mlflow_tracking_uri"])
            if mlflow.get_experiment_by_name(experiment["name"]) is None:
                mlflow.create_experiment(
                    experiment["name"], **experiment.get("create_experiment_kwargs", {})
                )
            mlflow.set_experiment(experiment["name"])
            with mlflow.start_run(run_name=f"assistant {name}"):
                mlflow.set_tags({"kedro_env": self.env or "base", "assistant": name})
                mlflow.log_params(params)
                keys = mlflow_keys(metrics)
                mlflow.log_metrics({keys[name]: value for name, value in metrics.items()})
