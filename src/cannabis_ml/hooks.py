"""Hooks around a run: tracking in MLflow, checks before it, a summary after it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset
from kedro.io.core import VersionNotFoundError
from pydantic import BaseModel

from cannabis_ml import lineage
from cannabis_ml._io.metric_names import mlflow_keys
from cannabis_ml._io.remote import RemotePath
from cannabis_ml._io.terminal import (
    escape_unprintable_names,
    literal_console,
    show_messages_literally,
)
from cannabis_ml._io.tracking_store import follow_move, local_folder
from cannabis_ml.datasets.places import place_of, root_of, saved_path
from cannabis_ml.sizes import sizes_of_run
from cannabis_ml.tiers import TIERS

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline
    from rich.table import Table

    from cannabis_ml.datasets.lineage import RunVersions
    from cannabis_ml.evaluation.scores import Evaluation

MAX_PARAM_LENGTH = 500
"""Longest parameter value logged to MLflow, in characters; longer ones are truncated."""


class TrackingHook:
    """Logs catalog entries to kedro-mlflow's run, as set in their metadata.

    `metadata: {mlflow: …}` of an entry sets what is logged when it is saved:
    `artifact: FOLDER` logs the file or folder (versioned entries too, which kedro-mlflow's own
    artifact type cannot), `metrics: PREFIX` logs every number in it, `fingerprint: true` tags the
    run with the hash of the photo set, also when it is only loaded.
    """

    @hook_impl(trylast=True)  # kedro-mlflow has opened its database by then
    def after_context_created(self, context: KedroContext) -> None:
        self._context = context
        _follow_move(context)

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        self._catalog = catalog

    @hook_impl(trylast=True)  # kedro-mlflow has started the run by then
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        mlflow = _mlflow_in_run()
        if mlflow is None:
            return
        mlflow.set_tags(git_state(Path(self._context.project_path)))
        env = run_params.get("env") or "base"
        mlflow.set_tags({"kedro_env": env, "mlflow.runName": run_name(run_params)})
        # Nodes get typed parameters, which MLflow would show as one long string.
        parameters = self._context.config_loader["parameters"]
        values = {name: str(value)[:MAX_PARAM_LENGTH] for name, value in flatten(parameters)}
        keys = mlflow_keys(values)
        mlflow.log_params({keys[name]: value for name, value in values.items()})

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        self._tag_fingerprint(dataset_name, data)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        wanted = self._wanted(dataset_name)
        mlflow = _mlflow_in_run() if wanted else None
        if mlflow is None:
            return
        dataset = self._catalog[dataset_name]
        if "artifact" in wanted:
            path = saved_path(dataset)
            log_it = mlflow.log_artifacts if path.is_dir() else mlflow.log_artifact
            log_it(str(path), _artifact_folder(wanted["artifact"], dataset_name, path))
        if "metrics" in wanted:
            numbers = numbers_of(data, wanted["metrics"])
            keys = mlflow_keys(numbers)
            mlflow.log_metrics({keys[name]: value for name, value in numbers.items()})
        if "fingerprint" in wanted:
            self._tag_fingerprint(dataset_name, dataset.load())

    def _tag_fingerprint(self, dataset_name: str, data: Any) -> None:
        if "fingerprint" not in self._wanted(dataset_name):
            return
        mlflow = _mlflow_in_run()
        if mlflow is not None:
            mlflow.set_tag(f"{dataset_name}_fingerprint", data.fingerprint)
            mlflow.set_tag(f"{dataset_name}_photos", len(data))

    def _wanted(self, dataset_name: str) -> dict[str, Any]:
        return tracking_marks(self._catalog, dataset_name)


class LineageHook:
    """Keeps which versions a run reads and writes, in the catalog and as tags of MLflow's run.

    Tags: `version_written`, what all that the run writes is called; `versions_read`, as
    `--load-versions` takes them; `remake`, the command that makes its models again.
    """

    @hook_impl(trylast=True)  # kedro-mlflow has started the run by then
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        self._params, self._pipeline, self._catalog = run_params, pipeline, catalog
        mlflow = _mlflow_in_run()
        active = mlflow.active_run().info.run_id if mlflow else None
        run = lineage.planned(run_params["run_id"], pipeline, catalog)
        self._keep(run.model_copy(update={"mlflow_run": active}))

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str) -> None:
        """Correct what was planned, as `--only-missing-outputs` reads what it would have made."""
        dataset = lineage.versioned({dataset_name}, self._catalog).get(dataset_name)
        try:
            version = None if dataset is None else str(dataset.resolve_load_version())
        except VersionNotFoundError:  # an entry that is empty until it is first written
            return
        if version not in (None, self._run.version_of(dataset_name)):
            read = self._run.read | {dataset_name: version}
            self._keep(self._run.model_copy(update={"read": read}))

    def _keep(self, run: RunVersions) -> None:
        from kedro.framework.project import pipelines

        self._run = run
        self._catalog[lineage.ENTRY].save(run)
        mlflow = _mlflow_in_run()
        if mlflow is None:
            return
        remake = lineage.remake_command(run, self._pipeline, pipelines, self._catalog, self._params)
        tags = {
            "version_written": run.version,
            "versions_read": ",".join(f"{name}:{version}" for name, version in run.read.items()),
            "remake": remake,
        }
        mlflow.set_tags({name: value for name, value in tags.items() if value})


class TerminalHook:
    """Prints names literally in log lines, whatever the encoding of the terminal."""

    @hook_impl(tryfirst=True)  # Kedro has set its logging up by then, and nothing has been logged
    def after_context_created(self) -> None:
        escape_unprintable_names()
        show_messages_literally()


class WritersHook:
    """Fails before the run if a library needed to write its model files is missing."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        from cannabis_ml.exporting.writers import require_writers
        from cannabis_ml.pipelines.export import formats_written

        require_writers(sorted(formats_written(pipeline, catalog)))


class UnfinishedHook:
    """Removes the partial version that a failed save leaves behind.

    The next run would load it as the newest version. Entries without versions are written
    atomically by our own catalog types.
    """

    def __init__(self) -> None:
        self._saving: str | None = None

    @hook_impl
    def before_dataset_saved(self, dataset_name: str) -> None:
        self._saving = dataset_name

    @hook_impl
    def after_dataset_saved(self) -> None:
        self._saving = None

    @hook_impl
    def on_pipeline_error(self, catalog: DataCatalog) -> None:
        name, self._saving = self._saving, None
        dataset = catalog[name] if name else None
        if isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None:
            folder = place_of(dataset, root_of(dataset)) / str(dataset.resolve_save_version())
            if isinstance(folder, RemotePath):
                folder.remove()
            else:
                shutil.rmtree(folder, ignore_errors=True)


class SizesHook:
    """Fails before the run if its sizes of photos do not fit together."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        sizes = sizes_of_run(pipeline, catalog)
        if sizes is not None:
            sizes.check()


class ResultHook:
    """Prints test metrics and the paths of the results after a run."""

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        made = pipeline.all_outputs()
        tables = [
            metrics_table(tier.name, catalog.load(name))
            for tier in TIERS
            if (name := f"{tier.name}.test_metrics") in made
        ]
        console = literal_console()
        for table in tables:
            console.print("\n", table)
        next_steps = list(_where_to_look(made, catalog))
        if next_steps:
            console.print("\nWhere to look next", style="bold")
            width = max(len(what) for what, _ in next_steps) + 2
            for what, where in next_steps:
                # Paths must stay whole, to be clicked or copied.
                console.print(f"  {what:<{width}}{where}", soft_wrap=True)


def metrics_table(tier: str, metrics: Evaluation) -> Table:
    """Rich table of one tier's test metrics, a row per head."""
    from rich.table import Table
    from rich.text import Text

    from cannabis_ml.evaluation.tables import value_of

    columns = {
        "accuracy": "accuracy",
        "macro_f1": "macro F1",
        "quadratic_weighted_kappa": "QWK",
        "mean_average_precision": "mAP",
    }
    table = Table(title=f"{tier}: photos of the test split", title_justify="left")
    table.add_column("head")
    table.add_column("kind")
    table.add_column("photos", justify="right")
    table.add_column("groups", justify="right")
    for title in columns.values():
        table.add_column(title, justify="right")
    for head, scores in metrics.heads.items():
        cells = (value_of(scores, metric) for metric in columns)
        table.add_row(
            Text(head),  # a name as it stands; `[old]` would be taken for markup
            scores.kind,
            f"{scores.n:,}",
            f"{scores.groups:,}",
            *("–" if v is None else f"{v:.3f}" for v in cells),
        )
    return table


def _where_to_look(made: set[str], catalog: DataCatalog) -> Iterator[tuple[str, str]]:
    tiers: dict[str, list[Path | RemotePath]] = {}
    for name in sorted(made):
        dataset = catalog[name]
        about = (getattr(dataset, "metadata", None) or {}).get("look_here")
        if not about:
            continue
        tier = name.rpartition(".")[0]
        if tier:  # a line for all of a tier's reports, another for all of its models
            tiers.setdefault(tier, []).append(place_of(dataset, root_of(dataset)).parent)
        else:
            yield about, _from_here(place_of(dataset))
    for tier, folders in tiers.items():
        for folder in dict.fromkeys(folders):
            yield f"{tier}, {folder.parent.name.partition('_')[2]}", _from_here(folder)
    if any(name.endswith("test_metrics") for name in made):
        yield "all runs, compared", "make ui"
        yield "the pipeline, drawn", "make viz"


def _from_here(path: Path | RemotePath) -> str:
    if isinstance(path, RemotePath):
        return str(path)
    path = path.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def run_name(run_params: dict[str, Any]) -> str:
    """Name of a run in trackers: its pipelines and its environment."""
    env = run_params.get("env") or "base"
    return f"{'+'.join(run_params.get('pipeline_names') or ['__default__'])} on {env}"


def tracking_marks(catalog: DataCatalog, dataset_name: str) -> dict[str, Any]:
    """What trackers are to log of a catalog entry, as its metadata sets, see `TrackingHook`."""
    if dataset_name.startswith(("params:", "parameters")):
        return {}
    metadata = getattr(catalog[dataset_name], "metadata", None) or {}
    return metadata.get("mlflow", {})


def numbers_of(data: Any, prefix: str) -> dict[str, float]:
    """Every number in a report, by its dotted name behind a prefix.

    Args:
        data: Nested dicts, or a Pydantic model of them.
        prefix: Stands before every name, and a dot between.
    """
    return {
        f"{prefix}.{name}": float(value)
        for name, value in flatten(data.model_dump() if isinstance(data, BaseModel) else data)
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def git_state(project_path: Path) -> dict[str, str]:
    """Git commit of the project, and whether the work tree differs from it.

    Returns:
        `git_commit` and `git_dirty` for tags; both `unknown` outside a git checkout.
    """

    def git(*args: str) -> str:
        command = ["git", "-C", str(project_path), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {
            "git_commit": git("rev-parse", "HEAD"),
            "git_dirty": str(bool(git("status", "--porcelain"))).lower(),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": "unknown", "git_dirty": "unknown"}


def flatten(nested: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `("a.b", value)` for every leaf of nested dicts; lists are leaves.

    An empty key, which stands for no tier or no class, is spelled `(none)`.
    """
    if not isinstance(nested, dict):
        yield prefix, nested
        return
    for key, value in nested.items():
        name = str(key) or "(none)"
        yield from flatten(value, f"{prefix}.{name}" if prefix else name)


def _artifact_folder(folder: str, dataset_name: str, path: Path) -> str:
    tier = dataset_name.rpartition(".")[0]
    parts = [folder, tier, path.name if path.is_dir() else ""]
    return "/".join(part for part in parts if part)


def _follow_move(context: KedroContext) -> None:
    """Update the artifact location in MLflow's database after the project folder was moved."""
    import mlflow

    config = getattr(context, "mlflow", None)
    if config is None or mlflow.active_run():  # no kedro-mlflow, or another program's run
        return
    from sqlalchemy.engine import make_url

    experiment = config.tracking.experiment
    artifacts = local_folder(experiment.create_experiment_kwargs.artifact_location)
    uri = config.server.mlflow_tracking_uri
    if artifacts is not None and uri.startswith("sqlite:"):
        follow_move(Path(make_url(uri).database or ""), experiment.name, artifacts)


def _mlflow_in_run() -> Any:
    """MLflow if a run is active, else None: tracking can be switched off in mlflow.yml."""
    import mlflow

    return mlflow if mlflow.active_run() else None
