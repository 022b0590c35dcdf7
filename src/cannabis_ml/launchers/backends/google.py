"""Google's interfaces over REST: objects of Cloud Storage, secrets, log entries.

Nothing but google-auth and requests: the client libraries of Google would bring 120 MB for a dozen
requests. Field names: https://cloud.google.com/storage/docs/json_api/v1/objects,
https://cloud.google.com/secret-manager/docs/reference/rest,
https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import google.auth
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from pydantic import BaseModel, ConfigDict, SecretStr
from requests import RequestException, Response
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from cannabis_ml.launchers.backend import LaunchError
from cannabis_ml.text import one_line

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
RETRIES = Retry(total=4, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
"""Of requests that change nothing, or twice what once: GET, PUT and DELETE."""


class Addresses(BaseModel):
    """Where Google's services are, such as behind a private endpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vertex: str = "https://{region}-aiplatform.googleapis.com"
    storage: str = "https://storage.googleapis.com"
    secrets: str = "https://secretmanager.googleapis.com"
    logging: str = "https://logging.googleapis.com"


class Google:
    """Requests to Google with the user's own credentials, which google-auth finds.

    Raises:
        LaunchError: There are none.
    """

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        try:
            credentials, _ = google.auth.default(scopes=[SCOPE])
        except GoogleAuthError as error:
            raise LaunchError(
                "There are no Google credentials: run `gcloud auth application-default login`, or"
                " let GOOGLE_APPLICATION_CREDENTIALS name the key file of a service account."
            ) from error
        self._session = AuthorizedSession(credentials)
        self._session.mount("http", HTTPAdapter(max_retries=RETRIES))

    def ask(self, method: str, url: str, **options: Any) -> Response:
        """One request.

        Raises:
            LaunchError: With Google's own message; of something that is not there, `.status` 404.
        """
        try:
            answer = self._session.request(method, url, timeout=300, **options)
        except (RequestException, GoogleAuthError) as error:
            raise LaunchError(
                f"{url.partition('?')[0]} cannot be reached: {one_line(error)}"
            ) from error
        if answer.ok:
            return answer
        try:
            told = str(answer.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            told = answer.text
        told = " ".join(told.split())[:300]
        raise GoogleError(
            f"{method} {url.partition('?')[0]}: {answer.status_code} {told}", answer.status_code
        )

    def upload(self, path: Path, bucket: str, name: str) -> None:
        """Send a file; compares the MD5 of what arrived."""
        with path.open("rb") as file:
            answer = self.ask(
                "POST",
                f"{self.addresses.storage}/upload/storage/v1/b/{bucket}/o",
                params={"uploadType": "media", "name": name},
                data=file,
                headers={"Content-Type": "application/octet-stream"},
            )
        if answer.json().get("md5Hash") != md5(path):
            raise LaunchError(f"gs://{bucket}/{name} is not what was sent. Launch again.")

    def read(self, bucket: str, name: str) -> bytes:
        """Bytes of a small object."""
        return self.ask("GET", self._object(bucket, name), params={"alt": "media"}).content

    def download(self, bucket: str, name: str, to: Path) -> None:
        """Fetch an object into the file `to`."""
        url = self._object(bucket, name)
        with (
            self.ask("GET", url, params={"alt": "media"}, stream=True) as answer,
            to.open("wb") as file,
        ):
            for part in answer.iter_content(1 << 20):
                file.write(part)

    def objects(self, bucket: str, prefix: str) -> dict[str, str]:
        """MD5, in base64, of each object below a prefix, by its name without that."""
        url = f"{self.addresses.storage}/storage/v1/b/{bucket}/o"
        found: dict[str, str] = {}
        token: str | None = ""
        while token is not None:
            asked = {"prefix": prefix, "fields": "nextPageToken,items(name,md5Hash)"}
            page = self.ask("GET", url, params=asked | ({"pageToken": token} if token else {}))
            for item in page.json().get("items", ()):
                found[item["name"].removeprefix(prefix)] = item.get("md5Hash", "")
            token = page.json().get("nextPageToken")
        return found

    def sync(self, folder: Path, bucket: str, prefix: str) -> int:
        """Make objects below a prefix the files of a folder; the number of files that were sent."""
        there = self.objects(bucket, prefix)
        files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        changed = [name for name, path in files.items() if there.get(name) != md5(path)]
        for name in changed:
            self.upload(files[name], bucket, prefix + name)
        for name in there.keys() - files.keys():
            self.ask("DELETE", self._object(bucket, prefix + name))
        return len(changed)

    def _object(self, bucket: str, name: str) -> str:
        return f"{self.addresses.storage}/storage/v1/b/{bucket}/o/{quote(name, safe='')}"

    def keep_secrets(self, project: str, secrets: Mapping[str, SecretStr]) -> dict[str, str]:
        """Put values into Secret Manager, a version each where a value has changed.

        Returns:
            Per name the address that a service account with access reads the value from.
        """
        base = f"{self.addresses.secrets}/v1/projects/{project}/secrets"
        addresses = {}
        for name, value in secrets.items():
            secret = f"cannabis-ml-{name}"
            address = f"{base}/{secret}/versions/latest:access"
            data = base64.b64encode(value.get_secret_value().encode()).decode()
            try:
                known = self.ask("GET", address).json()["payload"]["data"]
            except GoogleError as error:
                if error.status != 404:
                    raise
                known = None
                self._create_secret(base, secret)
            if known != data:
                body = {"payload": {"data": data}}
                self.ask("POST", f"{base}/{secret}:addVersion", json=body)
            addresses[name] = address
        return addresses

    def _create_secret(self, base: str, secret: str) -> None:
        try:
            body: dict[str, Any] = {"replication": {"automatic": {}}}
            self.ask("POST", base, params={"secretId": secret}, json=body)
        except GoogleError as error:
            if error.status != 409:  # there, without a version
                raise

    def entries(self, project: str, query: str) -> Iterator[dict[str, Any]]:
        """Log entries that a query selects, oldest first."""
        body: dict[str, Any] = {
            "resourceNames": [f"projects/{project}"],
            "filter": query,
            "orderBy": "timestamp asc",
            "pageSize": 1000,
        }
        while True:
            url = f"{self.addresses.logging}/v2/entries:list"
            page = self.ask("POST", url, json=body).json()
            yield from page.get("entries", ())
            if "nextPageToken" not in page:
                return
            body["pageToken"] = page["nextPageToken"]


class GoogleError(LaunchError):
    """Google refuses a request.

    Attributes:
        status: Of its answer, such as 404.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def md5(path: Path) -> str:
    """MD5 of a file in base64, as Cloud Storage gives it: to notice a broken transfer."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(digest.digest()).decode()
