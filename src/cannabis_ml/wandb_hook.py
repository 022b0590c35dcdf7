"""Weights & Biases beside MLflow: a hook that logs what the catalog marks for trackers.

MLflow stays the record. `tracking.wandb` switches this on; where it is off, wandb is not imported.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cannabis_ml._io.files import HomePath
from cannabis_ml._io.live_metrics import add_listener, remove_listener
from cannabis_ml._io.metric_names import mlflow_keys
from cannabis_ml.datasets.places import saved_path
from cannabis_ml.errors import ConfigError
from cannabis_ml.hooks import git_state, numbers_of, run_name, tracking_marks

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog

logger = logging.getLogger(__name__)

FAILED = 1
"""Exit code of a run in W&B that ended with an error."""

KILLED = 255
"""Exit code of a run in W&B that was interrupted, as W&B's own client sets it after Ctrl-C."""

FINISH_SECONDS = 300.0
"""How long the end of a run waits for a server that does not take the rest, which stays on disk."""

_FOLDERS = {
    "WANDB_DIR": "",
    "WANDB_DATA_DIR": "data",
    "WANDB_CACHE_DIR": "cache",
    "WANDB_CONFIG_DIR": "config",
    "WANDB_ARTIFACT_DIR": "artifacts",
}
"""Variables that name W&B's folders, and where each is below the configured one; runs are in
`wandb/` of the first."""


class WandbParams(BaseModel):
    """Whether and how runs are logged to Weights & Biases, besides MLflow."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(default=False, description="Log every run; needs the extra `wandb`")
    mode: Literal["offline", "online"] = Field(
        default="offline",
        description="offline: files only, for which no account is needed; `wandb sync` uploads them"
        " later. online: also uploads while the run goes on, with the key of WANDB_API_KEY or"
        " `wandb login`, to the server of WANDB_BASE_URL",
    )
    project: str = Field(default="cannabis_ml", min_length=1, description="Project in W&B")
    entity: str | None = Field(
        default=None, description="User or team in W&B; null: the account's own"
    )
    timeout: float = Field(
        default=30.0,
        gt=0,
        description="online: seconds to wait for the server before a run goes on offline",
    )
    folder: HomePath = Field(
        default=Path("data/09_tracking/wandb"),
        description="Where W&B keeps all its files, within the project",
    )
    files: list[str] = Field(
        default_factory=lambda: ["figures", "reports"],
        description="Which files are logged, by the folder that `metadata.mlflow.artifact` of the"
        " catalog names: figures, reports, models, bundle, ingestion, feedback. Metrics always are",
    )


class WandbHook:
    """Logs to a run in W&B what `metadata: {mlflow: …}` of the catalog marks.

    Metrics and fingerprints go to the run's summary, metrics of epochs to its history while
    training goes on, parameters to its configuration, PNG files to its media, other files to
    artifacts. No failure of W&B ends a run of ours once it has begun.
    """

    def __init__(self) -> None:
        self._run: Any = None
        self._params = WandbParams()
        self._variables: dict[str, str | None] = {}
        self._known: set[str] = set()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        self._context = context

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        self._catalog = catalog

    @hook_impl(wrapper=True)  # refuses before MLflow has started a run, starts its own after that
    def before_pipeline_run(self, run_params: dict[str, Any]) -> Generator[None, Any, Any]:
        self._params = wandb_params(self._context.config_loader["parameters"])
        if self._params.enabled:
            self._prepare()
        result = yield
        if self._params.enabled:
            self._start(run_params)
        return result

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        if self._run is not None and "fingerprint" in tracking_marks(self._catalog, dataset_name):
            self._log_fingerprint(dataset_name, data)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        if self._run is None:
            return
        marks = tracking_marks(self._catalog, dataset_name)
        if "metrics" in marks:
            numbers = wandb_names(numbers_of(data, marks["metrics"]))
            with self._tolerated(dataset_name):
                self._run.summary.update(numbers)
        if marks.get("artifact") in self._params.files:
            with self._tolerated(dataset_name):
                self._log_files(dataset_name, marks["artifact"])
        if "fingerprint" in marks:
            self._log_fingerprint(dataset_name, self._catalog[dataset_name].load())

    @hook_impl
    def on_pipeline_error(self) -> None:
        self._end(FAILED)

    @hook_impl
    def after_pipeline_run(self) -> None:
        self._end(0)

    def _prepare(self) -> None:
        """Check that a run can be logged, and let W&B keep its files below the folder.

        Raises:
            ConfigError: If wandb is not installed, or has no key where it is to upload.
        """
        if importlib.util.find_spec("wandb") is None:
            raise ConfigError(
                "tracking.wandb is enabled but wandb is not installed: `pip install"
                " 'cannabis_ml[wandb]'`, or set tracking.wandb.enabled to false."
            )
        folder = Path(self._context.project_path) / self._params.folder
        variables = {name: str(folder / below) for name, below in _FOLDERS.items()}
        # W&B's client reports its own faults to W&B, offline too. The configuration alone decides
        # on uploads.
        variables |= {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
        variables |= {"WANDB_MODE": self._params.mode}
        self._variables = {name: os.environ.get(name) for name in variables}
        os.environ |= variables
        for name in _FOLDERS:
            Path(variables[name]).mkdir(parents=True, exist_ok=True)
        if self._params.mode == "online" and not _has_key():
            self._restore_variables()
            raise ConfigError(
                "tracking.wandb.mode is online but there is no key for W&B: set WANDB_API_KEY, run"
                " `wandb login`, or set tracking.wandb.mode to offline."
            )

    def _start(self, run_params: dict[str, Any]) -> None:
        self._known = set()
        mode = self._params.mode
        try:
            self._run = self._opened(mode, run_params)
        except Exception:
            if mode == "offline":
                raise
            logger.warning(
                "W&B's server cannot be reached. The run is logged to files: `wandb sync` uploads"
                " them later.",
                exc_info=True,
            )
            self._run = self._opened("offline", run_params)
        add_listener(self._log_epoch)
        logger.info("W&B run %s (%s): %s", self._run.id, self._run.settings.mode, self._folder())
        if self._mlflow_run() is not None:
            import mlflow

            mlflow.set_tag("wandb_run", self._run.id)

    def _opened(self, mode: Literal["offline", "online"], run_params: dict[str, Any]) -> Any:
        import wandb

        params = self._params
        config = {
            **self._context.config_loader["parameters"],
            **git_state(Path(self._context.project_path)),
            "kedro_env": run_params.get("env") or "base",
            "mlflow_run": self._mlflow_run(),
        }
        return wandb.init(
            project=params.project,
            entity=params.entity,
            name=run_name(run_params),
            mode=mode,
            dir=os.environ["WANDB_DIR"],
            config=config,
            settings=wandb.Settings(
                silent=True,
                # What it would send besides what is marked: output, changes of the code, the
                # command line, the host.
                console="off",
                disable_git=True,
                save_code=False,
                disable_job_creation=True,
                x_disable_meta=True,
                host="",
                init_timeout=params.timeout,
                finish_timeout=FINISH_SECONDS,
            ),
        )

    def _log_epoch(self, numbers: Mapping[str, float], log_as: str, epoch: int) -> None:
        """One step of the run's history, drawn over the epochs of its tier."""
        prefix = f"{log_as}." if log_as else ""
        spelled = [f"{prefix}epoch", *(prefix + name for name in numbers)]
        over, *names = wandb_names(dict.fromkeys(spelled))
        if over not in self._known:
            self._known.add(over)
            self._run.define_metric(over, hidden=True)
            for name in names:
                self._run.define_metric(name, step_metric=over)
        self._run.log({over: epoch, **dict(zip(names, numbers.values(), strict=True))})

    def _log_fingerprint(self, dataset_name: str, data: Any) -> None:
        with self._tolerated(dataset_name):
            self._run.summary.update(
                {
                    f"{dataset_name}_fingerprint": data.fingerprint,
                    f"{dataset_name}_photos": len(data),
                }
            )

    def _log_files(self, dataset_name: str, kind: str) -> None:
        import wandb

        dataset = self._catalog[dataset_name]
        path = saved_path(dataset)
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        pictures = [file for file in files if file.suffix == ".png"]
        place = f"{kind}/{dataset_name.replace('.', '/')}"
        if pictures:
            names = [place if file == path else f"{place}/{file.stem}" for file in pictures]
            self._run.log({n: wandb.Image(str(f)) for n, f in zip(names, pictures, strict=True)})
        if len(pictures) == len(files):
            return
        artifact = wandb.Artifact(dataset_name, type=kind)
        # A version never changes, so it need not be copied until it is uploaded.
        kept = isinstance(dataset, AbstractVersionedDataset)
        policy: Literal["immutable", "mutable"] = "immutable" if kept else "mutable"
        for file in files:
            if file not in pictures:
                name = file.relative_to(path).as_posix() if path.is_dir() else file.name
                artifact.add_file(str(file), name=name, policy=policy)
        self._run.log_artifact(artifact)

    def _end(self, exit_code: int) -> None:
        run, self._run = self._run, None
        remove_listener(self._log_epoch)
        if run is not None:
            import wandb

            with self._tolerated("the end of the run"):
                offline = run.settings.mode == "offline"
                folder = Path(run.settings.sync_dir)
                run.finish(exit_code=exit_code)
                wandb.teardown()  # waits until its process has written the last of the file
                if offline:
                    logger.info("To upload the run to W&B: wandb sync %s", folder)
        self._restore_variables()

    def _restore_variables(self) -> None:
        for name, value in self._variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._variables = {}

    def _folder(self) -> Path:
        return Path(self._run.settings.sync_dir)

    @contextmanager
    def _tolerated(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            # MLflow has it: what W&B does not take is no reason to lose a training.
            logger.warning("W&B did not take %s", what, exc_info=True)

    @staticmethod
    def _mlflow_run() -> str | None:
        import mlflow

        active = mlflow.active_run()
        return active.info.run_id if active else None


def wandb_params(parameters: Mapping[str, Any]) -> WandbParams:
    """Read `tracking.wandb` of the parameters.

    Raises:
        ConfigError: If it has a value or a key that does not exist; names each.
    """
    try:
        return WandbParams.model_validate(parameters.get("tracking", {}).get("wandb", {}))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise ConfigError(f"tracking.wandb in conf/*/parameters_tracking.yml: {faults}") from error


def wandb_names(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Spell the names of metrics as MLflow has them, with `/` for dots: W&B groups charts by it."""
    keys = mlflow_keys(numbers)
    return {keys[name].replace(".", "/"): value for name, value in numbers.items()}


def _has_key() -> bool:
    import wandb

    return bool(wandb.login(prompt=False, verify=False))
