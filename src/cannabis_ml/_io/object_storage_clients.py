"""Amazon S3, Google Cloud Storage and Azure Blob Storage by pyarrow's clients."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from cannabis_ml._io.object_storage import ObjectStorage
from cannabis_ml._io.storage_protocols import part_of
from cannabis_ml.errors import StorageError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

GOOGLE_SECONDS = 60
"""How long Google's client tries again what failed; its own default is 15 minutes."""

GOOGLE_KEY = "GOOGLE_APPLICATION_CREDENTIALS"


class S3Storage(ObjectStorage):
    """`s3://BUCKET/…`: Amazon S3, and what speaks its protocol, such as MinIO, R2 and Ceph.

    Args:
        key: Id of the access key.
        secret: The secret access key.
        token: Of temporary credentials.
        anon: Without credentials, for public buckets.
        endpoint_url: Of another service than Amazon's; else AWS_ENDPOINT_URL_S3 or
            AWS_ENDPOINT_URL.
        client_kwargs: `region_name`; `endpoint_url` too. Else AWS_REGION or AWS_DEFAULT_REGION.

    What is not given is looked for by Amazon's rules: environment, `~/.aws`, the machine's role.
    """

    protocol = ("s3", "s3a")
    SERVICE: ClassVar[str] = "Amazon S3"
    OPTIONS: ClassVar[frozenset[str]] = frozenset(
        {"key", "secret", "token", "anon", "endpoint_url", "client_kwargs"}
    )

    def _connect(self) -> FileSystem:
        from pyarrow.fs import S3FileSystem

        given = self._options
        client = dict(given.get("client_kwargs") or {})
        endpoint = given.get("endpoint_url") or client.get("endpoint_url") or _s3_endpoint()
        region = client.get("region_name") or _first("AWS_REGION", "AWS_DEFAULT_REGION")
        options: dict[str, Any] = {"region": region, **_place(endpoint)}
        options["allow_delayed_open"] = True  # a small file is one request, not three
        if given.get("anon"):
            options["anonymous"] = True
        elif given.get("key"):
            options["access_key"] = given["key"]
            options["secret_key"] = given.get("secret")
            options["session_token"] = given.get("token")
        return S3FileSystem(**{name: value for name, value in options.items() if value})

    def _searched(self) -> str:
        if self._options.get("anon"):
            return "It was asked without credentials (`anon`)."
        if self._options.get("key"):
            return "The credentials are those of the catalog entry, from credentials.yml."
        if os.environ.get("AWS_ACCESS_KEY_ID"):
            return "The credentials are those of AWS_ACCESS_KEY_ID in the environment."
        folder = Path.home() / ".aws"
        if (folder / "credentials").is_file() or (folder / "config").is_file():
            return f"The credentials are those of {folder}."
        return (
            "No credentials were found: neither in conf/local/credentials.yml (`key` and `secret`,"
            " under the name that `storage.credentials` in globals.yml has), nor in"
            f" AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor in {folder}."
        )


class GoogleStorage(ObjectStorage):
    """`gs://BUCKET/…`: Google Cloud Storage.

    Args:
        token: Path of a key file of a service account; `anon` for public buckets.
        endpoint_url: Of another service than Google's; else STORAGE_EMULATOR_HOST, which is asked
            without credentials.

    Without `token`, Google's application default credentials: GOOGLE_APPLICATION_CREDENTIALS, what
    `gcloud auth application-default login` left, the machine's service account.
    """

    protocol = ("gs", "gcs")
    SERVICE: ClassVar[str] = "Google Cloud Storage"
    OPTIONS: ClassVar[frozenset[str]] = frozenset({"token", "endpoint_url"})

    def _connect(self) -> FileSystem:
        from pyarrow.fs import GcsFileSystem

        token = self._options.get("token")
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        endpoint = self._options.get("endpoint_url") or emulator
        anonymous = token == "anon" or (token is None and bool(emulator))
        key = None if token in (None, "anon") else Path(str(token)).expanduser()
        if key is not None and not key.is_file():
            raise StorageError(
                f"The key file of {self.SERVICE}, {key}, does not exist.\nMend `token` in"
                " conf/local/credentials.yml."
            )
        with _variable(GOOGLE_KEY, key):
            return GcsFileSystem(
                anonymous=anonymous,
                retry_time_limit=timedelta(seconds=GOOGLE_SECONDS),
                **_place(endpoint),
            )

    def _searched(self) -> str:
        token = self._options.get("token")
        if token == "anon":
            return "It was asked without credentials (`token: anon`)."
        if token:
            return f"The credentials are those of the key file {token}."
        if os.environ.get(GOOGLE_KEY):
            return f"The credentials are those of {GOOGLE_KEY}, {os.environ[GOOGLE_KEY]}."
        return (
            "The credentials are Google's application default ones: no key file is named in"
            f" conf/local/credentials.yml (`token`) or in {GOOGLE_KEY}."
        )


class AzureStorage(ObjectStorage):
    """`az://CONTAINER/…`: Azure Blob Storage.

    Args:
        account_name: The storage account; else AZURE_STORAGE_ACCOUNT_NAME.
        account_key: Its key; else AZURE_STORAGE_ACCOUNT_KEY.
        sas_token: In place of a key; else AZURE_STORAGE_SAS_TOKEN.
        tenant_id: With `client_id` and `client_secret`: an application's account.
        client_id: As above; alone: a managed identity.
        client_secret: As above.
        endpoint_url: Of an emulator, as `http://127.0.0.1:10000`; the account's name follows.

    Without any of these, Azure's default credentials: environment, managed identity, `az login`.
    """

    protocol = ("az", "abfs")
    SERVICE: ClassVar[str] = "Azure Blob Storage"
    SECRETS: ClassVar[tuple[str, ...]] = (
        "account_key",
        "sas_token",
        "tenant_id",
        "client_id",
        "client_secret",
    )
    OPTIONS: ClassVar[frozenset[str]] = frozenset({"account_name", "endpoint_url", *SECRETS})

    def _connect(self) -> FileSystem:
        from pyarrow.fs import AzureFileSystem

        name = self._options.get("account_name") or _first("AZURE_STORAGE_ACCOUNT_NAME")
        if not name:
            raise StorageError(
                f"{self.SERVICE} needs the name of the storage account.\nSet `account_name` in"
                " conf/local/credentials.yml, or AZURE_STORAGE_ACCOUNT_NAME."
            )
        options = {secret: self._options.get(secret) for secret in self.SECRETS}
        if not any(options.values()):
            options["account_key"] = _first("AZURE_STORAGE_ACCOUNT_KEY")
            options["sas_token"] = _first("AZURE_STORAGE_SAS_TOKEN")
        place = _place(self._options.get("endpoint_url"))
        if place:
            for kind in ("blob", "dfs"):
                options[f"{kind}_storage_authority"] = place["endpoint_override"]
                options[f"{kind}_storage_scheme"] = place["scheme"]
        return AzureFileSystem(name, **{k: v for k, v in options.items() if v})

    def _send(self, source: IO[bytes], path: str) -> None:
        """Upload beside, then copy: this client empties an object before it uploads it."""
        part = part_of(path)
        try:
            super()._send(source, part)
            self.cp_file(part, path)
        finally:
            with suppress(FileNotFoundError):
                self.rm_file(part)

    def _searched(self) -> str:
        if any(self._options.get(secret) for secret in self.SECRETS):
            return "The credentials are those of the catalog entry, from credentials.yml."
        for name in ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"):
            if os.environ.get(name):
                return f"The credentials are those of {name} in the environment."
        return (
            "The credentials are Azure's default ones: neither conf/local/credentials.yml has"
            " `account_key` or `sas_token`, nor the environment AZURE_STORAGE_ACCOUNT_KEY."
        )


def _s3_endpoint() -> str | None:
    return _first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def _first(*names: str) -> str | None:
    """The first of these variables of the environment that is set."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _place(endpoint: str | None) -> dict[str, str]:
    """Scheme and host of an address, as pyarrow's clients take them."""
    if not endpoint:
        return {}
    parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    return {"scheme": parts.scheme, "endpoint_override": parts.netloc}


@contextmanager
def _variable(name: str, value: Path | None) -> Iterator[None]:
    """Set a variable for a moment: Google's client takes a key file in no other way."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = str(value)
    try:
        yield
    finally:
        if value is not None:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before
