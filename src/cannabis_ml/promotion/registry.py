"""MLflow's model registry: aliases `champion` and `challenger` follow the champion's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cannabis_ml.errors import PromotionError
from cannabis_ml.inference.bundle import Bundle

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"

BUNDLE_ID = "bundle_id"
WAS_CHAMPION = "was_champion"

ARTIFACT = "bundle/bundle"
"""Where TrackingHook logs the folder of a bundle, below its run."""


def register_challenger(model: str, bundle: Bundle) -> None:
    """Give a bundle the alias `challenger`.

    The challenger before it leaves the registry, unless it was champion: runs of registered models
    are never pruned.

    Args:
        model: Name of the registered model.
        bundle: Of any run; without one its file is registered.
    """
    client = _client()
    before = _with_alias(client, model, CHALLENGER)
    version = _version(client, model, bundle)
    client.set_registered_model_alias(model, CHALLENGER, version.version)
    if before and before.version != version.version and WAS_CHAMPION not in before.tags:
        client.delete_model_version(model, before.version)


def register_champion(model: str, bundle: Bundle) -> None:
    """Give a bundle the alias `champion`; it is challenger no more.

    Args:
        model: Name of the registered model.
        bundle: As for `register_challenger`.
    """
    client = _client()
    version = _version(client, model, bundle)
    client.set_model_version_tag(model, version.version, WAS_CHAMPION, "true")
    client.set_registered_model_alias(model, CHAMPION, version.version)
    rival = _with_alias(client, model, CHALLENGER)
    if rival and rival.version == version.version:
        client.delete_registered_model_alias(model, CHALLENGER)


def fetch_registered(model: str, alias: str, folder: Path, tracking: str | None = None) -> Path:
    """Copy the bundle that has an alias in MLflow's registry.

    Args:
        model: Name of the registered model.
        alias: Such as `champion`.
        folder: Where the copy goes.
        tracking: URI of the tracking server or database; None takes MLflow's own setting, such as
            the variable MLFLOW_TRACKING_URI.

    Returns:
        The bundle, a folder or a `.zip`.

    Raises:
        PromotionError: If MLflow is not installed or not reached, or has no such model or alias.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise PromotionError(
            f"A bundle of MLflow's registry needs MLflow ({error}): pip install mlflow, or fetch"
            " the bundle elsewhere and deploy its folder or its .zip."
        ) from error
    client = MlflowClient(tracking)
    try:
        version = client.get_model_version_by_alias(model, alias)
        fetched = download_artifacts(
            artifact_uri=version.source, dst_path=str(folder), tracking_uri=tracking
        )
    except (MlflowException, OSError) as error:
        raise PromotionError(
            f"MLflow's registry gives no bundle for {model}@{alias} at {client.tracking_uri}:"
            f" {error}"
        ) from error
    return Path(fetched)


def _client() -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient()


def _with_alias(client: MlflowClient, model: str, alias: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _version(client: MlflowClient, model: str, bundle: Bundle) -> ModelVersion:
    """The registered version of a bundle, made where there is none."""
    from mlflow.exceptions import MlflowException

    bundle_id = bundle.manifest.content_sha256
    try:
        client.get_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(model, description="Bundles of cannabis_ml")
    for version in client.search_model_versions(f"name = '{model}'"):
        if version.tags.get(BUNDLE_ID) == bundle_id:
            return version
    run = bundle.manifest.run
    try:
        source = f"{client.get_run(run).info.artifact_uri}/{ARTIFACT}" if run else None
    except MlflowException:  # of another tracking server
        run = source = None
    return client.create_model_version(
        model,
        source or bundle.path.absolute().as_uri(),
        run_id=run,
        tags={BUNDLE_ID: bundle_id, "created": bundle.manifest.created},
    )
