"""Waiting until replicas of the service answer with a bundle."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import httpx

from cannabis_ml.errors import DeploymentError

LOOK_SECONDS = 0.5


def wait_for(
    urls: Sequence[str], champion: str, challenger: str | None, seconds: float
) -> Iterator[str]:
    """Wait until every replica has taken the bundles of a deployment.

    Args:
        urls: Of the replicas, such as `http://10.0.0.5:8000`; a balancer in front of several would
            answer for any of them.
        champion: Id of the bundle that answers.
        challenger: Of the one on trial, if there is one.
        seconds: How long, in all.

    Yields:
        As each has taken it, that it has.

    Raises:
        DeploymentError: If one has not by then; names each with what it answered last.
    """
    end = time.monotonic() + seconds
    expected = _in_words(champion, challenger)
    waiting = dict.fromkeys(urls, "nothing")
    with httpx.Client(timeout=5.0) as client:
        while True:
            for url in list(waiting):
                waiting[url] = found = _answering(client, url)
                if found == expected:
                    del waiting[url]
                    yield f"taken by {url}"
            if not waiting:
                return
            if time.monotonic() > end:
                listed = "\n  ".join(f"{url}: {found}" for url, found in waiting.items())
                raise DeploymentError(
                    f"After {seconds:g} s {len(waiting)} of {len(urls)} replicas do not answer with"
                    f" {expected}:\n  {listed}\nTheir logs have the reason. To let the bundle"
                    " before answer again everywhere: cannabis_ml deploy --back"
                )
            time.sleep(LOOK_SECONDS)


def _in_words(champion: str, challenger: str | None) -> str:
    trial = "" if challenger is None else f" and {challenger[:12]} on trial"
    return f"{champion[:12]}{trial}"


def _answering(client: httpx.Client, url: str) -> str:
    try:
        found = client.get(f"{url.rstrip('/')}/healthz").json()
        return _in_words(found["bundle"], found["challenger"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
