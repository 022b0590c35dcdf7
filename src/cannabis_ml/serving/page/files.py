"""The built page as responses: types, compressed forms, caching, and what browsers may do with it.

`build.mjs` writes the files, with a `.br` and a `.gz` beside what shrinks.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from starlette.requests import Request
from starlette.responses import Response

BUILT = Path(__file__).parent / "built"

SHELL, SERVICE_WORKER, ABOUT = "index.html", "sw.js", "page.json"
REVIEW = "review.html"

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".tflite": "application/octet-stream",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
"""Media types by suffix: the system's own table lacks some, and differs between systems."""

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)

HEADERS = {
    # Workers keep to the policy of their own file, so that every file has it.
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "geolocation=(), microphone=()",
}

FOREVER = "public, max-age=31536000, immutable"
FOR_ONE = "private, max-age=31536000, immutable"
"""For whoever asked alone: what may need a key."""
ASK_AGAIN = "no-cache"

NOT_BUILT = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>The page is not built</title>
<h1>The page is not built</h1>
<p>This checkout has the service, and not the page that answers on the phone.
Build it with <code>make page</code>, and start the service again.
<p>The routes are described in <a href="/openapi.json">/openapi.json</a>.
"""

_ENCODINGS = {"br": ".br", "gzip": ".gz"}
"""The smaller first."""


@dataclass(frozen=True)
class PageFile:
    """One file of the page.

    Attributes:
        media_type: With the character set.
        data: As it is; None where a compressed form alone was read.
        encoded: By content coding, smaller forms of it.
    """

    media_type: str
    data: bytes | None
    encoded: Mapping[str, bytes] = field(default_factory=dict)

    def response(self, request: Request, caching: str) -> Response:
        """The file in the smallest form that the client takes; 304 where it has it.

        Args:
            request: Its headers are read.
            caching: Value of `cache-control`.
        """
        headers = {**HEADERS, "cache-control": caching, "vary": "accept-encoding"}
        coding, data = self._form(_accepted(request.headers.get("accept-encoding", "")))
        if caching == ASK_AGAIN:
            headers["etag"] = f'W/"{hashlib.sha256(data).hexdigest()[:32]}"'
            if headers["etag"] in request.headers.get("if-none-match", ""):
                return Response(status_code=304, headers=headers)
        if coding is not None:
            headers["content-encoding"] = coding
        headers["content-length"] = str(len(data))
        body = b"" if request.method == "HEAD" else data
        return Response(body, headers=headers, media_type=self.media_type)

    def _form(self, accepted: set[str]) -> tuple[str | None, bytes]:
        for coding, data in self.encoded.items():
            if coding in accepted:
                return coding, data
        return None, gzip.decompress(self.encoded["gzip"]) if self.data is None else self.data


class PageFiles:
    """What was built, as it stands on disk: a page that is built anew is served at once.

    Args:
        folder: Where it was built.
    """

    def __init__(self, folder: Path = BUILT) -> None:
        self._folder = folder.resolve()

    def get(self, path: str, accepted: str = "") -> PageFile | None:
        """A file in the form that is sent; no other form is read.

        Args:
            path: Below the folder, such as `assets/app-0123456789.js`.
            accepted: Value of `accept-encoding`.
        """
        if not (self._folder / ABOUT).is_file():  # not built, or not yet whole
            return None
        kind = TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")
        codings = _accepted(accepted)
        for coding, suffix in _ENCODINGS.items():
            encoded = self._read(path + suffix) if coding in codings else None
            if encoded is not None:
                return PageFile(kind, None, {coding: encoded})
        data = self._read(path)
        if data is not None:
            return PageFile(kind, data)
        packed = self._read(path + _ENCODINGS["gzip"])  # all that is kept of the largest
        return None if packed is None else PageFile(kind, None, {"gzip": packed})

    def _read(self, name: str) -> bytes | None:
        try:
            path = (self._folder / name).resolve()
            return path.read_bytes() if path.is_relative_to(self._folder) else None
        except (OSError, ValueError):  # a null byte in the name
            return None

    def service_worker(self, bundle: str) -> PageFile | None:
        """The service worker of a bundle: browsers fetch page and bundle anew when either changes.

        Args:
            bundle: Its id.
        """
        script = self.get(SERVICE_WORKER)
        if script is None or script.data is None:
            return None
        first = f"self.BUNDLE={json.dumps(bundle)};\n".encode()
        return PageFile(script.media_type, first + script.data)


def _accepted(header: str) -> set[str]:
    """The content codings that a client takes (RFC 9110, 12.5.3)."""
    found = set()
    for part in header.split(","):
        coding, *parameters = (each.strip().lower() for each in part.split(";"))
        weights = [each.removeprefix("q=") for each in parameters if each.startswith("q=")]
        if coding and not any(weight.strip("0.") == "" for weight in weights):
            found.add(coding)
    return found
