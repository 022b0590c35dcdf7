"""`kedro promote`, `kedro rollback` and `kedro champion`: which bundle is in production."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cannabis_ml.errors import CannabisMLError, PromotionError
from cannabis_ml.tiers import TIERS

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext

    from cannabis_ml.datasets.champion import ChampionDataset
    from cannabis_ml.evaluation.comparison.verdict import GateReport
    from cannabis_ml.inference.bundle import Bundle
    from cannabis_ml.networks.checkpoint import Checkpoint
    from cannabis_ml.promotion.records import PromotionRecord

_env = click.option("--env", "-e", default=None, help="The environment whose champion is meant.")
_by = click.option("--by", default=None, help="Who decides; without it, who is logged in.")


@click.command(name="promote")
@click.option("--reason", required=True, help="Why, in words; it is kept in the record.")
@click.option(
    "--bundle",
    "path",
    type=click.Path(exists=True, path_type=Path),
    default=None,
    help="A bundle, folder or .zip; without it, the newest of the catalog.",
)
@_by
@_env
def promote(reason: str, path: Path | None, by: str | None, env: str | None) -> None:
    """Make a bundle champion by hand, whatever the gate found."""
    with project(env) as context:
        from cannabis_ml.datasets.champion import Candidate
        from cannabis_ml.inference.bundle import Bundle
        from cannabis_ml.promotion.records import Standing

        bundle: Bundle = context.catalog.load("bundle") if path is None else Bundle.open(path)
        entry = _champion(context)
        before = entry.store.current()
        candidate = Candidate(
            bundle=bundle,
            promote=True,
            standing=Standing(
                by=by or getpass.getuser(),
                reason=reason,
                at=datetime.now(UTC),
                report=_report(context, bundle),
            ),
            model=_model(context, bundle),
            tracked=_tracked(context),
            checkpoints=dict(_checkpoints(context, bundle)),
        )
        entry.save(candidate)
        now = entry.store.current()
        assert now is not None
        if before is not None and before.bundle_id == now.bundle_id:
            raise PromotionError(f"{now.bundle_id[:12]} is the champion already.")
        click.echo(_in_a_line(now))
        click.echo(f"In production: {entry.store.address}")


@click.command(name="rollback")
@click.option("--to", default=None, help="Id of a bundle that was champion, or its beginning.")
@click.option("--reason", default="not given", help="Why, in words; it is kept in the record.")
@_by
@_env
def rollback(to: str | None, reason: str, by: str | None, env: str | None) -> None:
    """Make the champion before this one champion again: weights, calibration and thresholds."""
    with project(env) as context:
        from cannabis_ml.promotion.records import Standing

        entry = _champion(context)
        standing = Standing(by=by or getpass.getuser(), reason=reason, at=datetime.now(UTC))
        record = entry.store.roll_back(standing, to)
        bundle = entry.load()
        assert bundle is not None
        if _tracked(context):
            from cannabis_ml.promotion.registry import register_champion

            register_champion(_model(context, bundle), bundle)
        click.echo(_in_a_line(record))
        click.echo(f"In production: {entry.store.address}")


@click.command(name="champion")
@_env
def champion(env: str | None) -> None:
    """List which bundle was in production since when, and why; the newest is."""
    with project(env) as context:
        entry = _champion(context)
        records = entry.store.records()
        for record in records:
            click.echo(_in_a_line(record))
        if records:
            click.echo(f"In production: {entry.store.address}")
        else:
            click.echo(
                f"There is no champion in {entry.store.place} yet: `kedro run` makes the first."
            )


@contextmanager
def project(env: str | None) -> Iterator[KedroContext]:
    """The project in this environment; errors that a person can act on end in their message."""
    from kedro.framework.session import KedroSession
    from kedro.io import DatasetError

    try:
        with KedroSession.create(env=env) as session:
            yield session.load_context()  # type: ignore[attr-defined]
    except (CannabisMLError, DatasetError) as error:
        raise click.ClickException(str(error)) from error


def _champion(context: KedroContext) -> ChampionDataset:
    from cannabis_ml.datasets.champion import ChampionDataset

    entry = context.catalog["champion"]
    if not isinstance(entry, ChampionDataset):
        raise PromotionError(f"'champion' of the catalog is a {type(entry).__name__}.")
    return entry


def _tracked(context: KedroContext) -> bool:
    return getattr(context, "mlflow", None) is not None


def _model(context: KedroContext, bundle: Bundle) -> str:
    from cannabis_ml.pipelines.gate.params import GateStageParams

    gate = GateStageParams.model_validate(context.catalog.load("params:gate"))
    return gate.registered_model or bundle.manifest.name


def _report(context: KedroContext, bundle: Bundle) -> GateReport | None:
    """What the gate found last, if it was about this bundle."""
    if not context.catalog.exists("gate_report"):
        return None
    report: GateReport = context.catalog.load("gate_report")
    return report if report.challenger == bundle.manifest.content_sha256 else None


def _checkpoints(context: KedroContext, bundle: Bundle) -> Iterator[tuple[str, Checkpoint]]:
    """The newest checkpoints, of the tiers whose files were exported from them."""
    for tier in TIERS:
        name = f"{tier.name}.checkpoint"
        if tier.name not in bundle.tiers or not context.catalog.exists(name):
            continue
        checkpoint: Checkpoint = context.catalog.load(name)
        if checkpoint.card.training_key == bundle.model_file(tier.name).card.training_key:
            yield tier.name, checkpoint
        else:
            click.echo(f"{tier.name}: the newest checkpoint is of another network; none is kept.")


def _in_a_line(record: PromotionRecord) -> str:
    gate = "" if record.outcome is None else f", gate: {record.outcome}"
    return (
        f"{record.number:>4}  {record.at:%Y-%m-%d %H:%M}  {record.kind:<9}"
        f"  {record.bundle_id[:12]}  by {record.by}{gate}: {record.reason}"
    )
