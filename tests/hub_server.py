"""A Hugging Face hub on this machine; `hub_writing.py` is its writing half."""

import hashlib
import importlib.util
import json
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

REPO = r"/api/(dataset|model)s/([^/]+/[^/]+)"
"""Begins the paths of calls on a repository; its groups are the kind and the id."""

LARGEST_TEXT = 10 << 20
"""Bytes up to which a file without a zero byte lies in git itself."""


@dataclass(frozen=True)
class Request:
    """What a client asks.

    `path` as sent, without the query: slashes within a name are still `%2F`.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self):
        return json.loads(self.body or b"{}")

    @property
    def token(self):
        """What the client is authorized by; None where it is not."""
        return self.headers.get("authorization", "").removeprefix("Bearer ") or None


@dataclass(frozen=True)
class Reply:
    """What is answered. A body that is not bytes is sent piece by piece, as it comes.

    `sent_bytes` shorter than the body breaks the connection off there.
    """

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    sent_bytes: int | None = None


@dataclass
class Repository:
    """Commits of a repository, each with all its files.

    `objects` are large files that were uploaded, by SHA-256; not all are in a commit.
    """

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)

    def commit(self, repo, branch, files, message=""):
        """Add a commit of these files, all there are then; returns its id."""
        parent = self.branches.get(branch)
        content = repr((repo, parent, message, sorted(files.items())))
        commit = hashlib.sha1(content.encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.messages[commit] = message
        self.branches[branch] = commit
        return commit


class MissingError(Exception):
    """The repository, revision or file is not there."""

    def __init__(self, code, message, headers=None):
        super().__init__(message)
        told = {"X-Error-Code": code, "X-Error-Message": message} | (headers or {})
        body = json.dumps({"error": message}).encode()
        self.reply = Reply(401 if code == "Unauthorized" else 404, body, told)


def is_large(beginning, size):
    """Whether a file is kept outside git, as the hub decides by its first bytes and its size."""
    return b"\0" in beginning[:512] or size > LARGEST_TEXT


def oid_of(data):
    """As the hub compares files: SHA-256 of large ones, git's blob id of others."""
    if is_large(data, len(data)):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class HubServer:
    """Data sets and models by id, commit and file name, served on 127.0.0.1.

    Answers the requests that huggingface_hub 2.4 and datasets 5.2 make, with HF_HUB_DISABLE_XET=1.
    Whoever writes, or reads what is private, needs a token; any will do.

    Attributes:
        repos: `{(kind, id): Repository}`, where the kind is `dataset` or `model`.
        requests: Method and path of every request, in order.
        spoilt: `{file name: bytes}` sent in place of the file, under its length and hash; shorter
            ones break the connection off.
        watch: Called as `watch(moment, request)`, from several threads: `arriving` when half of the
            body is there, `done` when the request was carried out and is not answered yet.
    """

    Reply, Repository, MissingError = Reply, Repository, MissingError
    repo_path = REPO
    is_large = staticmethod(is_large)
    oid_of = staticmethod(oid_of)

    def __init__(self):
        self.repos = {}
        self.requests = []
        self.spoilt = {}
        self.watch = None
        self.lock = threading.RLock()
        self._routes = []
        _add_reading(self)
        _module("hub_writing").Writing(self)
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def put(self, repo, files, branch="main", kind="dataset", tag=None):
        """Commit files, all there are then; returns the commit."""
        place = self.repos.setdefault((kind, repo), Repository())
        commit = place.commit(repo, branch, files)
        if tag:
            place.tags[tag] = commit
        return commit

    def route(self, method, pattern, answer):
        """Answer requests by `answer(request, *groups)`, which returns a `Reply` or JSON.

        Routes that are added later come first. Groups of the pattern are unquoted.
        """
        self._routes.insert(0, (method, re.compile(pattern), answer))

    def answer(self, request):
        for method, pattern, answer in self._routes:
            match = pattern.fullmatch(request.path)
            if match and request.method in (method, "HEAD" if method == "GET" else method):
                try:
                    found = answer(request, *(g and unquote(g) for g in match.groups()))
                except MissingError as error:
                    return error.reply
                return found if isinstance(found, Reply) else Reply(200, json.dumps(found).encode())
        return MissingError("EntryNotFound", f"no such page: {request.method} {request.path}").reply

    def repo(self, request, kind, name):
        """A repository, as far as this client may see it."""
        place = self.repos.get((kind, name))
        if place is None or (place.private and not request.token):
            raise MissingError("RepoNotFound", "Repository not found")
        return place

    def files(self, request, kind, name, revision):
        """The commit that a revision stands for, and its files."""
        place = self.repo(request, kind, name)
        commit = place.branches.get(revision) or place.tags.get(revision) or revision
        if commit not in place.commits:
            raise MissingError("RevisionNotFound", f"Invalid rev id: {revision}")
        return commit, place.commits[commit]

    def authorized(self, request):
        if not request.token:
            raise MissingError("Unauthorized", "Invalid username or password.")

    def refused(self, status, message, extra=None):
        body = json.dumps({"error": message} | (extra or {})).encode()
        return Reply(status, body, {"X-Error-Message": message})

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def _module(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _add_reading(hub):
    def info(request, kind, name, revision="main"):
        commit, files = hub.files(request, kind, name, revision)
        siblings = [{"rfilename": file} for file in sorted(files)]
        private = hub.repos[kind, name].private
        return {"id": name, "sha": commit, "siblings": siblings, "private": private}

    def tree(request, kind, name, revision, below=""):
        commit, files = hub.files(request, kind, name, revision)
        deep = request.query.get("recursive", ["false"])[0].lower() == "true"
        found = _tree(files, below or "", deep)
        if below and not found:
            raise MissingError(
                "EntryNotFound", f"{below} does not exist", {"X-Repo-Commit": commit}
            )
        return found

    def paths_info(request, kind, name, revision):
        _, files = hub.files(request, kind, name, revision)
        asked = parse_qs(request.body.decode()).get("paths") or request.json.get("paths", [])
        return [entry for entry in _tree(files, "", True) if entry["path"] in asked]

    def refs(request, kind, name):
        place = hub.repo(request, kind, name)

        def listed(refs, what):
            return [
                {"name": n, "ref": f"refs/{what}/{n}", "targetCommit": c} for n, c in refs.items()
            ]

        heads = listed(place.branches, "heads")
        return {"branches": heads, "tags": listed(place.tags, "tags"), "converts": []}

    def resolve(request, kind, name, revision, file):
        kind = "dataset" if kind else "model"
        commit, files = hub.files(request, kind, name, revision)
        if file not in files:
            raise MissingError("EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        return _file(hub, request, commit, file, files[file])

    hub.route("GET", REPO, info)
    hub.route("GET", f"{REPO}/revision/([^/]+)", info)
    hub.route("GET", f"{REPO}/tree/([^/]+)", tree)
    hub.route("GET", f"{REPO}/tree/([^/]+)/(.+)", tree)
    hub.route("POST", f"{REPO}/paths-info/([^/]+)", paths_info)
    hub.route("GET", f"{REPO}/refs", refs)
    hub.route("GET", r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", resolve)


def _file(hub, request, commit, name, data):
    status = 200
    headers = {
        "ETag": f'"{oid_of(data)}"',
        "X-Repo-Commit": commit,
        "Accept-Ranges": "bytes",
    }
    sent = hub.spoilt.get(name, data)
    cut = len(sent) if len(sent) < len(data) else None
    data = sent + b"\0" * (len(data) - len(sent))
    asked = request.headers.get("range")
    if asked:
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(data)), len(data) - 1) + 1
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        data, status = data[start:stop], 206
        cut = None if cut is None else max(cut - start, 0)
    return Reply(status, data, headers, "application/octet-stream", cut)


def _tree(files, below, deep):
    prefix = f"{below}/" if below else ""
    entries = {}
    for name, data in sorted(files.items()):
        if not name.startswith(prefix):
            continue
        parts = name[len(prefix) :].split("/")
        for depth in range(1, len(parts)):
            folder = prefix + "/".join(parts[:depth])
            entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
        blob = hashlib.sha1(data).hexdigest()
        entries[name] = {"type": "file", "path": name, "oid": blob, "size": len(data)}
        if is_large(data, len(data)):
            entries[name]["lfs"] = {"oid": oid_of(data), "size": len(data), "pointerSize": 130}
    depth = prefix.count("/")
    return [e for e in entries.values() if deep or e["path"].count("/") == depth]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet per answer: two of them wait for each other
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def _serve(self):
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = parse_qs(url.query)
        length = int(headers.get("content-length") or 0)
        self.hub.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(length // 2)
        self._tell("arriving", Request(self.command, url.path, query, headers, body))
        body += self.rfile.read(length - length // 2)
        if len(body) < length:  # the client was killed
            self.close_connection = True
            return
        request = Request(self.command, url.path, query, headers, body)
        reply = self.hub.answer(request)
        self._tell("done", request)
        try:
            self._send(reply)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _tell(self, moment, request):
        if self.hub.watch is not None:
            self.hub.watch(moment, request)

    def _send(self, reply):
        whole = isinstance(reply.body, bytes)
        self.send_response(reply.status)
        headers = {"Content-Type": reply.kind, **reply.headers}
        if whole:
            headers["Content-Length"] = str(len(reply.body))
        else:
            headers["Connection"] = "close"
            self.close_connection = True
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for piece in [reply.body[: reply.sent_bytes]] if whole else reply.body:
            self.wfile.write(piece)
            self.wfile.flush()
        if reply.sent_bytes is not None:
            self.close_connection = True


for _method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler._serve)
