"""Secrets on the other machine: read from the cloud's secret manager, by the job's own rights.

Where a provider cannot hand a secret to a container, `CANNABIS_ML_SECRETS` tells where it is: JSON,
per name of a variable an address of Google's Secret Manager or `aws:` and the name of a secret in
AWS Secrets Manager.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

VARIABLE = "CANNABIS_ML_SECRETS"


def secrets_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Values by name, as the variable of the environment tells where they are."""
    places: dict[str, str] = json.loads(environment.get(VARIABLE) or "{}")
    return {
        name: _from_aws(place.removeprefix("aws:"))
        if place.startswith("aws:")
        else _from_google(place)
        for name, place in places.items()
    }


def _from_google(address: str) -> str:
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    answer = AuthorizedSession(credentials).get(address, timeout=60)
    if not answer.ok:
        raise RuntimeError(
            f"{address}: {answer.status_code}. Give the job's service account the role"
            " roles/secretmanager.secretAccessor."
        )
    return base64.b64decode(answer.json()["payload"]["data"]).decode()


def _from_aws(name: str) -> str:
    import boto3

    return str(boto3.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"])
