"""What goes wrong with object storage, in words that a person can act on; never a secret."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cannabis_ml.errors import StorageError
from cannabis_ml.text import one_line

PERMISSIONS = {
    "Amazon S3": "s3:ListBucket on the bucket, s3:GetObject, s3:PutObject and s3:DeleteObject on"
    " what is in it",
    "Google Cloud Storage": "the role Storage Object User (roles/storage.objectUser) on the bucket",
    "Azure Blob Storage": "the role Storage Blob Data Contributor on the container",
}
"""What an account needs, by service."""

_BUCKET = re.compile(
    r"NO_SUCH_BUCKET|NoSuchBucket|bucket does not exist|ContainerNotFound|container does not exist"
    r"|Bucket .* not found|specified bucket",
    re.I,
)
_IDENTITY = re.compile(
    r"INVALID_ACCESS_KEY_ID|InvalidAccessKeyId|SIGNATURE_DOES_NOT_MATCH|SignatureDoesNotMatch"
    r"|INVALID_CLIENT_TOKEN|ExpiredToken|UNAUTHENTICATED|AuthenticationFailed|\b401\b"
    r"|INCOMPLETE_SIGNATURE|MISSING_AUTHENTICATION|could not find default credentials"
    r"|DefaultAzureCredential|ADC",
    re.I,
)
_DENIED = re.compile(
    r"ACCESS_DENIED|AccessDenied|PERMISSION_DENIED|AuthorizationPermissionMismatch|Forbidden"
    r"|\b403\b",
    re.I,
)
_REGION = re.compile(r"PermanentRedirect|AuthorizationHeaderMalformed|HTTP status 301|\b301\b")
_NETWORK = re.compile(r"NETWORK_CONNECTION|resolve host|connect to|Connection refused|curlCode")


@dataclass(frozen=True)
class Tried:
    """What a client of object storage was asked.

    Attributes:
        doing: Such as `read`.
        address: Of the object.
        service: Name of the service.
    """

    doing: str
    address: str
    service: str


def failure(error: BaseException, tried: Tried, searched: str) -> StorageError:
    """The error for what a client of object storage raised.

    Args:
        error: What it raised.
        tried: What it was asked.
        searched: Where credentials were looked for.
    """
    text, doing, address, service = str(error), tried.doing, tried.address, tried.service
    protocol, _, path = address.partition("://")
    bucket = f"{protocol}://{path.partition('/')[0]}"
    if _BUCKET.search(text) or isinstance(error, FileNotFoundError):
        what = (
            f"There is no bucket {bucket} (to {doing} {address}).\nMake it, or mend its name:"
            " `data` in globals.yml, or wherever this address is written. A run makes no buckets."
        )
    elif _IDENTITY.search(text):
        what = (
            f"{service} does not accept these credentials (to {doing} {address}).\n{searched}\n"
            "Mend them in conf/local/credentials.yml or in the environment."
        )
    elif _DENIED.search(text):
        what = (
            f"{service} does not allow this account to {doing} {address}.\n{searched}\n"
            f"An account that runs pipelines there needs {PERMISSIONS[service]}."
        )
    elif _REGION.search(text):
        what = (
            f"The bucket {bucket} is in another region (to {doing} {address}).\nName its region:"
            " AWS_REGION, or `client_kwargs: {region_name: …}` in conf/local/credentials.yml."
        )
    elif _NETWORK.search(text):
        what = (
            f"{service} cannot be reached (to {doing} {address}).\nCheck the network, the proxy"
            " and, of a service of your own, `endpoint_url`; then run the same command again."
        )
    else:
        what = f"{service} failed to {doing} {address}. Run the same command again when it is back."
    return StorageError(f"{what}\nIt answered: {one_line(error)}")


def unknown_options(service: str, unknown: list[str], known: list[str]) -> StorageError:
    """The error for credentials that have options which no client takes."""
    return StorageError(
        f"Credentials of {service} have options that it does not know: {', '.join(unknown)}.\n"
        f"It takes {', '.join(known)}. Mend the entry in credentials.yml."
    )
