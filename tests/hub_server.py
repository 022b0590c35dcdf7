"""A Hugging Face hub on this machine."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class HubServer:
    """Data sets and models by id, commit and file name, served on 127.0.0.1.

    Answers the requests that huggingface_hub 2.4 and datasets 5.2 make.

    Attributes:
        files: `{repo: {commit: {file name: bytes}}}`.
        branches: `{repo: {branch: commit}}`.
        requests: Method and path of every request, in order.
    """

    def __init__(self):
        self.files = {}
        self.branches = {}
        self.requests = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def put(self, repo, files, branch="main"):
        """Commit files; returns the commit."""
        content = repr((repo, sorted(files.items())))
        commit = hashlib.sha1(content.encode()).hexdigest()
        self.files.setdefault(repo, {})[commit] = files
        self.branches.setdefault(repo, {})[branch] = commit
        return commit

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._serve()

    def do_HEAD(self):
        self._serve()

    def do_POST(self):
        self._serve()

    def log_message(self, *_):
        pass

    def _serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        self.hub.requests.append(f"{self.command} {self.path}")
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[:2] in (["api", "datasets"], ["api", "models"]):
            self._api("/".join(parts[2:4]), parts[4:], body)
        elif parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            self._file("/".join(parts[1:3]), parts[4], "/".join(parts[5:]))
        elif parts[2:3] == ["resolve"]:
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._fail("EntryNotFound", f"no such page: {self.path}")

    def _api(self, repo, rest, body):
        what = rest[0] if rest else "revision"
        found = self._commit(repo, rest[1] if len(rest) > 1 else "main")
        if found is None:
            return
        commit, files = found
        if what == "revision":
            siblings = [{"rfilename": name} for name in sorted(files)]
            self._json({"id": repo, "sha": commit, "siblings": siblings, "private": False})
        elif what == "tree":
            below = "/".join(rest[2:])
            query = parse_qs(urlsplit(self.path).query)
            deep = query.get("recursive", ["false"])[0].lower() == "true"
            self._json(_tree(files, below, deep))
        elif what == "paths-info":
            asked = parse_qs(body).get("paths") or json.loads(body or "{}").get("paths", [])
            self._json([entry for entry in _tree(files, "", True) if entry["path"] in asked])
        else:
            self._fail("EntryNotFound", f"no such call: {what}")

    def _commit(self, repo, revision):
        if repo not in self.hub.files:
            self._fail("RepoNotFound", "Repository not found")
            return None
        commit = self.hub.branches[repo].get(revision, revision)
        if commit not in self.hub.files[repo]:
            self._fail("RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return commit, self.hub.files[repo][commit]

    def _file(self, repo, revision, name):
        found = self._commit(repo, revision)
        if found is None:
            return
        commit, files = found
        if name not in files:
            self._fail("EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
            return
        data, status = files[name], 200
        headers = {
            "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        asked = self.headers.get("Range")
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or len(data)), len(data) - 1) + 1
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            data, status = data[start:stop], 206
        self._send(status, data, "application/octet-stream", headers)

    def _json(self, value):
        self._send(200, json.dumps(value).encode(), "application/json", {})

    def _fail(self, code, message, headers=None):
        told = {"X-Error-Code": code, "X-Error-Message": message} | (headers or {})
        self._send(404, json.dumps({"error": message}).encode(), "application/json", told)

    def _send(self, status, data, kind, headers):
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(data)), **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


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
        oid = hashlib.sha1(data).hexdigest()
        entries[name] = {"type": "file", "path": name, "oid": oid, "size": len(data)}
    depth = prefix.count("/")
    return [e for e in entries.values() if deep or e["path"].count("/") == depth]
