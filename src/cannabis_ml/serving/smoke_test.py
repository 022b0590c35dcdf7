"""What a bundle does before people depend on it: golden photos, and a service asked about them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx

from cannabis_ml.errors import DeploymentError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.decision import NamedAnswer
from cannabis_ml.inference.golden import GoldenAnswers
from cannabis_ml.serving.app import create_app
from cannabis_ml.serving.settings import ServiceSettings
from cannabis_ml.serving.state import Service

ROUTES = ("/v2/analyze", "/v2/analyze-mobile", "/api/v1/classify")


@dataclass(frozen=True)
class Accuracy:
    """How many golden labels the largest tier gets right.

    Attributes:
        right: Labels that it gets right.
        labels: Labels that there are.
    """

    right: int
    labels: int

    @property
    def share(self) -> float | None:
        """None where there are no labels."""
        return self.right / self.labels if self.labels else None


def check_answers(bundle: Bundle, least_accuracy: float) -> Iterator[str]:
    """Let a service answer from a bundle, in this process, without a port.

    Args:
        bundle: Its files agree with their hashes.
        least_accuracy: Of the largest tier on the golden labels, where the bundle has them.

    Yields:
        After each check, what came of it.

    Raises:
        DeploymentError: If golden photos get other answers on this machine, a route does not
            answer, or too many golden labels are not met.
    """
    app = create_app(bundle, ServiceSettings())
    service: Service = app.state.service
    try:
        yield _golden(service)
        decided = asyncio.run(_ask(app, bundle))
        yield f"{len(decided)} golden photos answered by {', '.join(ROUTES)}"
        yield _accuracy_in_words(accuracy(bundle.golden(), decided), least_accuracy)
    finally:
        service.pool.close()


def accuracy(golden: GoldenAnswers, decided: list[Mapping[str, NamedAnswer]]) -> Accuracy:
    """Compare answers with the golden labels; attributes are not counted.

    Args:
        golden: With labels, or without.
        decided: Per photo, by head, the class.
    """
    pairs = [
        (label, decided[row][head])
        for head, labels in golden.labels.items()
        for row, label in enumerate(labels)
        if isinstance(label, str)
    ]
    return Accuracy(sum(label == answer for label, answer in pairs), len(pairs))


def _golden(service: Service) -> str:
    asyncio.run(service.prepare())
    golden = service.bundles.served.golden
    if golden is None or not golden.passed:
        differences = "" if golden is None else f" {_differences(service)}"
        raise DeploymentError(
            f"{service.loaded.bundle.path} is not deployed. {service.not_ready}{differences}"
        )
    return f"{golden.photos} golden photos get their answers on this machine"


def _differences(service: Service) -> str:
    golden = service.bundles.served.golden
    assert golden is not None
    reports = [report for kinds in golden.tiers.values() for report in kinds.values()]
    return "; ".join(f"{one.file} {one.in_words()}" for one in reports if not one.passed)


async def _ask(app: object, bundle: Bundle) -> list[Mapping[str, NamedAnswer]]:
    """Send every golden photo to every route; the answers of the largest tier."""
    decided: list[Mapping[str, NamedAnswer]] = []
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://smoke.test") as client:
        for name in bundle.golden().photos:
            for route in ROUTES:
                answer = await client.post(route, content=bundle.read(name))
                if answer.status_code != httpx.codes.OK:
                    raise DeploymentError(
                        f"{bundle.path} is not deployed: {route} answers {name} with status"
                        f" {answer.status_code}: {answer.text[:300]}"
                    )
                if route == ROUTES[0]:
                    heads = answer.json()["heads"]
                    decided.append({name: head["best_guess"] for name, head in heads.items()})
    return decided


def _accuracy_in_words(found: Accuracy, least: float) -> str:
    if found.share is None:
        return "no accuracy: the bundle has no golden labels"
    met = f"{found.right} of {found.labels} golden labels met"
    if found.share < least:
        raise DeploymentError(
            f"The bundle is not deployed: {met}, fewer than {least:.0%}. Its classes may be mixed"
            " up; --least-accuracy 0 deploys it all the same."
        )
    return met
