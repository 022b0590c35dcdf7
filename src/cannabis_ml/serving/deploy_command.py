"""`cannabis_ml deploy BUNDLE`: check a bundle, let it answer, and go back to the one before.

With --publish it goes by way of the hub: what answers is then what the tag gives to everybody.
"""

from __future__ import annotations

import argparse
import getpass
import re
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cannabis_ml._io.hub import REPO, Version, version_of
from cannabis_ml.errors import CannabisMLError, ConfigError, DeploymentError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.serving.__main__ import MISSING, REFUSED
from cannabis_ml.serving.deployments import (
    BUNDLES,
    Decided,
    DeploymentRecord,
    Deployments,
    in_a_line,
)

LEAST_ACCURACY = 0.5
"""Share of golden labels that the largest tier must meet: a model that mistakes its classes meets
far fewer. Golden photos are too few to compare good models, which the gate does."""

DESCRIPTION = """\
Let a bundle answer wherever `cannabis_ml serve FOLDER` follows the folder of deployments.

Its hashes are compared, its golden photos answered on this machine, a service is asked about them,
and the bundle is copied; then a record names it, and every replica takes it within seconds, once
its golden photos agree there too. Nothing changes before all of that went well."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if bool(options.publish) != bool(options.version) or (options.publish and not options.bundle):
        parser.error("--publish OWNER/NAME, --version 1.2.0 and a BUNDLE belong together")
    asked = [options.bundle, options.back, options.end_trial, options.list]
    if sum(bool(one) for one in asked) != 1:
        parser.error("give a BUNDLE, or one of --back, --end-trial and --list")
    try:
        return _run(options)
    except CannabisMLError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cannabis_ml deploy",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "bundle", nargs="?",
        help="a folder, a .zip, models:/NAME@champion of MLflow's registry, or hf://OWNER/NAME@TAG"
        " of the hub",
    )  # fmt: skip
    parser.add_argument(
        "--publish", metavar="OWNER/NAME", type=_repo,
        help="publish the bundle on the hub first, and deploy what the tag gives",
    )  # fmt: skip
    parser.add_argument(
        "--version", metavar="1.2.0", type=_version, help="with --publish: what it is tagged as"
    )
    parser.add_argument(
        "--photos", metavar="OWNER/NAME[@VERSION]",
        help="with --publish: published photos that the bundle was trained on",
    )  # fmt: skip
    parser.add_argument(
        "--allow-licence", action="append", default=[], metavar="NAME",
        help="with --publish: also publish golden photos of this licence, such as cc-by-nc-4.0",
    )  # fmt: skip
    parser.add_argument(
        "--public", action="store_true", help="with --publish: let everybody see the repository"
    )
    parser.add_argument(
        "--to", type=Path, default=Path("deployments"), metavar="FOLDER",
        help="of deployments; default: deployments",
    )  # fmt: skip
    parser.add_argument("--back", action="store_true", help="let the bundle before answer again")
    parser.add_argument(
        "--trial", action="store_true", help="as challenger, beside the one that answers now"
    )
    parser.add_argument("--end-trial", action="store_true", help="take the challenger out")
    parser.add_argument("--list", action="store_true", help="what answered since when, and why")
    parser.add_argument("--reason", default="not given", help="kept in the record")
    parser.add_argument("--by", help="who decides; default: who is logged in")
    parser.add_argument("--dry-run", action="store_true", help="check everything, change nothing")
    parser.add_argument(
        "--least-accuracy", type=float, default=LEAST_ACCURACY, metavar="SHARE",
        help=f"of golden labels that the largest tier must meet; default: {LEAST_ACCURACY}",
    )  # fmt: skip
    parser.add_argument("--tracking-uri", help="of MLflow, for models:/…")
    parser.add_argument(
        "--wait-for", action="append", default=[], metavar="URL",
        help="of a replica, which must answer with the bundle before this ends; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--wait-seconds", type=float, default=60, help="for the replicas; default: 60"
    )
    return parser


def _repo(text: str) -> str:
    if re.fullmatch(REPO, text) is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not an id on the hub: write OWNER/NAME")
    return text


def _version(text: str) -> Version:
    version = version_of(text)
    if version is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not a version: write 1.2.0")
    return version


def _run(options: argparse.Namespace) -> int:
    deployments = Deployments(options.to)
    if options.list:
        records = deployments.records()
        for one in records:
            print(in_a_line(one))
        if not records:
            print(f"Nothing was deployed to {options.to} yet.")
        return 0
    with tempfile.TemporaryDirectory() as copies:
        record = _decide(options, deployments, Path(copies))
    if options.dry_run:
        print(f"Dry run: nothing was changed. Would be recorded:\n{in_a_line(record)}")
        return 0
    deployments.append(record)
    print(f"recorded: {in_a_line(record)}")
    if options.wait_for:
        from cannabis_ml.serving.replicas import wait_for

        for line in wait_for(
            options.wait_for, record.champion, record.challenger, options.wait_seconds
        ):
            print(line, flush=True)
    return 0


def _decide(
    options: argparse.Namespace, deployments: Deployments, copies: Path
) -> DeploymentRecord:
    """Check what is asked for, and write what would be recorded."""
    now = deployments.current()
    if options.bundle:
        return _deploy(options, deployments, copies)
    if now is None:
        raise DeploymentError(f"Nothing was deployed to {deployments.root} yet.")
    if options.end_trial:
        if now.challenger is None:
            raise DeploymentError("No challenger is on trial.")
        return deployments.next("end of trial", now.champion, None, _decided(options, []))
    champion = deployments.before()
    bundle = deployments.open(champion)
    checked = _hashes_agree(bundle)
    challenger = now.challenger if now.challenger != champion else None
    return deployments.next("back", champion, challenger, _decided(options, [checked]))


def _deploy(
    options: argparse.Namespace, deployments: Deployments, copies: Path
) -> DeploymentRecord:
    try:
        from cannabis_ml.serving.smoke_test import check_answers
        from cannabis_ml.serving.sources import open_with_origin
    except ImportError as error:
        raise ConfigError(MISSING.format(error=error)) from error
    now = deployments.current()
    bundle, origin = open_with_origin(options.bundle, copies, options.tracking_uri)
    bundle_id = bundle.manifest.content_sha256
    if options.trial and now is None:
        raise DeploymentError("There is no champion to try a challenger beside: deploy one first.")
    if now is not None and bundle_id in (now.champion, now.challenger if options.trial else None):
        raise DeploymentError(f"{bundle_id[:12]} answers already.")
    checks: list[str] = []
    if options.publish:
        try:
            from cannabis_ml.serving.publish_step import publish_and_pull
        except ImportError as error:
            raise ConfigError(
                f"Publishing needs the hub's client ({error}): pip install 'cannabis_ml[hub]'"
            ) from error
        bundle, checks = publish_and_pull(bundle, options)
    elif origin is not None:
        checks = [f"pulled {origin}"]
        print(checks[0], flush=True)
    checks.append(_hashes_agree(bundle))
    checks += [_shown(checked) for checked in check_answers(bundle, options.least_accuracy)]
    if options.dry_run:
        print(f"would copy it to {deployments.root / BUNDLES}, and switch to it", flush=True)
    else:
        deployments.keep(bundle)
        print(f"copied to {deployments.root}", flush=True)
    decided = _decided(options, checks)
    if options.trial and now is not None:
        return deployments.next("trial", now.champion, bundle_id, decided)
    rival = None if now is None or now.challenger == bundle_id else now.challenger
    return deployments.next("deploy", bundle_id, rival, decided)


def _decided(options: argparse.Namespace, checks: list[str]) -> Decided:
    return Decided(
        by=options.by or getpass.getuser(),
        reason=options.reason,
        at=datetime.now(UTC),
        checks=checks,
    )


def _hashes_agree(bundle: Bundle) -> str:
    """What opening it has checked."""
    return _shown(f"{len(bundle.manifest.files)} files of {bundle} agree with their hashes")


def _shown(checked: str) -> str:
    """What came of a check, printed as soon as it is known."""
    print(f"checked: {checked}", flush=True)
    return checked
