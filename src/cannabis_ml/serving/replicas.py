"""Waiting until replicas of the service answer with a bundle."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import httpx

from cannabis_ml.errors import DeploymentError

LOOK_SECONDS = 0.5


def wait_for(urls: Sequence[str], bundle_id: str, seconds: float) -> Iterator[str]:
    """Wait until every replica has taken a bundle.

    Args:
        urls: Of the replicas, such as `http://10.0.0.5:8000`; a balancer in front of several would
            answer for any of them.
        bundle_id: Which one.
        seconds: How long, in all.

    Yields:
        As each has taken it, that it has.

    Raises:
        DeploymentError: If one has not by then; names each with what it answered last.
    """
    end = time.monotonic() + seconds
    waiting = dict.fromkeys(urls, "nothing")
    with httpx.Client(timeout=5.0) as client:
        while True:
            for url in list(waiting):
                waiting[url] = found = _bundle_of(client, url)
                if found == bundle_id:
                    del waiting[url]
                    yield f"taken by {url}"
            if not waiting:
                return
            if time.monotonic() > end:
                listed = "\n  ".join(f"{url}: {found[:64]}" for url, found in waiting.items())
                raise DeploymentError(
                    f"After {seconds:g} s {len(waiting)} of {len(urls)} replicas do not answer with"
                    f" {bundle_id[:12]}:\n  {listed}\nTheir logs tell why. To let the bundle before"
                    " answer again everywhere: cannabis_ml deploy --back"
                )
            time.sleep(LOOK_SECONDS)


def _bundle_of(client: httpx.Client, url: str) -> str:
    try:
        found = client.get(f"{url.rstrip('/')}/healthz").json()
        return str(found["bundle"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
