"""`cannabis_ml feedback`: move, count and erase people's opinions on answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cannabis_ml.errors import CannabisMLError, ConfigError
from cannabis_ml.feedback.params import Retention, StoreParams
from cannabis_ml.tiers import TIERS

if TYPE_CHECKING:
    from cannabis_ml.feedback.exchange import Imported
    from cannabis_ml.feedback.reading import Summary
    from cannabis_ml.feedback.store import FeedbackStore
    from cannabis_ml.taxonomy import Taxonomy

SOME_REFUSED = 1
"""Exit status of an import that took not everything in."""


@dataclass
class _Options:
    """Where the store is: given, or as the project is configured."""

    url: str | None
    photos: str | None
    env: str | None
    params: StoreParams = field(default_factory=StoreParams)
    heads: list[Path] = field(default_factory=list)  # folders of closed-form heads

    @contextmanager
    def opened(self) -> Iterator[FeedbackStore]:
        """The store; errors that a person can act on end the command with their message."""
        try:
            with self._open() as store:
                yield store
        except CannabisMLError as error:
            raise click.ClickException(str(error)) from error

    def _open(self) -> FeedbackStore:
        if self.url is None:
            return self._configured()
        from cannabis_ml.feedback.store import FeedbackStore

        return FeedbackStore(self.url, self.photos, limits=self.params.limits)

    def _configured(self) -> FeedbackStore:
        try:
            from kedro.framework.project import configure_project
            from kedro.framework.session import KedroSession
        except ImportError as error:
            raise ConfigError(
                "Without the pipelines the store must be named: --store sqlite:///feedback.db"
            ) from error
        configure_project("cannabis_ml")
        with KedroSession.create(env=self.env) as session:
            context = session.load_context()  # type: ignore[attr-defined]
            given = context.params.get("feedback", {}).get("store", {})
            self.params = StoreParams.model_validate(given)
            entries = [context.catalog.get(f"{tier.name}.closed_form") for tier in TIERS]
            self.heads += [Path(str(entry._filepath)) for entry in entries if entry is not None]
            return context.catalog.get("feedback_store").open(self.params.limits)

    def taxonomy(self, bundle: Path | None) -> Taxonomy:
        """Of a bundle, or what ingestion wrote."""
        if bundle is not None:
            from cannabis_ml.inference.bundle import Bundle

            return Bundle.open(bundle).taxonomy
        if self.url is not None:
            raise ConfigError("Which classes there are is not known: name a bundle, --bundle PATH.")
        from kedro.framework.session import KedroSession
        from kedro.io import DatasetError

        try:
            with KedroSession.create(env=self.env) as session:
                context = session.load_context()  # type: ignore[attr-defined]
                return context.catalog.load("taxonomy")
        except DatasetError as error:
            raise ConfigError(
                "Which classes there are is not known: run `kedro run --pipeline=ingestion`, or"
                " name a bundle, --bundle PATH."
            ) from error


@click.group(name="feedback")
@click.option("--store", "url", help="sqlite:///feedback.db or postgresql://…; else as configured.")
@click.option("--photos", help="With --store: folder or address of the photos.")
@click.option("--env", "-e", help="Without --store: the environment whose store it is.")
@click.pass_context
def feedback(ctx: click.Context, url: str | None, photos: str | None, env: str | None) -> None:
    """Move, count and erase people's opinions on answers."""
    ctx.obj = _Options(url, photos, env)


_BUNDLE = click.option(
    "--bundle",
    type=click.Path(path_type=Path, exists=True),
    help="Whose classes these are; without it those that ingestion found.",
)
_LABEL_STUDIO = click.option("--label-studio", is_flag=True, help="JSON of Label Studio.")


@feedback.command(name="import")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@_LABEL_STUDIO
@_BUNDLE
@click.pass_obj
def import_(options: _Options, source: Path, label_studio: bool, bundle: Path | None) -> None:
    """Take in a folder that `export` wrote, or annotations that Label Studio exported.

    What is there already stays as it is. Exit status 1: some records were refused, and are named.
    """
    with options.opened() as store:
        if label_studio:
            from cannabis_ml.feedback.label_studio_import import import_tasks

            report = import_tasks(store, source, options.taxonomy(bundle))
        else:
            from cannabis_ml.feedback.exchange import import_folder

            report = import_folder(store, source)
    _show_import(report)


def _show_import(report: Imported) -> None:
    click.echo(
        f"{report.submissions:,} submissions with {report.opinions:,} new opinions;"
        f" {report.retries:,} were there already."
    )
    for where, why in report.refused:
        click.echo(f"  refused: {where}: {why}", err=True)
    if report.refused:
        click.echo(f"{len(report.refused):,} refused.", err=True)
        click.get_current_context().exit(SOME_REFUSED)


@feedback.command(name="export")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--person", help="A pseudonym: only what came from this person.")
@_LABEL_STUDIO
@_BUNDLE
@click.option(
    "--prefix", help="With --label-studio: address of the folder of photos, as it sees it."
)
@click.pass_obj
def export(
    options: _Options,
    target: Path,
    person: str | None,
    label_studio: bool,
    bundle: Path | None,
    prefix: str | None,
) -> None:
    """Write everything, or one person's data, to a new folder: JSON Lines and photos.

    With --label-studio, TARGET is a file of tasks with pre-annotations; beside it, with the suffix
    .xml, lies the labelling interface.
    """
    if label_studio and person:
        raise click.UsageError("--person is not for --label-studio: a task is of all people.")
    with options.opened() as store:
        if label_studio:
            _export_tasks(store, target, options.taxonomy(bundle), prefix)
            return
        from cannabis_ml.feedback.exchange import export as write

        done = write(store, target, person)
    click.echo(f"{done.submissions:,} submissions and {done.photos:,} photos in {target}.")


def _export_tasks(store: FeedbackStore, file: Path, taxonomy: Taxonomy, prefix: str | None) -> None:
    from cannabis_ml.feedback.label_studio import interface, tasks_of, write_tasks

    def address(stored: str) -> str:
        name = "/".join(stored.split("/")[-2:])  # ab/abcd….jpg
        return stored if prefix is None else f"{prefix.rstrip('/')}/{name}"

    tasks = tasks_of(store, address)
    write_tasks(tasks, file)
    file.with_suffix(".xml").write_text(interface(taxonomy), "utf-8")
    click.echo(f"{len(tasks):,} tasks in {file}, the interface in {file.with_suffix('.xml')}.")


@feedback.command(name="summary")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def summary(options: _Options, as_json: bool) -> None:
    """Count photos, people and opinions, and the classes that are corrected most."""
    with options.opened() as store:
        found = store.summary()
    click.echo(found.model_dump_json(indent=1) if as_json else _in_words(found))


def _in_words(found: Summary) -> str:
    lines = [
        f"{found.opinions:,} opinions of {found.people:,} people on {found.photos:,} photos,"
        f" {found.photos_kept:,} of which were kept"
    ]
    if found.first and found.last:
        lines[0] += f"; {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}"
    lines += [f"  {name:<16}{number:>8,}" for name, number in found.by_verdict.items()]
    for title, counts in (("corrected", found.most_corrected), ("proposed", found.proposed)):
        lines += [f"  {title}: {head} '{name}' {number:,}" for head, name, number in counts]
    return "\n".join(lines)


@feedback.command(name="erase")
@click.option("--person", help="A pseudonym: all that came from this person.")
@click.option("--photo", help="Id of a photo: the photo and all opinions on it.")
@click.option("--expired", is_flag=True, help="What is older than feedback.store.retention allows.")
@click.option("--retention", help="With --store --expired: JSON, such as '{\"photos_days\": 365}'.")
@click.option(
    "--heads",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    help="Folder with closed-form heads that learned from the store; the project's too, without"
    " --store.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def erase(
    options: _Options,
    person: str | None,
    photo: str | None,
    expired: bool,
    retention: str | None,
    heads: tuple[Path, ...],
    yes: bool,
) -> None:
    """Erase for good: rows, files, and photos in closed-form heads. Backups are not reached."""
    from cannabis_ml.feedback.closed_form_file import erase_photos

    if sum(map(bool, (person, photo, expired))) != 1:
        raise click.UsageError("Name one: --person, --photo or --expired.")
    what = (
        "what is expired"
        if expired
        else f"all of {'photo' if photo else 'person'} {person or photo}"
    )
    if not yes:
        click.confirm(f"Erase {what}? This cannot be undone.", abort=True)
    with options.opened() as store:
        if person:
            done = store.erase_person(person)
        elif photo:
            done = store.erase_photo(photo)
        else:
            done = store.expire(_retention(options, retention))
        folders = [folder for folder in (*options.heads, *heads) if folder.is_dir()]
        gone = store.tombstones().covers_photo if folders else None
        changed = sum(erase_photos(folder, gone) for folder in folders if gone)
    if changed:
        click.echo(f"Took photos out of {changed:,} files of closed-form heads.")
    click.echo(
        f"Erased {done.opinions:,} opinions, {done.submissions:,} submissions"
        f" and {done.photos:,} photos."
    )


def _retention(options: _Options, given: str | None) -> Retention:
    if given is None:
        return options.params.retention
    try:
        return Retention.model_validate(json.loads(given))
    except ValueError as error:
        raise ConfigError(f"--retention is not valid: {error}") from error
