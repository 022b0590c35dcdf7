"""`python -m cannabis_ml.serving BUNDLE`: answers over HTTP."""

from __future__ import annotations

import argparse
import importlib
import ipaddress
import logging
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cannabis_ml.errors import CannabisMLError, ConfigError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from cannabis_ml.serving.settings import ServiceSettings

MISSING = "The service is not installed ({error}): pip install 'cannabis_ml[inference,service]'."

REFUSED = 2

EPILOG = """\
Without --host the service is reached from this machine alone. With --host 0.0.0.0 everybody in the
network reaches it: give it API keys (--new-key) or a proxy that asks for them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _serve(options)
    except CannabisMLError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cannabis_ml.serving",
        description="Answer over HTTP from a bundle.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "bundle", nargs="?",
        help="its folder, its .zip, models:/NAME@champion of MLflow's registry,"
        " hf://OWNER/NAME@TAG of the hub, or a folder of deployments, which is followed",
    )  # fmt: skip
    parser.add_argument("--challenger", help="another bundle, see challenger_share")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    parser.add_argument("--config", type=Path, help="JSON with ServiceSettings: limits, keys, …")
    parser.add_argument("--workers", type=int, help="photos answered at once; default: 1")
    parser.add_argument("--language", help="of reports, unless a request names one; default: en")
    parser.add_argument(
        "--feedback", metavar="URL", help="keep feedback: sqlite:///feedback.db or postgresql://…"
    )
    parser.add_argument("--feedback-photos", metavar="ADDRESS", help="folder or s3://… of photos")
    parser.add_argument("--new-key", action="store_true", help="print an API key and its hash")
    parser.add_argument("--openapi", action="store_true", help="print the OpenAPI document")
    return parser


def _serve(options: argparse.Namespace) -> int:
    try:
        for needed in ("uvicorn", "cannabis_ml.serving.app"):
            importlib.import_module(needed)
    except ImportError as error:
        raise ConfigError(MISSING.format(error=error)) from error
    from cannabis_ml.serving.settings import hash_key, new_key, read_settings

    if options.new_key:
        key = new_key()
        print(f"key   {key}\nhash  {hash_key(key)}")
        return 0
    if options.bundle is None:
        _parser().error("no bundle given")
    settings = read_settings(options.config, _given(options))
    if options.openapi:  # opens no store
        settings = settings.model_copy(update={"feedback": None})
    with tempfile.TemporaryDirectory() as copies:
        return _run(options, settings, Path(copies))


def _run(options: argparse.Namespace, settings: ServiceSettings, copies: Path) -> int:
    import uvicorn

    from cannabis_ml._io.allocator import reuse_memory

    reuse_memory()
    app = _application(options, settings, copies)
    if options.openapi:
        import json

        print(json.dumps(app.openapi(), indent=2))
        return 0
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    _print_address(options.host, options.port)
    uvicorn.run(
        app,
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,  # ours has no addresses
        server_header=False,
        ws="none",  # a connection that asks to be one would be held for ever
        proxy_headers=False,  # `Guard` reads them, of proxies that are trusted
        timeout_graceful_shutdown=int(settings.limits.deadline_seconds),
    )
    return 0


def _given(options: argparse.Namespace) -> dict[str, object]:
    """Settings of the command line, without those that were not given."""
    feedback = {"database": options.feedback, "photos": options.feedback_photos}
    given: dict[str, object] = {"workers": options.workers, "language": options.language}
    given["feedback"] = {name: value for name, value in feedback.items() if value} or None
    return {name: value for name, value in given.items() if value is not None}


def _application(options: argparse.Namespace, settings: ServiceSettings, copies: Path) -> FastAPI:
    """The application over a bundle, or over what a folder of deployments names."""
    from cannabis_ml.serving.app import create_app
    from cannabis_ml.serving.deployments import Deployments, open_served
    from cannabis_ml.serving.sources import open_source

    deployments = Deployments(Path(options.bundle))
    if not deployments.is_there:
        rival = None if options.challenger is None else open_source(options.challenger, copies)
        return create_app(open_source(options.bundle, copies), settings, challenger=rival)
    if options.challenger is not None:
        raise ConfigError(
            f"{options.bundle} is a folder of deployments, which names the challenger itself:"
            " cannabis_ml deploy BUNDLE --trial"
        )
    record, bundles = open_served(deployments)
    return create_app(
        next(bundles), settings, challenger=next(bundles, None), follow=(deployments, record)
    )


def _print_address(host: str, port: int) -> None:
    """Where to reach the service, for a phone as a QR code."""
    import segno

    address = ipaddress.ip_address(host) if _is_address(host) else None
    shown = _own_address() if address is not None and address.is_unspecified else host
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"
    print(url, flush=True)
    if (address is None or not address.is_loopback) and sys.stdout.isatty():
        segno.make(url, micro=False).terminal(compact=True)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _own_address() -> str:
    """This machine's address in its network; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        found: str = probe.getsockname()[0]
        return found


if __name__ == "__main__":
    sys.exit(main())
